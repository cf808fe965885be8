"""`chiptrace epcis check|hash|convert` on files of every kind, without a node."""

import json

import pytest
import typer
from typer.testing import CliRunner

from client import cli_epcis, epcis_json
from tests.client.epcis_material import files, name_of, needs_material

APP = typer.Typer()
cli_epcis.register(APP)
CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
EVENT = {
    "type": "ObjectEvent",
    "eventTime": "2026-01-01T00:00:00Z",
    "eventTimeZoneOffset": "+00:00",
    "epcList": ["urn:epc:id:sgtin:9521234.000001.7"],
    "action": "OBSERVE",
    "bizStep": "inspecting",
}
OTHER = {**EVENT, "eventTime": "2026-01-02T00:00:00Z"}


def run(*words: object) -> tuple[int, list[str], str]:
    result = CliRunner().invoke(APP, ["epcis", *map(str, words)], terminal_width=400)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout.splitlines(), " ".join(result.stderr.split())


def capture(*events: dict, **members: object) -> dict:
    return {
        "@context": [CONTEXT, {"ex": "https://ns.example.com/"}],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-01-01T00:00:00Z",
        "epcisBody": {"eventList": list(events)},
        **members,
    }


def query(*events: dict) -> dict:
    return {
        "@context": CONTEXT,
        "type": "EPCISQueryDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-01-01T00:00:00Z",
        "epcisBody": {"queryResults": {"queryName": "q", "resultsBody": {"eventList": list(events)}}},
    }


def bare(event: dict) -> dict:
    return {"@context": CONTEXT, **event}


@pytest.fixture
def write(tmp_path):
    def written(name: str, value: object):
        path = tmp_path / name
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return path

    return written


def test_one_uri_per_event_per_line_whatever_holds_the_events(write):
    code, lines, said = run("hash", write("capture.jsonld", capture(EVENT, OTHER)))
    assert (code, len(lines), said) == (0, 2, "")
    assert all(line.startswith("ni:///sha-256;") and line.endswith("?ver=CBV2.0") for line in lines)
    first, second = lines
    for name, value, uris in (
        ("query.jsonld", query(EVENT, OTHER), [first, second]),
        ("bare.jsonld", bare(OTHER), [second]),
        ("pages.jsonld", [query(EVENT), query(OTHER, EVENT), bare(OTHER)], [first, second, first, second]),
    ):
        assert run("hash", write(name, value)) == (0, uris, "")
    both = run("hash", write("a.jsonld", capture(EVENT)), write("b.jsonld", capture(OTHER, EVENT)))
    assert both == (0, [first, second, first], "")


def test_profiles(write):
    party = {"type": "owning_party"}
    event = {
        **EVENT,
        "sourceList": [{**party, "source": "urn:epc:id:pgln:9521234.00001"}],
        "destinationList": [{**party, "destination": "urn:epc:id:pgln:9521234.00002"}],
    }
    file = write("a.jsonld", capture(event))
    assert run("hash", file) == run("hash", "--profile", "ref", file)
    assert run("hash", file)[1] != run("hash", "--profile", "spec", file)[1]
    code, _, said = run("hash", "--profile", "other", file)
    assert code == 2
    assert "is not one of 'ref'" in said


def test_hash_as_json_and_what_has_no_hash(write):
    file = write("a.jsonld", capture(EVENT, {**OTHER, "eventTime": "yesterday"}))
    code, lines, said = run("hash", file)
    assert (code, len(lines)) == (1, 1)
    assert "a.jsonld, event 1, eventTime: 'yesterday' is no time" in said
    code, lines, said = run("hash", "--json", file)
    told = json.loads("\n".join(lines))
    assert (code, told["ok"], told["profile"], said) == (1, False, "ref", "")
    assert [(row["file"], row["event"]) for row in told["hashes"]] == [("a.jsonld", 0)]
    assert [(row["event"], row["field"], row["code"]) for row in told["findings"]] == [
        (1, "eventTime", "NOT_HASHABLE")
    ]


@pytest.mark.parametrize("command", ["hash", "check", "convert"])
def test_files_that_are_not_there_or_no_json(command, write, tmp_path):
    code, lines, said = run(command, tmp_path / "none.jsonld")
    assert (code, lines) == (2, [])
    assert "No such file" in said
    code, _, said = run(command, write("a.jsonld", "{"))
    assert code in (1, 2)
    assert "not JSON" in said


def test_check_names_file_event_field_and_reason(write):
    good = write("good.jsonld", capture(EVENT))
    loose = write("loose.jsonld", capture(EVENT, {**OTHER, "action": "observe"}))
    code, lines, said = run("check", good, loose)
    assert code == 1
    assert "error: loose.jsonld, event 1, action: 'observe' is none of ADD, OBSERVE, DELETE" in said
    assert run("check", "--strict", good, loose)[0] == 1
    code, lines, said = run("check", "--lenient", good, loose)
    assert code == 0
    assert "warning: loose.jsonld, event 1, action: 'observe' is read as 'OBSERVE'" in said
    assert "2 files, 3 events may be captured, 0 errors, 1 warnings" in lines[-1]
    told = json.loads("\n".join(run("check", "--json", loose)[1]))
    assert told["findings"][0]["field"] == "action"
    assert (told["findings"][0]["file"], told["findings"][0]["event"]) == ("loose.jsonld", 1)


def test_an_event_id_that_claims_to_be_the_hash_is_compared(write):
    document = capture({**EVENT, "ex:stored": "yes"}, **{"ex:ignoreFields": ["ex:stored"]})
    (uri,) = run("hash", write("a.jsonld", document))[1]
    event = document["epcisBody"]["eventList"][0]
    event["eventID"] = uri
    assert run("check", write("right.jsonld", document))[::2] == (0, "")
    event["eventID"] = f"ni:///sha-256;{'0' * 64}?ver=CBV2.0"
    code, _, said = run("check", write("wrong.jsonld", document))
    assert code == 0
    assert f"warning: wrong.jsonld, event 0, eventID: claims to be the event's hash, which is {uri}" in said
    event["eventID"] = uri
    event["bizStep"] = "shipping"
    assert "HASH_DIFFERS" in run("check", "--lenient", write("changed.jsonld", document))[2]
    event["eventID"] = "urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8"
    assert run("check", write("other.jsonld", document))[2] == ""


def test_a_hash_by_either_profile_is_right(write):
    event = {**EVENT, "certificationInfo": "https://example.com/c"}
    for profile in ("ref", "spec"):
        (uri,) = run("hash", "--profile", profile, write("a.jsonld", capture(event)))[1]
        assert run("check", write("b.jsonld", capture({**event, "eventID": uri})))[::2] == (0, "")


def test_convert_keeps_every_hash(write, tmp_path):
    file = write("pages.jsonld", [query(EVENT), capture({**OTHER, "ex:a": {"ex:b": [1, "x"]}}), bare(EVENT)])
    out = tmp_path / "out.jsonld"
    assert run("convert", file, "--out", out)[0] == 0
    assert run("hash", out) == run("hash", file)
    assert epcis_json.parse(out.read_bytes())["type"] == "EPCISDocument"
    assert "\n".join(run("convert", file)[1]) == out.read_text().strip()


def test_convert_keeps_what_a_document_leaves_out_of_its_hashes(write, tmp_path):
    """Wherever around its events it says so; of several documents each would have its own."""
    event = {**EVENT, "ex:stored": "yes", "ex:seen": "no"}
    out = tmp_path / "out.jsonld"
    told = query(event)
    told["ex:ignoreFields"] = ["ex:seen"]
    told["epcisBody"]["queryResults"]["resultsBody"]["ex:ignoreFields"] = "ex:stored"
    file = write("query.jsonld", told)
    assert run("hash", file)[1] == run("hash", write("plain.jsonld", capture(EVENT)))[1]
    assert run("convert", file, "--out", out)[0] == 0
    assert run("hash", out) == run("hash", file)
    for other in (write("two.jsonld", [told, bare(event)]), write("both.jsonld", [capture(OTHER), told])):
        code, _, said = run("convert", other)
        assert code == 2
        assert "convert one at a time" in said


@needs_material
@pytest.mark.parametrize("path", files("documents", "lifecycle", "hash-vectors"), ids=name_of)
def test_documents_of_others_keep_their_hashes_through_convert(path, tmp_path):
    out = tmp_path / "out.jsonld"
    code, _, said = run("convert", "--lenient", path, "--out", out)
    assert (code, said) == (0, "")
    # Fields that a document tells to ignore are no more told of once its events are written anew.
    if "IgnoreFields" not in path.name:
        assert run("hash", out)[1] == run("hash", path)[1]


DEEP = json.loads('{"ex:a":' * 50 + "1" + "}" * 50)
# What a user may hand in by mistake, or on purpose, and what is said of it.
ODD = {
    "nothing": (b"", "not JSON"),
    "noise": (bytes(range(256)), "not UTF-8"),
    "other coding": (json.dumps(capture(EVENT)).encode("utf-16"), "not UTF-8"),
    "xml": (b"<?xml version='1.0'?><epcis/>", "not JSON"),
    "more behind": (json.dumps(capture(EVENT)).encode() + b"{}", "not JSON: Extra data"),
    "twice": (b'{"type": "ObjectEvent", "type": "ObjectEvent"}', "'type' stands twice"),
    "deep": (b"[" * 200_000, "nested deeper than 64"),
    "no number": (b'{"quantity": NaN}', "NaN is no JSON number"),
    "long number": (b'{"quantity": 1' + b"0" * 5_000 + b"}", "a number of 5001 characters"),
    "half a letter": (b'{"eventID": "\\ud800"}', "half of a surrogate pair"),
    "a number": (b"5", "is needed"),
    "no list": (json.dumps(capture() | {"epcisBody": []}).encode(), "epcisBody"),
    "no events": (json.dumps(capture() | {"epcisBody": {"eventList": {}}}).encode(), "epcisBody"),
}


@pytest.mark.parametrize("command", ["hash", "check", "convert"])
@pytest.mark.parametrize("name", ODD)
def test_whatever_is_handed_in_is_answered_in_words(command, name, tmp_path):
    data, expected = ODD[name]
    path = tmp_path / "odd.jsonld"
    path.write_bytes(data)
    for words in [[command]] if command == "hash" else [[command], [command, "--lenient"]]:
        code, lines, said = run(*words, path)
        assert code == (2 if command == "convert" else 1)
        assert (expected in said, "odd.jsonld" in said, "INTERNAL" in said) == (True, True, False), said
        assert not [line for line in lines if line.startswith("ni:")]


@pytest.mark.parametrize("number", ["1e400", "1e-400", "1e99999999999999", "-1e39"])
def test_a_number_that_cannot_be_kept_exactly_is_named_with_its_field(number, write):
    event = {**EVENT, "quantityList": [{"epcClass": "urn:epc:class:lgtin:4012345.012345.L", "quantity": 0}]}
    path = write("n.jsonld", json.dumps(capture(event)).replace('"quantity": 0', f'"quantity": {number}'))
    code, _, said = run("check", path)
    assert (code, "n.jsonld, event 0, quantityList[0].quantity" in said) == (1, True)


@pytest.mark.parametrize("mode", ["--strict", "--lenient"])
def test_an_event_that_is_nested_too_deep_for_the_ledger_is_told(mode, write):
    path = write("deep.jsonld", capture({**EVENT, "ex:a": DEEP}))
    code, _, said = run("check", mode, path)
    assert (code, "INTERNAL" in said) == (1, False)
    assert "nested deeper than" in said


def test_a_byte_order_mark_is_passed_over_and_texts_are_shown_as_they_are(tmp_path, write):
    path = tmp_path / "bom.jsonld"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(capture(EVENT)).encode())
    assert run("check", path)[0] == 0
    code, _, said = run("check", write("odd.jsonld", capture({**EVENT, "eventID": "urn:x:\x1b[31m"})))
    assert (code, "urn:x:" in said, "\x1b" in said) == (1, True, False)


@pytest.mark.parametrize("command", ["check", "hash", "convert"])
def test_no_more_of_a_file_is_read_than_a_document_may_have(command, monkeypatch):
    """A file that never ends is refused, not read until no memory is left."""
    monkeypatch.setattr(epcis_json, "EPCIS_DOCUMENT_BYTES_MAX", 1_000)
    code, out, err = run(command, "/dev/zero", "--json")
    assert code in (1, 2)
    assert "more than the 1000 bytes that a document may have" in " ".join(out) + err


def test_a_document_of_just_as_many_bytes_is_read(write, monkeypatch):
    path = write("a.jsonld", capture(EVENT))
    monkeypatch.setattr(epcis_json, "EPCIS_DOCUMENT_BYTES_MAX", path.stat().st_size)
    assert run("check", path)[0] == 0
    monkeypatch.setattr(epcis_json, "EPCIS_DOCUMENT_BYTES_MAX", path.stat().st_size - 1)
    assert run("check", path)[0] != 0
