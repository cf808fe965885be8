"""Hypothesis strategies for EPCIS 2.0 documents: every event type, every field, extensions at every place."""

from decimal import Decimal

from hypothesis import strategies as st

from client import epcis_vocabulary
from client.epcis_vocabulary import GS1_CONTEXT, Vocabulary

PREFIXES = ("example", "ext1", "ext2")
NAMESPACES = {prefix: f"https://ns.{prefix}.example/epcis/" for prefix in PREFIXES}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.decimals(min_value=-(10**12), max_value=10**12, places=6).map(lambda n: Decimal(str(n)))
amounts = numbers.map(abs)
times = st.builds(
    "{}-{:02}-{:02}T{:02}:{:02}:{:02}{}{}".format,
    st.integers(1990, 2030),
    st.integers(1, 12),
    st.integers(1, 28),
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(0, 59),
    st.sampled_from(["", ".0", ".123", ".116000"]),
    st.sampled_from(["Z", "+00:00", "-06:00", "+14:00", "+05:30"]),
)
zones = st.sampled_from(["+00:00", "-06:00", "+14:00", "+05:30", "-13:59"])
serials = st.text("ABCxyz0123456789-", min_size=1, max_size=12)
parts = st.one_of(
    serials.map("urn:epc:id:sgtin:4012345.012345.{}".format),
    serials.map("https://id.gs1.org/01/04012345999990/21/{}".format),
    serials.map("https://example.com/item/{}".format),
    st.integers(0, 10**9 - 1).map("urn:epc:id:sscc:4012345.3{:09}".format),
    serials.map("urn:epc:id:giai:4012345.{}".format),
    st.uuids().map("urn:uuid:{}".format),
)
classes = st.one_of(
    serials.map("urn:epc:class:lgtin:4012345.012345.{}".format),
    st.just("urn:epc:idpat:sgtin:4012345.012345.*"),
    serials.map("https://id.gs1.org/01/04012345999990/10/{}".format),
)
uris = st.one_of(parts, serials.map("example:{}".format), serials.map("http://example.com/x/{}".format))
places = st.sampled_from(["urn:epc:id:sgln:4012345.00005.122", "https://id.gs1.org/414/4012345000054"])
parties = st.integers(0, 99999).map("urn:epc:id:pgln:4012345.{:05}".format)
units = st.sampled_from(["KGM", "CEL", "EA", "P1"])

names = st.builds("{}:{}".format, st.sampled_from(PREFIXES), st.text("abcXYZ", min_size=1, max_size=6))
anything = st.recursive(
    st.one_of(texts, numbers, st.booleans()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
extensions = st.dictionaries(names, anything, max_size=2)


def word(vocabulary: Vocabulary):
    return st.one_of(
        st.sampled_from(sorted(vocabulary.words)),
        serials.map("example:{}".format),
        serials.map("https://example.com/voc/{}".format),
    )


def some(**fields):
    """An object with any of these members."""
    return st.fixed_dictionaries({}, optional=fields)


def extended(members):
    return st.builds(lambda known, more: {**known, **more}, members, extensions)


def lists(items, **options):
    return st.lists(items, max_size=3, **options)


quantities = lists(
    st.fixed_dictionaries({"epcClass": classes}, optional={"quantity": amounts, "uom": units}), min_size=1
)
things = lists(parts, unique=True, min_size=1)
dispositions = lists(word(epcis_vocabulary.DISPOSITION), unique=True, min_size=1)


def sided(member: str):
    named = {"type": st.sampled_from(["owning_party"]), member: parties}
    held = {"type": st.just("possessing_party"), member: parties}
    located = {"type": st.sampled_from(["location", "https://example.com/role"]), member: places}
    one = [st.fixed_dictionaries(fields) for fields in (named, held, located)]
    return st.tuples(*one).flatmap(lambda three: st.lists(st.sampled_from(three), max_size=3, unique_by=str))


report = extended(
    st.one_of(
        st.fixed_dictionaries({"type": word(epcis_vocabulary.MEASUREMENT)}),
        st.fixed_dictionaries({"type": st.just("Temperature"), "value": numbers, "uom": st.just("CEL")}),
    ).flatmap(
        lambda base: st.fixed_dictionaries(
            {name: st.just(value) for name, value in base.items()},
            optional={
                "exception": word(epcis_vocabulary.ALERT), "time": times, "component": word(epcis_vocabulary.COMPONENT),
                "stringValue": texts, "booleanValue": st.booleans(), "hexBinaryValue": st.just("f0F0"),
                "uriValue": uris, "deviceID": uris, "minValue": numbers, "maxValue": numbers, "meanValue": numbers,
                "sDev": numbers, "percRank": numbers, "percValue": numbers, "microorganism": uris,
            },
        )
    )
)  # fmt: skip
sensors = lists(
    extended(
        st.fixed_dictionaries(
            {"sensorReport": lists(report, min_size=1)},
            optional={"sensorMetadata": extended(some(time=times, deviceID=uris, bizRules=uris))},
        )
    ),
    min_size=1,
)
common = {
    "recordTime": times,
    "eventID": uris,
    "certificationInfo": st.one_of(uris, lists(uris)),
    "errorDeclaration": extended(
        st.fixed_dictionaries(
            {"declarationTime": times},
            optional={"reason": word(epcis_vocabulary.ERROR_REASON), "correctiveEventIDs": lists(uris)},
        )
    ),
    "bizStep": word(epcis_vocabulary.BIZ_STEP),
    "disposition": word(epcis_vocabulary.DISPOSITION),
    "readPoint": extended(st.fixed_dictionaries({"id": places})),
    "bizLocation": extended(st.fixed_dictionaries({"id": places})),
    "sourceList": sided("source"),
    "destinationList": sided("destination"),
    "sensorElementList": sensors,
    "@context": st.just([{"ext2": NAMESPACES["ext2"], "own": "https://ns.own.example/"}]),
}
biz_transactions = lists(
    st.fixed_dictionaries(
        {"bizTransaction": uris}, optional={"type": word(epcis_vocabulary.TRANSACTION_TYPE)}
    ),
    min_size=1,
)
persistent = st.one_of(
    st.fixed_dictionaries({"set": dispositions}, optional={"unset": dispositions}),
    st.fixed_dictionaries({"unset": dispositions}),
)
ilmd = st.dictionaries(names, anything, max_size=3)
actions = st.sampled_from(epcis_vocabulary.ACTIONS)


def event(kind: str, required: dict, optional: dict):
    needed = {"type": st.just(kind), "eventTime": times, "eventTimeZoneOffset": zones, **required}
    possible = {"bizTransactionList": biz_transactions, **common, **optional}
    rest = {name: strategy for name, strategy in possible.items() if name not in needed}
    members = st.fixed_dictionaries(needed, optional=rest)
    return extended(members)


added = {"action": st.just("ADD"), "epcList": things}
children = {"childQuantityList": quantities}
_events = st.one_of(
    event(
        "ObjectEvent", added, {"quantityList": quantities, "ilmd": ilmd, "persistentDisposition": persistent}
    ),
    event("ObjectEvent", {"action": actions, "quantityList": quantities}, {"epcList": things}),
    event(
        "ObjectEvent", {"action": actions, "sensorElementList": sensors, "readPoint": common["readPoint"]}, {}
    ),
    event("AggregationEvent", {"action": actions, "parentID": parts, "childEPCs": things}, children),
    event("AggregationEvent", {"action": st.just("DELETE"), "parentID": parts}, {}),
    event("AssociationEvent", {"action": actions, "parentID": parts, "childQuantityList": quantities}, {}),
    event(
        "TransactionEvent",
        {"action": actions, "epcList": things, "bizTransactionList": biz_transactions},
        {"parentID": parts, "quantityList": quantities},
    ),
    event(
        "TransformationEvent",
        {"inputEPCList": things, "outputQuantityList": quantities},
        {"inputQuantityList": quantities, "ilmd": ilmd, "persistentDisposition": persistent},
    ),
    event("TransformationEvent", {"transformationID": parts, "outputEPCList": things}, {}),
)


# As functions, for the strategies above are too long to be printed.
@st.composite
def event_like(draw):
    return draw(_events)


events = event_like()
contexts = st.sampled_from(
    [
        [GS1_CONTEXT, NAMESPACES],
        [GS1_CONTEXT, *({prefix: address} for prefix, address in NAMESPACES.items())],
        [{**NAMESPACES, "ext1": "https://overridden.example/"}, NAMESPACES, GS1_CONTEXT],
    ]
)
_documents = st.fixed_dictionaries(
    {
        "@context": contexts,
        "type": st.just("EPCISDocument"),
        "schemaVersion": st.just("2.0"),
        "creationDate": times,
        "epcisBody": st.fixed_dictionaries({"eventList": st.lists(events, max_size=2)}),
    },
    optional={"sender": texts, "receiver": texts, "instanceIdentifier": texts, "id": uris},
)


@st.composite
def document_like(draw):
    return draw(_documents)


documents = document_like()
