"""The README's commands as its three users give them, from the directory where they would."""

import json
import os
import re

import pytest
import typer.main
from typer.testing import CliRunner

from client import epcis_json, epcis_read, epcis_write
from ledger.event import read_event
from node import testnet_layout
from node.cli import application
from tests.client.test_epcis_read import meaning
from tests.integration.testbed import ROOT, Signer, Testbed, commissioning, leftover, serial, settle
from tests.node.network import until

pytestmark = pytest.mark.processes
README = (ROOT / "README.md").read_text()
SAMPLES = ROOT / "docs" / "samples"


def readme_commands():
    """The commands of the README's blocks, in order, without comments."""
    found = []
    for block in re.findall(r"```\n(.*?)```", README, re.DOTALL):
        for line in block.splitlines():
            words = line.partition("#")[0].split()
            if words and words[0] in ("chiptrace", ".venv/bin/chiptrace"):
                found.append(words[1:])
    return found


def command_of(*first):
    """The README command that begins like this; the last one, for the first is in its picture."""
    return [words for words in readme_commands() if tuple(words[: len(first)]) == first][-1]


def with_id(words, part):
    return [part if word == "ID" else word for word in words]


@pytest.fixture(scope="module")
def home(bed):
    """The directory has the documents that the README names."""
    if not (bed.home / "docs").exists():
        (bed.home / "docs").symlink_to(ROOT / "docs")
    bed.in_step("chipmaker")
    bed.in_step("assembler")
    return bed


@pytest.fixture(scope="module")
def module_part(home):
    """A power module on a chain, as the first two samples make it; README's capture command."""
    words = command_of("capture")
    assert home.done(*words)["refused"] == 0
    second = "docs/samples/chipmaker-2-moduleworks.jsonld"
    last = home.done("capture", second, "--chain", "chipmaker", "--as", "moduleworks")
    home.until_provable("chipmaker", last["events"][-1]["height"])
    events = epcis_read.read_files([ROOT / second], strict=True).events
    return next(view.outputs[0].text for view in (read_event(item.event) for item in events) if view.outputs)


@pytest.fixture(scope="module")
def own_part(home):
    """A part that moduleworks has just made."""
    part = serial("9521002")
    with home.open("chipmaker", "moduleworks") as session:
        made = Signer(session, home.seed("chipmaker", "moduleworks")).do(commissioning(part))
        settle(session, made.height)
    return part


# ---- developers ---------------------------------------------------------------------------------------------


def test_up_prints_what_is_needed_next_and_status_shows_every_process(home):
    ended = home.chiptrace(*command_of("testnet", "up"))  # once more: nothing to do, and it says where all is
    assert ended.code == 0
    for node in home.network.nodes:
        assert node.clients in ended.text
    assert "trust.json" in ended.text
    assert "chiptrace testnet down" in ended.text
    rows = home.done("testnet", "status")
    assert len(rows) == 9
    assert all(row["running"] for row in rows)
    assert all(row["synced"] and row["height"] > 0 for row in rows[:8])
    text = home.chiptrace(*command_of("testnet", "status"))
    assert text.code == 0
    assert text.text.count("in step") == 8


def test_down_ends_everything_and_up_brings_it_back_with_its_past(home):
    before = {chain["name"]: chain["chain_id"] for chain in home.done("testnet", "up")["chains"]}
    heights = {row["name"]: row["height"] for row in home.done("testnet", "status")[:8]}
    assert len(home.done(*command_of("testnet", "down"))["ended"]) == 9
    assert not leftover(str(home.home))
    status = home.chiptrace("testnet", "status", "--json")
    assert status.code == 1
    assert not any(row["running"] for row in status.json)
    gone = home.chiptrace("audit", "urn:epc:id:sgtin:9521001.000001.1", "--chain", "chipmaker", "--json")
    assert gone.code == 2
    after = home.done("testnet", "up")
    assert {chain["name"]: chain["chain_id"] for chain in after["chains"]} == before
    assert all(row["height"] >= heights[row["name"]] for row in home.done("testnet", "status")[:8])


def test_reset_removes_a_network(home, tmp_path):
    other = Testbed(tmp_path)
    testnet_layout.create(other.directory, None, ())
    assert other.done("testnet", "reset") == {"removed": ".chiptrace"}
    assert not other.directory.exists()
    assert other.chiptrace("testnet", "status").code == 2


# ---- members --------------------------------------------------------------------------------------------------


def test_a_part_is_shipped_received_and_sent_over_as_the_readme_says(home, own_part):
    for word in ("ship", "receive", "export-part"):
        recorded = home.done(*with_id(command_of(word), own_part))
        assert recorded["height"] > 0
        assert not recorded["finding"]

    def offered():
        ended = home.chiptrace("part", "show", own_part, "--chain", "assembler", "--json")
        return ended.code == 0 and ended.json["status"] == "OFFERED"

    until(offered)
    received = home.done("receive", own_part, "--chain", "assembler", "--as", "boardworks")
    home.until_provable("assembler", received["height"])
    # An attestation about it, with a document.
    (home.home / "c17.pdf").write_bytes(b"%PDF certificate 17")
    name = f"https://boardworks.example/c/{os.urandom(4).hex()}"
    attested = home.done(
        *("attest", own_part, "--kind", "certificate", "--id", name, "--document", "c17.pdf"),
        *("--chain", "assembler", "--as", "boardworks"),
    )
    home.until_provable("assembler", attested["height"])

    shown = home.done(*with_id(command_of("part", "show"), own_part))
    assert (shown["status"], shown["holder"]) == ("LIVE", "boardworks")
    assert [row["kind"] for row in shown["history"]] == ["ARRIVED", "EVENT", "ATTESTED"]
    there = home.done("part", "show", own_part, "--chain", "chipmaker")
    assert there["status"] == "DEPARTED"

    # The audit, as the README's auditor asks for it: verified, back to where it was made.
    ended = home.chiptrace(*with_id(command_of("audit"), own_part), "--json")
    assert (ended.code, ended.json["verdict"]) == (0, "verified"), ended
    assert {head["chain"] for head in ended.json["as_of"]} == {"chipmaker", "assembler"}
    assert {subject["chain"] for subject in ended.json["subjects"]} == {"chipmaker", "assembler"}
    # As a passport: the same verdict from the file alone, by somebody who could ask nobody.
    (bundle,) = [words for words in readme_commands() if "--bundle" in words]
    written = home.done(*with_id(bundle, own_part))
    assert written["bundle"] == (home.home / "part.passport").stat().st_size
    offline = home.done(*command_of("passport", "verify"), "--part", own_part)
    assert (offline["verdict"], offline["subjects"]) == ("verified", written["subjects"])
    assert all(head["age_ms"] < 600_000 for head in offline["as_of"])
    reached = home.done(*with_id(command_of("recall", "reach"), own_part))
    assert (reached["problem"], reached["complete"]) == ("", True)
    assert {thing["chain"] for thing in reached["reached"]} == {"chipmaker", "assembler"}
    text = home.chiptrace(*with_id(command_of("audit"), own_part))
    assert text.code == 0
    assert "VERIFIED" in text.text


def test_an_export_is_the_document_that_was_captured(home, module_part, tmp_path):
    out = tmp_path / "part.jsonld"
    done = home.done("part", "export", module_part, "--chain", "chipmaker", "--out", out)
    assert home.done("epcis", "check", out)["ok"]
    found = meaning(epcis_json.parse(out.read_bytes()))
    assert len(found) == done["events"] > 0
    document = SAMPLES / "chipmaker-2-moduleworks.jsonld"
    naming = [
        item.event
        for item in epcis_read.read_files([document], strict=True).events
        if module_part in {name.text for name in everything(read_event(item.event))}
    ]
    wanted = meaning(epcis_json.parse(epcis_write.to_text(naming, "2026-01-01T00:00:00Z").encode()))
    assert wanted
    assert all(event in found for event in wanted)
    original = meaning(epcis_json.parse(document.read_bytes()))
    members = [event[2] for event in original]
    assert all(event[2] in members for event in wanted)
    # Without --out it is printed, and can be piped.
    assert epcis_json.parse(
        home.chiptrace("part", "export", module_part, "--chain", "chipmaker").text.encode()
    )


def everything(view):
    return [*view.epcs, *view.children, *view.inputs, *view.outputs, *([view.parent] if view.parent else [])]


def test_nothing_waits_to_be_resumed_after_commands_that_ended(home, module_part):
    assert home.done("resume", "--chain", "chipmaker", "--as", "siliconfab") == {"resumed": []}


def test_the_same_capture_again_is_recognised_and_adds_nothing(home, module_part):
    before = home.done("part", "show", module_part, "--chain", "chipmaker")["history"]
    ended = home.chiptrace(*command_of("capture"), "--go-on", "--json")
    assert all(event.get("repeated") or event.get("code") for event in ended.json["events"]), ended.text
    assert home.done("part", "show", module_part, "--chain", "chipmaker")["history"] == before


# ---- auditors -------------------------------------------------------------------------------------------------


def test_an_audit_of_what_is_not_there_is_a_finding(home):
    ended = home.chiptrace("audit", "urn:epc:id:sgtin:9521001.000001.none", "--chain", "assembler", "--json")
    assert (ended.code, ended.json["verdict"]) == (1, "findings")
    assert "UNKNOWN_PART" in {finding["code"] for finding in ended.json["findings"]}


@pytest.mark.parametrize(
    "words",
    [
        ("--chain", "assembler", "--node", "assembler=127.0.0.1:1"),
        ("--chain", "nowhere"),
        ("--chain", "assembler", "--trust", "missing.json"),
    ],
    ids=["nobody answers", "no such chain", "no trust file"],
)
def test_an_audit_that_cannot_be_made_is_neither(home, words):
    ended = home.chiptrace("audit", "urn:epc:id:sgtin:9521001.000001.1", *words, "--json")
    assert ended.code == 2
    assert ended.json.get("verdict") in (None, "not verifiable")
    assert ended.json.get("problem") or ended.json["error"]["message"]


# ---- everybody ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, told",
    [
        (("capture", "missing.json", "--chain", "chipmaker", "--as", "siliconfab"), "missing.json"),
        (("capture", "README", "--chain", "chipmaker", "--as", "siliconfab"), "README"),
        (
            ("ship", "no-identifier", "--to", "x", "--chain", "chipmaker", "--as", "siliconfab"),
            "no-identifier",
        ),
        (
            ("receive", "urn:epc:id:sgtin:9521001.000001.1", "--chain", "chipmaker", "--as", "nobody"),
            "nobody",
        ),
        (("testnet", "status", "--dir", "elsewhere"), "elsewhere"),
        (("testnet", "down", "--dir", "elsewhere"), "elsewhere"),
        (("chain", "status", "--chain", "nobody"), "nobody"),
        (("chain", "evidence", "--chain", "nobody"), "nobody"),
        (("chain", "evidence", "--verify", "README"), "README"),
        (("govern", "show", "README"), "README"),
        (("govern", "sign", "README", "--key", "none", "-o", "out"), "README"),
        (("recover", "show", "README"), "README"),
        (("recover", "check", "--chain", "chipmaker"), "no node shows a recovery"),
        (("part", "show", "urn:epc:id:sgtin:9521001.000001.none", "--chain", "chipmaker"), "absent"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value)[:30],
)
def test_mistakes_are_told_with_what_to_do_and_no_traceback(home, words, told):
    (home.home / "README").write_text("no JSON")
    ended = home.chiptrace(*words)
    assert ended.code == 2
    assert told in ended.errors
    assert "Traceback" not in ended.errors + ended.text
    assert not (home.home / "chiptrace-error.txt").exists()
    assert home.chiptrace(*words, "--json").json["error"]["message"]


def commands(group, path=()):
    """Every command below a group, with its path."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield (*path, name), command
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands(typer.main.get_command(application(""))))
LASTING = {("node", "run"), ("relay", "run")}  # they log JSON anyway


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_explains_itself(path):
    """The help says what it does, with an example; there is a form for scripts."""
    shown = CliRunner().invoke(application(""), [*path, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0
    assert "Usage:" in shown.output
    if not hasattr(ALL[path], "commands"):
        assert "Example: chiptrace" in shown.output
        options = {option for parameter in ALL[path].params for option in parameter.opts}
        assert path in LASTING or "--json" in options


def test_the_command_itself_lists_them(home):
    ended = home.chiptrace("--help")
    assert ended.code == 0
    assert all(path[0] in ended.text for path in ALL)
    assert home.chiptrace().text.count("Usage") <= 1


def test_the_readme_names_only_commands_that_there_are():
    for words in readme_commands():
        assert tuple(words[:2]) in ALL or tuple(words[:1]) in ALL, words
    inline = re.findall(r"`chiptrace ([a-z-]+)(?: ([a-z-]+))?", README)
    assert all((first, second) in ALL or (first,) in ALL for first, second in inline)


def test_json_is_json_alone(home):
    for words in (("testnet", "status"), ("epcis", "check", "docs/samples/assembler-3-carmaker.jsonld")):
        assert json.loads(home.chiptrace(*words, "--json").text)
