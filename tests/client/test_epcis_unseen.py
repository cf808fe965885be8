"""What documents of others hold that nobody here had thought of; each kind in an event of our own."""

import pytest

from client import epcis_json, epcis_read
from client.epcis_findings import Code, errors
from client.epcis_grants import needed_grants
from ledger.event import read_event
from tests.client.test_epcis_read import document_of, event_of

LOT = "https://id.gs1.org/01/04012345123456/10/L1"
DUST = "urn:epc:class:lgtin:6000001.recycled-copper.2032-03"
UNKNOWN_CONTEXT = "https://ns.example.com/passport.jsonld"


def read(*events: dict, strict: bool, **members: object):
    found = epcis_read.read(document_of(*events, **members), file="in", strict=strict)
    return found, [(item.code, item.path) for item in found.findings]


@pytest.mark.parametrize("spelling", ["epcis:ObjectEvent", "https://ref.gs1.org/epcis/ObjectEvent"])
def test_a_type_with_its_namespace_is_read_as_the_word(spelling):
    found, said = read(event_of(type=spelling), strict=False)
    assert said == [(Code.NORMALISED, "type")]
    assert read_event(found.events[0].event).type == "ObjectEvent"
    assert errors(read(event_of(type=spelling), strict=True)[0].findings)
    assert errors(read(event_of(type="epcis:Thing"), strict=False)[0].findings)


@pytest.mark.parametrize("strict", [True, False])
def test_a_lot_among_things_is_kept_as_written_and_read_as_an_amount_left_open(strict):
    found, said = read(event_of(epcList=[LOT, "urn:epc:id:sgtin:4012345.012345.1"]), strict=strict)
    assert said == [(Code.CLASS_AMONG_THINGS, "epcList[0]")]
    (item,) = found.events
    view = read_event(item.event)
    assert [name.text for name in view.epcs] == ["https://id.gs1.org/01/04012345123456/21/1"]
    assert [(one.of.text, one.amount, one.unit) for one in view.quantities] == [(LOT, None, "")]
    assert [name.text for name in view.classes] == [LOT]


def test_lots_among_the_inputs_and_outputs_are_read_alike():
    event = event_of(type="TransformationEvent", inputEPCList=[LOT], outputEPCList=[LOT + "b", LOT + "b"])
    for name in ("epcList", "action"):
        del event[name]
    found, _ = read(event, strict=False)
    view = read_event(found.events[0].event)
    assert (view.inputs, view.outputs) == ((), ())
    assert [one.of.text for one in view.input_quantities] == [LOT]
    assert [one.of.text for one in view.output_quantities] == [LOT + "b"]


def test_a_urn_with_a_word_for_a_number_is_a_name_of_its_own_and_said_so():
    event = event_of(quantityList=[{"epcClass": DUST, "quantity": 5, "uom": "GRM"}])
    found, said = read(event, strict=False)
    assert said == [(Code.BAD_IDENTIFIER, "quantityList[0].epcClass")]
    (item,) = found.events
    assert [one.of.text for one in read_event(item.event).quantities] == [DUST]
    assert needed_grants([item.event]) == ["gs1:4012345", "urn:epc:id:lgtin:6000001.recycled-copper"]
    assert errors(read(event, strict=True)[0].findings)


def test_attributes_of_master_data_have_values():
    place = {"id": "urn:epc:id:sgln:4012345.00001.0", "attributes": [{"id": "cbvmda:city", "attribute": "x"}]}
    vocabulary = {"type": "urn:epcglobal:epcis:vtype:Location", "vocabularyElementList": [place]}
    header = {"epcisMasterData": {"vocabularyList": [vocabulary]}}
    _, said = read(event_of(), strict=True, epcisHeader=header)
    assert said == [(Code.NOT_RECORDED, "epcisHeader")]


def test_words_and_data_under_a_context_that_is_not_at_hand_are_kept():
    event = event_of(
        bizStep="x:BizStep-notifying",
        **{"masterDataAvailableFor": [{"id": LOT}], "x:a": {"@value": "b", "@language": "en"}},
    )
    context = ["https://ref.gs1.org/standards/epcis/epcis-context.jsonld", UNKNOWN_CONTEXT]
    found, said = read(event, strict=False, **{"@context": context, "_comment": ["x"]})
    assert (Code.CONTEXT_UNKNOWN, "@context[1]") in said
    assert len(found.events) == 1
    assert {"masterDataAvailableFor", "x:a"} <= {field.name for field in found.events[0].event.fields}


def test_a_reading_of_a_place_needs_no_list_of_things():
    reading = {"sensorReport": [{"type": "Temperature", "value": 21.5, "uom": "CEL"}]}
    event = event_of(readPoint={"id": "geo:52.5,13.4"}, sensorElementList=[reading])
    del event["epcList"]
    found, said = read(event, strict=True)
    assert said == []
    assert read_event(found.events[0].event).read_point == "geo:52.5,13.4"
    assert epcis_json.parse(document_of(event))


@pytest.mark.parametrize("strict", [True, False])
def test_an_event_that_names_too_much_is_refused_before_the_ledger_does(strict):
    many = [f"urn:epc:id:sgtin:4012345.012345.{number}" for number in range(1_001)]
    found, said = read(event_of(epcList=many), strict=strict)
    assert (found.events, said) == ([], [(Code.OVER_LIMIT, "")])
    assert read(event_of(epcList=many[1:]), strict=strict)[1] == []
