"""The event hash of CBV 2.0: reference vectors, what must not change it, what must, and hostile input."""

import copy
import hashlib
import json
import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client import epcis_check, epcis_context, epcis_hash, epcis_hash_values, epcis_json
from client.epcis_findings import Code, errors
from client.epcis_hash import Hasher, Profile
from client.epcis_hash_document import hash_document, hash_file
from client.epcis_json import Json
from client.epcis_vocabulary import GS1_CONTEXT
from ledger.errors import Malformed
from tests.client import epcis_strategies
from tests.client.epcis_material import FOLDER, files, name_of, needs_material

VECTORS = sorted((FOLDER / "hash-vectors").glob("*.hashes")) if FOLDER.is_dir() else []
BARE = {
    "type": "ObjectEvent",
    "action": "OBSERVE",
    "eventTime": "2025-01-01T00:00:00Z",
    "eventTimeZoneOffset": "+00:00",
    "epcList": ["urn:epc:id:sgtin:4012345.012345.1"],
}


def prehash(namespaces: dict | None = None, profile: Profile = Profile.REF, **members: object) -> str:
    event = epcis_json.parse(json.dumps({**BARE, **members}).encode())
    return Hasher(epcis_context.namespaces(namespaces), profile).string(event)


def only(document: Json, profile: Profile = Profile.REF) -> list[str]:
    found, findings = hash_document(document, profile)
    assert not errors(findings), findings
    return [uri for _, uri in found]


# ---- vectors ------------------------------------------------------------------------------------------------


@needs_material
@pytest.mark.parametrize("path", VECTORS, ids=name_of)
def test_every_reference_vector_agrees(path):
    document = epcis_json.parse(path.with_suffix(".jsonld").read_bytes())
    assert only(document) == path.read_text().split()


@needs_material
def test_the_reference_vectors_are_all_there():
    assert sum(len(path.read_text().split()) for path in VECTORS) == 43


@needs_material
@pytest.mark.parametrize("path", files("documents", "lifecycle"), ids=name_of)
def test_documents_without_vectors_have_hashes_that_survive_a_round_trip(path):
    document = epcis_json.parse(path.read_bytes())
    again = epcis_json.parse(epcis_json.to_text(document).encode())
    assert only(document) == only(again)
    assert len(set(only(document))) == len(
        {epcis_json.to_text(event) for event in epcis_check.events_of(document)}
    )


def test_the_illustration_of_the_standard():
    event = {
        "type": "ObjectEvent", "eventTime": "2020-03-04T11:00:30+01:00", "eventTimeZoneOffset": "+01:00",
        "epcList": ["urn:epc:id:sgtin:0614141.011111.987"], "action": "OBSERVE", "bizStep": "departing",
        "disposition": "in_transit", "readPoint": {"id": "urn:epc:id:sgln:4012345.00011.0", "ex:myField1": "AB-12"},
        "bizTransactionList": [{"type": "po", "bizTransaction": "urn:epc:id:gdti:4012345.11111.123"}],
        "sourceList": [{"type": "owning_party", "source": "urn:epc:id:pgln:4012345.00000"}],
        "destinationList": [{"type": "owning_party", "destination": "urn:epc:id:pgln:0614141.00000"}],
        "ex:userExt": "CD-34",
    }  # fmt: skip
    namespaces = epcis_context.namespaces({"ex": "https://ns.example.com/epcis/"})
    assert epcis_hash.event_hash(event, namespaces) == (
        "ni:///sha-256;a13cbe6c8bb6df3710b3edaeff760a1365ec8fd69ca1f4d7e0c10eb5189a883a?ver=CBV2.0"
    )
    written = (
        "eventType=ObjectEventeventTime=2020-03-04T10:00:30.000ZeventTimeZoneOffset=+01:00epcList"
        "epc=https://id.gs1.org/01/00614141111114/21/987action=OBSERVEbizStep=https://ref.gs1.org/cbv/BizStep-departing"
        "disposition=https://ref.gs1.org/cbv/Disp-in_transitreadPointid=https://id.gs1.org/414/4012345000115"
        "{https://ns.example.com/epcis/}myField1=AB-12bizTransactionListtype=https://ref.gs1.org/cbv/BTT-po"
        "bizTransaction=https://id.gs1.org/253/4012345111118123sourceListtype=https://ref.gs1.org/cbv/SDT-owning_party"
        "source=https://id.gs1.org/417/4012345000009destinationListtype=https://ref.gs1.org/cbv/SDT-owning_party"
        "destination=https://id.gs1.org/417/0614141000005{https://ns.example.com/epcis/}userExt=CD-34"
    )
    assert Hasher(namespaces, Profile.SPEC).string(event) == written
    digest = hashlib.sha256(written.encode()).hexdigest()
    assert epcis_hash.event_hash(event, namespaces, Profile.SPEC) == f"ni:///sha-256;{digest}?ver=CBV2.0"


def test_the_profiles_differ_in_order_and_certification_only():
    members = {
        "type": "TransactionEvent", "action": "ADD", "parentID": "urn:epc:id:sscc:4012345.0000000333",
        "certificationInfo": "https://example.com/c", "bizTransactionList": [{"bizTransaction": "urn:x1:1"}],
        "ilmd": {"ex:a": "b"},
    }  # fmt: skip
    ref, spec = prehash(profile=Profile.REF, **members), prehash(profile=Profile.SPEC, **members)
    assert ref.index("parentID") < ref.index("epcList")
    assert spec.index("epcList") < spec.index("parentID")
    assert sorted(ref.replace("certificationInfo=https://example.com/c", "")) == sorted(spec)
    assert prehash(profile=Profile.REF) == prehash(profile=Profile.SPEC)


# ---- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2023-02-02T11:04:03.1415Z", "2023-02-02T11:04:03.142Z"),
        ("2023-02-02T11:04:03.1414Z", "2023-02-02T11:04:03.141Z"),
        ("2023-02-02T11:04:03.1405Z", "2023-02-02T11:04:03.141Z"),
        ("2023-02-02T11:04:03.14149999999999999999Z", "2023-02-02T11:04:03.141Z"),
        ("2023-12-31T23:59:59.9995Z", "2024-01-01T00:00:00.000Z"),
        ("2024-02-29T00:30:00+01:00", "2024-02-28T23:30:00.000Z"),
        ("2024-02-29T23:30:00-01:00", "2024-03-01T00:30:00.000Z"),
        ("2024-02-29T23:30:00-0100", "2024-03-01T00:30:00.000Z"),
        ("2024-02-29 23:30:00z", "2024-02-29T23:30:00.000Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
    ],
)
def test_times_are_written_in_utc_with_three_decimals(text, written):
    assert epcis_hash_values.time(text) == written


@pytest.mark.parametrize(
    "text",
    ["", "2023", "2023-02-02", "2023-02-02T11:04:03", "2023-02-30T00:00:00Z", "2023-02-02T24:00:00Z",
     "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59.9999Z", "2023-02-02T11:04:61Z", "２023-02-02T11:04:03Z"],
)  # fmt: skip
def test_what_is_no_time_is_refused_by_field(text):
    with pytest.raises(Malformed, match=r"^eventTime: .* is no time"):
        prehash(eventTime=text)
    with pytest.raises(Malformed, match=r"^sensorElementList\[0\].sensorMetadata.startTime: .* is no time"):
        prehash(
            sensorElementList=[{"sensorMetadata": {"startTime": text}, "sensorReport": [{"type": "Mass"}]}]
        )


@pytest.mark.parametrize(
    ("number", "written"),
    [
        ("200.0", "200"), ("200.50", "200.5"), ("-0", "0"), ("-0.0", "0"), ("0e99", "0"), ("1e21", "1" + "0" * 21),
        ("1E-7", "0.0000001"), ("-12.10", "-12.1"), ("0.1234567890123456789", "0.1234567890123456789"),
        ("123456789012345678901234567890", "123456789012345678901234567890"), ("100", "100"), ("1.0e2", "100"),
    ],
)  # fmt: skip
def test_numbers_are_exact_and_have_no_needless_zeros(number, written):
    assert epcis_hash_values.number(Decimal(number)) == written
    assert epcis_hash_values.literal(number) == written  # a text that is a number counts as one
    if not number.startswith("-"):
        assert epcis_hash_values.literal(f" +00{number} ") == written


def test_numbers_too_long_are_refused_by_field_and_cost_nothing():
    for number in ("1e401", "1e-401", "1e99999999"):
        event = {**BARE, "quantityList": [{"epcClass": "urn:x1:a", "quantity": Decimal(number)}]}
        with pytest.raises(Malformed, match=r"^quantityList\[0\].quantity: a number of more than 400 digits"):
            Hasher(epcis_context.namespaces()).string(event)
        assert epcis_hash_values.literal(number) == number


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("https://shop.example/gtin/4012345999990/ser/7?x=1", "https://id.gs1.org/01/04012345999990/21/7"),
        ("https://id.gs1.org/01/04012345999990/22/V/10/LOT/21/7", "https://id.gs1.org/01/04012345999990/21/7"),
        ("https://id.gs1.org/01/04012345999990/21/%37", "https://id.gs1.org/01/04012345999990/21/7"),
        ("https://x.example/01/04012345999991/10/A/21/7", "https://id.gs1.org/01/04012345999991/21/7"),  # check digit
        ("https://id.gs1.org/00/340123453111111119", "https://id.gs1.org/00/340123453111111119"),
        ("http://example.org/01/9780345418913/99/utfgf", "http://example.org/01/9780345418913/99/utfgf"),
        ("http://example.de/01/97803", "http://example.de/01/97803"),
        ("http://transaction.acme.com/po/12345678", "http://transaction.acme.com/po/12345678"),
        ("urn:epc:id:sgtin:4012345.0999990.7", "urn:epc:id:sgtin:4012345.0999990.7"),
        ("urn:epc:id:sgtin:4012345.099999.a;b=c", "https://id.gs1.org/01/04012345999990/21/a;b=c"),
        ("urn:epc:id:adi:2S194.12345678901.1", "urn:epc:id:adi:2S194.12345678901.1"),
        ("urn:epcglobal:cbv:bizstep:shipping", "https://ref.gs1.org/cbv/BizStep-shipping"),
        ("urn:epcglobal:cbv:bt:4012345000009:ASN1099", "urn:epcglobal:cbv:bt:4012345000009:ASN1099"),
        ("  blanks around  ", "blanks around"),
        ("1_000", "1_000"), ("infinity", "infinity"), ("NaN", "NaN"), ("0x10", "0x10"), ("2019-10-21", "2019-10-21"),
    ],
)  # fmt: skip
def test_texts_are_written_in_their_one_spelling(text, written):
    assert epcis_hash_values.literal(text) == written


@pytest.mark.parametrize(
    ("members", "written"),
    [
        ({"bizStep": "cbv:BizStep-shipping"}, "bizStep=https://ref.gs1.org/cbv/BizStep-shipping"),
        ({"bizStep": "https://ns.gs1.org/cbv/BizStep-shipping"}, "bizStep=https://ref.gs1.org/cbv/BizStep-shipping"),
        ({"bizStep": "ex:own"}, "bizStep=https://ns.example.com/own"),
        ({"ex:a": {"ex:b": [2, {"ex:c": True}], "ex:d": None}}, "a{https://ns.example.com/}b=2{https://ns.example.com/}b"),
        ({"ex:a": [[3, 1], []]}, "{https://ns.example.com/}a=1=3"),
        ({"ex:a": ""}, "{https://ns.example.com/}a"),
        ({"unknown:a": "x"}, "unknown:a=x"),
        ({"https://example.com/x": "y"}, "https://example.com/x=y"),
        ({"persistentDisposition": {"unset": ["recalled"], "set": ["expired", "damaged"]}},
         "set=https://ref.gs1.org/cbv/Disp-damagedset=https://ref.gs1.org/cbv/Disp-expiredunset=https://ref.gs1.org"),
        ({"sensorElementList": [{"sensorReport": [{"type": "NewKind", "booleanValue": False}]}]},
         "sensorReporttype=NewKindbooleanValue=false"),
        ({"quantityList": [{"epcClass": "urn:x1:b"}, {"epcClass": "urn:x1:a", "quantity": 1.50, "uom": "KGM"}]},
         "quantityListquantityElementepcClass=urn:x1:aquantity=1.5uom=KGMquantityElementepcClass=urn:x1:b"),
    ],
)  # fmt: skip
def test_what_stands_in_the_string(members, written):
    assert written in prehash({"ex": "https://ns.example.com/"}, **members)


def test_no_context_changes_what_urn_means():
    assert prehash({"urn": "https://a.example/"}, bizStep="urn:x1:own") == prehash(bizStep="urn:x1:own")


def test_what_is_not_hashed():
    more = {
        "eventID": "urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8", "recordTime": "2020-01-01T00:00:00Z",
        "errorDeclaration": {"declarationTime": "2020-01-01T00:00:00Z", "ex:a": "b"}, "rdfs:comment": "c",
        "quantityList": [], "sourceList": [], "ilmd": {}, "bizStep": None, "@context": {"ex": "https://a.example/"},
    }  # fmt: skip
    assert prehash(**more) == prehash()
    document = {
        "@context": [GS1_CONTEXT, {"r": "https://repository.example/"}],
        "type": "EPCISDocument",
        "r:ignoreFields": ["r:a", "epcList", "action", "plain", 7],
        "epcisBody": {"eventList": [{**BARE, "r:a": "x"}, BARE, {**BARE, "r:b": "x"}]},
    }
    first, second, third = only(document)
    assert first == second != third
    document["epcisBody"] = {"eventList": [BARE, {**BARE, "plain": "x"}]}
    assert len({first, *only(document)}) == 2
    assert "epcList" in prehash()


# ---- properties ---------------------------------------------------------------------------------------------


def shuffled(value: Json, chance: random.Random) -> Json:
    """The same value with the members of objects, and the items of lists, in another order."""
    if isinstance(value, dict):
        names = list(value)
        chance.shuffle(names)
        return {name: shuffled(value[name], chance) for name in names}
    if isinstance(value, list):
        items = [shuffled(item, chance) for item in value]
        chance.shuffle(items)
        return items
    return value


def events_in(document: Json) -> list[tuple[dict, epcis_context.Namespaces]]:
    return [
        (event, epcis_context.namespaces(document["@context"], event.get("@context")))
        for event in epcis_check.events_of(document)
    ]


@given(epcis_strategies.documents, st.randoms(use_true_random=False), st.sampled_from(Profile))
@settings(max_examples=40)
def test_no_order_changes_the_hash(document, chance, profile):
    for event, namespaces in events_in(document):
        event.pop("@context", None)  # the order of contexts is meaning
        other = shuffled(event, chance)
        assert Hasher(namespaces, profile).uri(event) == Hasher(namespaces, profile).uri(other)


def renamed(value: Json, names: dict[str, str]) -> Json:
    """The same value with other prefixes, in names and in CURIEs."""
    if isinstance(value, dict):
        return {renamed(name, names): renamed(item, names) for name, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, names) for item in value]
    if isinstance(value, str):
        prefix, colon, local = value.partition(":")
        return names.get(prefix, prefix) + colon + local if colon else value
    return value


@given(epcis_strategies.documents)
@settings(max_examples=40)
def test_the_names_of_prefixes_do_not_change_the_hash(document):
    names = {"example": "beispiel", "ext1": "erste", "ext2": "zweite", "own": "eigen"}
    for event, namespaces in events_in(document):
        meanings = {names.get(prefix, prefix): address for prefix, address in namespaces.prefixes.items()}
        event.pop("@context", None)
        other = Hasher(epcis_context.namespaces(meanings)).uri(renamed(event, names))
        assert Hasher(namespaces).uri(event) == other


def respelled(value: Json) -> Json:
    """The same value with every GS1 key, number, time and word of the standard in another spelling."""
    if isinstance(value, dict):
        return {name: respelled(item) for name, item in value.items()}
    if isinstance(value, list):
        return [respelled(item) for item in value]
    if isinstance(value, bool):
        return value
    if isinstance(value, Decimal):
        return Decimal(f"{value:f}" + ("0" if "." in f"{value:f}" else ".0"))
    if isinstance(value, str):
        link = epcis_hash_values.literal(value)
        if link.startswith("https://id.gs1.org/"):
            return link.replace("https://id.gs1.org/", "http://parts.example/x/") + "?linkType=all"
    return value


@given(epcis_strategies.documents)
@settings(max_examples=40)
def test_no_spelling_changes_the_hash(document):
    for event, namespaces in events_in(document):
        event.pop("@context", None)
        other = respelled(event)
        time = event["eventTime"]
        other["eventTime"] = epcis_hash_values.time(time).replace("Z", "+00:00")
        if "bizStep" in other and ":" not in other["bizStep"]:
            other["bizStep"] = f"urn:epcglobal:cbv:bizstep:{other['bizStep']}"
        assert Hasher(namespaces).string(event) == Hasher(namespaces).string(other)


def leaves(value: Json, path: tuple = ()) -> list[tuple]:
    if isinstance(value, dict):
        return [leaf for name, item in value.items() for leaf in leaves(item, (*path, name))]
    if isinstance(value, list):
        return [leaf for place, item in enumerate(value) for leaf in leaves(item, (*path, place))]
    return [path]


@given(st.data())
@settings(max_examples=40)
def test_any_change_of_a_value_changes_the_hash(data):
    document = data.draw(epcis_strategies.documents)
    for event, namespaces in events_in(document):
        hashed = {
            name: item
            for name, item in event.items()
            if name not in ("@context", "eventID", "recordTime", "errorDeclaration")
        }
        path = data.draw(st.sampled_from(leaves(hashed)))
        other = copy.deepcopy(hashed)
        holder = other
        for step in path[:-1]:
            holder = holder[step]
        old = holder[path[-1]]
        if isinstance(old, bool):
            holder[path[-1]] = not old
        elif isinstance(old, Decimal):
            holder[path[-1]] = old + 1
        elif path[-1] in ("eventTime", "time"):
            holder[path[-1]] = "1985-01-01T00:00:00Z"
        else:
            holder[path[-1]] = old + "x" if path != ("eventTimeZoneOffset",) else "+12:12"
        assert Hasher(namespaces).uri(hashed) != Hasher(namespaces).uri(other), (path, old)


@given(st.data())
@settings(max_examples=40)
def test_any_member_left_out_changes_the_hash(data):
    document = data.draw(epcis_strategies.documents)
    for event, namespaces in events_in(document):
        whole = Hasher(namespaces).string(event)
        for name in event:
            rest = {other: item for other, item in event.items() if other != name}
            if name in ("@context", "eventID", "recordTime", "errorDeclaration", "type"):
                continue
            changed = Hasher(namespaces).string(rest) != whole
            assert changed or not leaves(event[name]), name


# ---- hostile input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "path"),
    [
        ({}, "type"),
        ({"type": 7}, "type"),
        ({**BARE, "eventTime": 7}, "eventTime"),
        ({**BARE, "eventTime": {}}, "eventTime"),
        ({**BARE, "bizStep": {}}, "bizStep"),
        ({**BARE, "epcList": [{}]}, "epcList[0]"),
        ({**BARE, "epcList": [[]]}, "epcList[0]"),
        ({**BARE, "quantityList": ["x"]}, "quantityList[0]"),
        ({**BARE, "sensorElementList": [{"sensorReport": ["x"]}]}, "sensorElementList[0].sensorReport[0]"),
        ({**BARE, "ilmd": []}, "ilmd"),
        ({**BARE, "sourceList": [{"type": [], "source": "urn:x1:1"}]}, "sourceList[0].type"),
        ({**BARE, "persistentDisposition": {"set": [7]}}, "persistentDisposition.set"),
        ("text", "event"),
        (None, "event"),
    ],
)
def test_what_cannot_be_hashed_is_a_finding_that_names_the_field(event, path):
    document = {
        "type": "EPCISDocument",
        "@context": GS1_CONTEXT,
        "epcisBody": {"eventList": [BARE, event, BARE]},
    }
    found, findings = hash_document(epcis_json.parse(json.dumps(document).encode()), Profile.REF, "f")
    assert [index for index, _ in found] == [0, 2]
    assert [(f.file, f.event, f.path, f.code, f.severity) for f in findings] == [
        ("f", 1, path, Code.NOT_HASHABLE, "error")
    ]


@given(st.recursive(
    st.none() | st.booleans() | st.text(max_size=9) | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from([*BARE, "ilmd", "quantityList", "readPoint", "sensorElementList", "sensorReport",
                                       "sourceList", "set", "x:y", "type"]), inner, max_size=4),
    max_leaves=12,
))  # fmt: skip
@settings(max_examples=60)
def test_whatever_is_given_nothing_but_findings_comes_back(event):
    found, findings = hash_document([event, {**BARE, "x:y": event}], Profile.REF)
    assert len(found) + len(errors(findings)) >= 1


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"{", Code.NOT_JSON),
        (b"[" * 100_000, Code.OVER_LIMIT),
        (b'{"a":' * 65 + b"1" + b"}" * 65, Code.OVER_LIMIT),
        (b"7", Code.NOT_EPCIS),
        (b"\xff", Code.NOT_JSON),
    ],
)
def test_files_that_are_no_documents(data, code):
    assert [finding.code for finding in hash_file(data, Profile.REF, "f")[1]] == [code]


def test_depth_is_bounded_without_a_parser_too():
    value: Json = "x"
    for _ in range(100):
        value = {"ex:a": [value]}
    with pytest.raises(Malformed, match="nested deeper than 64 levels"):
        Hasher(epcis_context.namespaces()).uri({**BARE, "ex:a": value})


def test_long_texts_take_linear_time():
    for text in (
        "https://x.example" + "/01/0401" * 100_000,
        "https://x.example/01/" + "4" * 500_000,
        "http://a" + "/01/1234" * 30_000 + "//",
        "1" * 500_000,
    ):
        assert epcis_hash_values.literal(text) == text


def test_a_prefix_of_an_unknown_context_is_warned_of():
    document = {**BARE, "@context": [GS1_CONTEXT, "https://example.com/c"], "ext:a": "x", "gs1:b": "y"}
    found, findings = hash_document(document, Profile.REF)
    assert len(found) == 1
    assert [(f.path, f.code, f.severity) for f in findings] == [("ext:a", Code.UNDECLARED_PREFIX, "warning")]
