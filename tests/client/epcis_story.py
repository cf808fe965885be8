"""Documents as semiconductor and electronics firms would write them, in several dialects; invented for the tests.

Dialects: EPC URNs with the standard context (`urn`), Digital Links of own domains (`link`), words and prefixes spelled
out (`long`), namespaces at the event, at the document, in several contexts, numbers as integers, decimals and powers.
STRICT documents must pass both modes without an error; LENIENT ones pass lenient import only.
"""

from typing import Any

GS1 = "https://ref.gs1.org/standards/epcis/epcis-context.jsonld"
GS1_PINNED = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
FAB = {"fab": "https://ns.fab.example/epcis/"}
PREFIX = "9521321"
Json = dict[str, Any]


def document(*events: Json, context: list[Any] | None = None, **members: Any) -> Json:
    return {
        "@context": context or [GS1, FAB],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-03-01T08:00:00.000+08:00",
        **members,
        "epcisBody": {"eventList": list(events)},
    }


def event(kind: str, time: str, **members: Any) -> Json:
    zone = "+00:00" if time.endswith("Z") else time[-6:]
    return {"type": kind, "eventTime": time, "eventTimeZoneOffset": zone, **members}


def gln(place: int, extension: str = "0") -> str:
    return f"urn:epc:id:sgln:{PREFIX}.{place:05}.{extension}"


def party(number: int) -> str:
    return f"urn:epc:id:pgln:{PREFIX}.{number:05}"


WAFER = [f"urn:epc:id:cpi:{PREFIX}.WFR300.{number}" for number in (1, 2, 3)]
DIE_LOT = f"urn:epc:class:lgtin:{PREFIX}.011111.LOT-26W09"
REEL = [f"urn:epc:id:sscc:{PREFIX}.0{number:09}" for number in (1, 2)]
CHIPS = [f"urn:epc:id:sgtin:{PREFIX}.022222.A{number:04}" for number in range(1, 6)]

wafer_lot_start = document(
    event(
        "ObjectEvent", "2026-03-01T08:00:00.000+08:00", action="ADD", bizStep="commissioning", disposition="active",
        epcList=WAFER, readPoint={"id": gln(1, "FAB-3")}, bizLocation={"id": gln(1)},
        bizTransactionList=[{"type": "prodorder", "bizTransaction": "urn:epcglobal:cbv:bt:9521321000018:WO-88120"}],
        ilmd={
            "cbvmda:lotNumber": "26W09", "cbvmda:countryOfOrigin": "MY",
            "fab:process": {"fab:node": "28nm", "fab:masks": ["M1-7", "M2-3"], "fab:layers": 42, "fab:epi": True},
            "fab:resistivity": [0.015, 0.0205, 1.5e-2],
        },
    ),
)  # fmt: skip

die_sort = document(
    event(
        "TransformationEvent", "2026-03-04T14:22:03.1415+08:00", inputEPCList=WAFER[:2],
        outputQuantityList=[
            {"epcClass": DIE_LOT, "quantity": 1174},
            {"epcClass": f"urn:epc:class:lgtin:{PREFIX}.011112.LOT-26W09-B", "quantity": 61},
            {"epcClass": f"urn:epc:idpat:sgtin:{PREFIX}.011119.*", "quantity": 15.0, "uom": "EA"},
        ],
        transformationID=f"urn:epc:id:gdti:{PREFIX}.00077.RUN-1", bizStep="creating_class_instance",
        readPoint={"id": gln(1, "SORT")},
        ilmd={"fab:yield": {"fab:gross": 1250, "fab:good": 1174, "fab:fraction": 0.9392, "fab:bins": [{"fab:bin": 1, "fab:n": 1174}]}},
    ),
    event(
        "TransformationEvent", "2026-03-04T18:00:00Z", inputEPCList=WAFER[2:],
        transformationID=f"urn:epc:id:gdti:{PREFIX}.00077.RUN-1", bizStep="creating_class_instance",
    ),
)  # fmt: skip

assembly = document(
    event(
        "TransformationEvent", "2026-03-09T09:15:00+08:00",
        inputQuantityList=[
            {"epcClass": DIE_LOT, "quantity": 5},
            {"epcClass": f"urn:epc:class:lgtin:{PREFIX}.033333.LF7"},
            {"epcClass": "https://parts.example/gold-wire/4N", "quantity": 0.0125, "uom": "MTR"},
        ],
        outputEPCList=CHIPS, bizStep="assembling", disposition="in_progress", readPoint={"id": gln(2)},
        ilmd={"cbvmda:lotNumber": "P2610", "fab:marking": "ÜX-7 \u0394", "fab:dateCode": "2610"},
    ),
)  # fmt: skip

final_test = document(
    event(
        "ObjectEvent", "2026-03-10T00:00:00Z", action="OBSERVE", epcList=CHIPS, bizStep="inspecting",
        disposition="conformant", persistentDisposition={"set": ["conformant"], "unset": ["non_conformant", "unavailable"]},
        readPoint={"id": gln(2, "ATE-12")}, certificationInfo=["https://cert.example/AEC-Q100/7", "urn:x-cert:8"],
        bizTransactionList=[{"type": "testres", "bizTransaction": f"urn:epc:id:gdti:{PREFIX}.00078.TR-55"}],
        **{"fab:limits": {"fab:vth": {"fab:min": -0.3, "fab:max": 1.2e0}, "fab:handlers": [["A", 1], ["B", 2]]}},
    ),
    event(
        "ObjectEvent", "2026-03-10T00:05:00Z", action="DELETE", epcList=CHIPS[4:], bizStep="destroying", disposition="destroyed",
        **{"fab:reason": "ESD", "fab:scrapped": True},
    ),
)  # fmt: skip

tape_and_reel = document(
    event(
        "AggregationEvent", "2026-03-11T10:00:00.500+08:00", action="ADD", parentID=REEL[0], childEPCs=CHIPS[:4],
        childQuantityList=[{"epcClass": f"urn:epc:class:lgtin:{PREFIX}.044444.TAPE1", "quantity": 12.25, "uom": "MTR"}],
        bizStep="packing", disposition="in_progress", readPoint={"id": gln(2, "TNR-1")},
    ),
    event(
        "AggregationEvent", "2026-03-11T11:00:00+08:00", action="ADD", parentID=REEL[1], childEPCs=[REEL[0]], bizStep="packing",
    ),
    event("AggregationEvent", "2026-03-11T11:30:00+08:00", action="OBSERVE", childEPCs=[REEL[0]], bizStep="cycle_counting"),
    event("AggregationEvent", "2026-03-15T11:00:00+01:00", action="DELETE", parentID=REEL[1], bizStep="unpacking"),
)  # fmt: skip

_SIDES: Json = {
    "sourceList": [
        {"type": "owning_party", "source": party(1)},
        {"type": "possessing_party", "source": party(1)},
        {"type": "location", "source": gln(2)},
    ],
    "destinationList": [
        {"type": "owning_party", "destination": "https://id.gs1.org/417/9521000000018"},
        {"type": "possessing_party", "destination": "https://id.gs1.org/417/9521000000018"},
        {
            "type": "https://ns.fab.example/epcis/bonded_warehouse",
            "destination": "https://parts.example/sites/7",
        },
    ],
}
shipping = document(
    event(
        "ObjectEvent", "2026-03-12T17:00:00+08:00", action="OBSERVE", epcList=[REEL[1]], bizStep="shipping", disposition="in_transit",
        readPoint={"id": gln(3, "DOCK/4")}, eventID="urn:uuid:0b1f4d3e-7b2c-4a5e-9a77-0a2f3d4c5b6a",
        bizTransactionList=[
            {"type": "desadv", "bizTransaction": "urn:epcglobal:cbv:bt:9521321000018:ASN%2F1"},
            {"bizTransaction": "https://parts.example/contracts/12"},
        ],
        **_SIDES,
    ),
    event(
        "ObjectEvent", "2026-03-14T07:00:00-06:00", action="OBSERVE", epcList=[REEL[1]], bizStep="receiving", disposition="in_progress",
        bizLocation={"id": "https://id.gs1.org/414/9521000000018"}, recordTime="2026-03-14T13:00:01.000001Z", **_SIDES,
    ),
    sender="https://id.gs1.org/417/9521321000018", receiver="urn:x-org:buyer", instanceIdentifier="1",
)  # fmt: skip

transit_sensors = document(
    event(
        "ObjectEvent", "2026-03-13T00:00:00.000Z", action="OBSERVE", epcList=[REEL[1]], bizStep="sensor_reporting",
        readPoint={"id": "geo:3.1390,101.6869"},
        sensorElementList=[
            {
                "sensorMetadata": {
                    "startTime": "2026-03-12T00:00:00Z", "endTime": "2026-03-13T00:00:00.0005Z",
                    "deviceID": f"urn:epc:id:giai:{PREFIX}.LOGGER-1", "deviceMetadata": f"https://id.gs1.org/8004/{PREFIX}LOGGER-1",
                    "rawData": "https://parts.example/raw/1", "dataProcessingMethod": "https://parts.example/m/1",
                    "bizRules": "https://parts.example/rules/msl3", "fab:firmware": "1.10",
                },
                "sensorReport": [
                    {"type": "Temperature", "minValue": -2.50, "maxValue": 41.0, "meanValue": 23.333333333333333, "sDev": 0.1, "uom": "CEL"},
                    {"type": "RelativeHumidity", "value": 1.2e1, "uom": "P1", "time": "2026-03-12T12:00:00Z"},
                    {"type": "Count", "percRank": 95, "percValue": 3, "component": "x", "fab:shocks": [{"fab:g": 12.5}]},
                ],
            },
            {"sensorReport": [{"type": "Angle", "value": 101.6869, "component": "longitude", "uom": "DD",
                               "coordinateReferenceSystem": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}]},
        ],
    ),
    event(
        "ObjectEvent", "2026-03-13T01:00:00Z", action="OBSERVE", readPoint={"id": gln(9)},
        sensorElementList=[{"sensorReport": [
            {"type": "Dimensionless", "exception": "ALARM_CONDITION", "booleanValue": False, "stringValue": "door open",
             "hexBinaryValue": "f0A1", "uriValue": "https://parts.example/alarm/9", "microorganism": "https://x.example/m",
             "chemicalSubstance": "https://identifiers.org/inchikey:CZMRCDWAGMRECN-UGDNZRGBSA-N"},
        ]}],
    ),
)  # fmt: skip

association = document(
    event(
        "AssociationEvent", "2026-04-01T06:30:00-06:00", action="ADD", parentID="urn:epc:id:giai:9521000.BOARD-17",
        childEPCs=CHIPS[:2], childQuantityList=[{"epcClass": "https://id.gs1.org/01/09521000111110/10/R0402", "quantity": 120}],
        bizStep="assembling", readPoint={"id": "https://id.gs1.org/414/9521000000018/254/SMT-1"},
        **{"ems:placements": [{"ems:designator": "U1", "ems:epc": CHIPS[0]}, {"ems:designator": "U2", "ems:epc": CHIPS[1]}]},
    ),
    event(
        "AssociationEvent", "2026-04-09T06:30:00-06:00", action="DELETE", parentID="urn:epc:id:giai:9521000.BOARD-17",
        childEPCs=CHIPS[:1], bizStep="removing", disposition="needs_replacement",
    ),
    event("AssociationEvent", "2026-04-10T06:30:00-06:00", action="DELETE", parentID="urn:epc:id:giai:9521000.BOARD-17"),
    context=[GS1_PINNED, {"ems": "https://ems.example/ns#"}, FAB],
)  # fmt: skip

error_declaration = document(
    event(
        "ObjectEvent", "2026-03-12T17:00:00+08:00", action="OBSERVE", epcList=[REEL[1]], bizStep="shipping",
        eventID="urn:uuid:11111111-7b2c-4a5e-9a77-0a2f3d4c5b6a",
        errorDeclaration={
            "declarationTime": "2026-03-13T00:00:00Z", "reason": "incorrect_data",
            "correctiveEventIDs": ["urn:uuid:22222222-7b2c-4a5e-9a77-0a2f3d4c5b6a"],
            "fab:by": {"fab:role": "quality", "fab:ticket": 881},
        },
    ),
    event(
        "TransactionEvent", "2026-03-12T18:00:00Z", action="DELETE", parentID=REEL[1], epcList=CHIPS[:1],
        bizTransactionList=[{"type": "inv", "bizTransaction": "urn:epcglobal:cbv:bt:9521321000018:INV-1"}],
        errorDeclaration={"declarationTime": "2026-03-14T00:00:00Z", "reason": "did_not_occur"},
    ),
)  # fmt: skip

purchase = document(
    event(
        "TransactionEvent", "2026-03-12T16:00:00+08:00", action="ADD", parentID=REEL[1], epcList=CHIPS[:4],
        quantityList=[{"epcClass": DIE_LOT, "quantity": 1e3}, {"epcClass": f"urn:epc:idpat:grai:{PREFIX}.00055.*", "quantity": 2}],
        bizTransactionList=[
            {"type": "po", "bizTransaction": "urn:epcglobal:cbv:bt:9521000000018:PO-1"},
            {"type": "cert", "bizTransaction": "https://id.gs1.org/253/9521321000773COC-1"},
        ],
        bizStep="reserving", disposition="reserved",
    ),
)  # fmt: skip

digital_links = document(
    event(
        "ObjectEvent", "2026-03-20T00:00:00Z", action="ADD", bizStep="commissioning",
        epcList=[
            "https://id.fab.example/01/09521321222229/21/A0001", "https://fab.example/x/gtin/9521321222229/lot/L1/ser/A%2D0002?linkType=gs1:pip",
            "https://id.gs1.org/8010/9521321WFR300/8011/9", "https://id.gs1.org/8003/09521321000551S1",
            "http://fab.example:8443/00/095213210000000018", "https://parts.example/items/no-gs1/7",
        ],
        quantityList=[{"epcClass": "https://id.fab.example/01/09521321222229/10/L%2F1", "quantity": 7}],
        readPoint={"id": "https://id.fab.example/414/9521321000018/254/A"},
    ),
)  # fmt: skip

other_identifiers = document(
    event(
        "ObjectEvent", "2026-03-21T00:00:00Z", action="OBSERVE", bizStep="accepting",
        epcList=[
            "urn:epc:id:adi:2S194.IC-7%2F9.000000001", "urn:epc:id:usdod:2S194.12345678901", "urn:epc:id:gid:31415.4711.7",
            "urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8", "urn:epc:id:itip:9521321.022222.01.02.S1",
            "urn:epc:id:upui:9521321.022222.51qIgY)%3C%26Jp3*j7'SDB", "urn:epc:id:gsrn:9521321.0000000007",
            "urn:epc:id:ginc:9521321.xyz47%2F11", "urn:epc:id:gsin:9521321.222333444", "urn:epc:id:sgcn:9521321.00001.12",
        ],
        quantityList=[
            {"epcClass": f"urn:epc:idpat:cpi:{PREFIX}.WFR300.*", "quantity": 3}, {"epcClass": f"urn:epc:idpat:gdti:{PREFIX}.00077.*"},
            {"epcClass": "https://id.gs1.org/8006/095213212222290102/10/L1", "quantity": 1},
        ],
    ),
)  # fmt: skip

namespaces_everywhere = document(
    {
        "@context": [{"fab": "https://ns.other.example/"}, {"own": "https://ns.own.example/a#"}],
        **event("ObjectEvent", "2026-03-22T00:00:00Z", action="OBSERVE", epcList=CHIPS[:1]),
        "fab:a": {"own:b": [{"fab:c": [1, 2, {"own:d": "e"}]}, "text", 0.5, False]}, "own:empty": {}, "own:none": [], "own:text": "",
        "https://ns.full.example/member": "x",
    },
    {**event("ObjectEvent", "2026-03-22T00:00:01Z", action="OBSERVE", epcList=CHIPS[:1]), "fab:a": 1},
    context=[FAB, GS1, {"own": "https://ns.own.example/b#"}],
)  # fmt: skip

own_words = document(
    event(
        "ObjectEvent", "2026-03-23T00:00:00Z", action="OBSERVE", epcList=CHIPS[:1], bizStep="fab:burn_in",
        disposition="https://ns.fab.example/epcis/disp/baked", persistentDisposition={"set": ["fab:msl3"]},
        bizTransactionList=[{"type": "fab:traveller", "bizTransaction": "urn:x-fab:traveller:1"}],
        sensorElementList=[{"sensorReport": [{"type": "fab:particles", "value": 3, "component": "fab:chamber"}]}],
    ),
)  # fmt: skip

pages: list[Json] = [
    {
        "@context": [GS1, FAB], "type": "EPCISQueryDocument", "schemaVersion": "2.0", "creationDate": "2026-03-30T00:00:00Z",
        "epcisBody": {"queryResults": {
            "subscriptionID": f"page-{number}", "queryName": "SimpleEventQuery",
            "resultsBody": {"eventList": [
                event("ObjectEvent", f"2026-03-24T00:0{number}:0{second}Z", action="OBSERVE", epcList=[chip], bizStep="storing")
                for second, chip in enumerate(CHIPS)
            ]},
        }},
    }
    for number in range(3)
]  # fmt: skip
bare_event: Json = {"@context": [GS1, FAB], **assembly["epcisBody"]["eventList"][0]}
bare_events: list[Json] = [
    {"@context": GS1, **event("ObjectEvent", "2026-03-25T00:00:00Z", action="OBSERVE", epcList=[chip])}
    for chip in CHIPS
]

STRICT: dict[str, Any] = {
    "wafer lot start": wafer_lot_start, "die sort with yields": die_sort, "assembly": assembly, "final test and scrap": final_test,
    "tape and reel": tape_and_reel, "shipping and receiving": shipping, "sensors in transit": transit_sensors,
    "chips on a board": association, "error declarations": error_declaration, "purchase": purchase,
    "digital links of other domains": digital_links, "other identifiers": other_identifiers,
    "namespaces everywhere": namespaces_everywhere, "own words": own_words, "query result in pages": pages,
    "bare event": bare_event, "list of bare events": bare_events,
}  # fmt: skip

words_spelled_out = document(
    event(
        "ObjectEvent", "2026-03-26T08:00:00.000+0800", action="observe", epcList="urn:epc:id:sgtin:9521321.022222.A0001",
        bizStep="urn:epcglobal:cbv:bizstep:inspecting", disposition="cbv:Disp-conformant",
        quantityList=[{"epcClass": DIE_LOT, "quantity": "12.50"}], bizLocation=None,
        bizTransactionList={"type": "https://ref.gs1.org/cbv/BTT-po", "bizTransaction": "urn:x-fab:po:1"},
        persistentDisposition={"set": ["urn:epcglobal:cbv:disp:conformant"]}, lotNumber="26W09",
    ),
    {"type": "ObjectEvent", "eventTime": "2026-03-26 00:00:00z", "action": "ADD", "epcList": CHIPS[:1], "bizStep": "commissioning"},
)  # fmt: skip
repair = document(
    event(
        "TransformationEvent", "2026-05-01T00:00:00Z", inputEPCList=[CHIPS[0], "urn:epc:id:giai:9521000.BOARD-17"],
        outputEPCList=["urn:epc:id:giai:9521000.BOARD-17"], bizStep="urn:epcglobal:cbv:bizstep:repairing",
        ilmd={"remark": "reballed"},
    ),
    context=[GS1, "https://ns.repair.example/context.jsonld"],
)  # fmt: skip
loose_measurements = document(
    event(
        "ObjectEvent", "2026-05-02T00:00:00Z", action="OBSERVE", epcList=[REEL[0]], bizStep="sensor_reporting",
        sensorElementList={"sensorMetadata": {"time": "2026-05-02 00:00:00Z"}, "sensorReport": [{"type": "gs1:Temperature", "value": "26.0", "uom": "CEL"}]},
    ),
)  # fmt: skip
device_passport = document(
    {
        **event(
            "TransformationEvent", "2026-06-01T09:15:00.000Z", action="ADD", bizStep="urn:epcglobal:cbv:bizstep:assembling",
            inputEPCList=CHIPS[2:3], inputQuantityList=[{"epcClass": DIE_LOT, "quantity": 16, "uom": "EA"}],
            outputEPCList=["https://id.gs1.org/8004/9521000DEVICE-1"],
            ilmd={"gs1:hasBatchLotNumber": "D1", "gs1:productionDate": "2026-06-01"},
        ),
        "_comment": "how this came to be",
    },
    event(
        "ObjectEvent", "2026-06-02T09:15:00.000Z", action="OBSERVE", epcList=["https://id.gs1.org/8004/9521000DEVICE-1"],
        bizStep="urn:epcglobal:cbv:bizstep:inspecting", persistentDisposition={"set": ["active"], "unset": ["in_transit"]},
        bizTransactionList=[{"type": "urn:epcglobal:cbv:btt:updnotification", "bizTransaction": "https://parts.example/update/1"}],
        sourceList=[{"type": "urn:epcglobal:cbv:sdt:owning_party", "source": party(1)}],
        sensorElementList=[{
            "sensorMetadata": {"time": "2026-06-02T09:15:00.000Z", "_comment": "first test"},
            "sensorReport": [{"type": "dpp:stateOfHealth", "value": 97.5, "uom": "P1"}],
        }],
        **{
            "dpp:update": {"type": "dpp:Update", "schema:operatingSystem": "x", "list": [{"id": "gs1:A", "type": "B"}]},
            "gs1:masterDataAvailableFor": [{"id": CHIPS[0], "type": "Product", "about": [{"act": "EU 2023/1542"}]}],
        },
    ),
    context=[GS1, "https://dpp.example/core-context.jsonld", "https://dpp.example/electronics-context.jsonld"],
    _comment_architecture=["text", "", "more text"],
)  # fmt: skip
LENIENT: dict[str, Any] = {
    "device passport": device_passport,
    "words spelled out": words_spelled_out,
    "repair whose output is an input": repair,
    "loose measurements": loose_measurements,
}
