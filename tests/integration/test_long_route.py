"""A part goes round three real chains and comes home, by the commands that docs/bridge.md names, and by no other means."""

import json

import pytest
from typer.testing import CliRunner

from node import testnet_layout
from node.cli import application
from node.processes import Processes
from tests.node.network import until

pytestmark = pytest.mark.processes
NAMES = ("fab", "osat", "assembler")
PREFIX = "gs1:9522001"  # of the first member of fab
PART, BOX, INNER = (f"https://id.gs1.org/01/09522001000014/21/{serial}" for serial in "PBI")


class Route:
    """Three chains of one validator, each with a client of each other."""

    def __init__(self, home):
        self.home = home
        self.up = self.done("testnet", "up", "--chains", ",".join(NAMES), "--validators", "1")
        network = testnet_layout.read(home / ".chiptrace")
        self.member = {node.chain: node.member for node in network.nodes}
        self.chain_id = {chain.name: chain.chain_id.hex() for chain in network.chains}

    def run(self, *words):
        ended = CliRunner().invoke(application(words[0]), [*words, "--json"])
        assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
        return ended.exit_code, json.loads(ended.stdout)

    def done(self, *words):
        code, printed = self.run(*words)
        assert code == 0, printed
        return printed

    def on(self, chain, *words):
        return self.done(*words, "--chain", chain, "--as", self.member[chain])

    def status(self, part, chain):
        code, shown = self.run("part", "show", part, "--chain", chain)
        return shown["status"] if code == 0 else ""

    def allow(self, chain):
        """Governance puts a grant with long routes."""
        (self.home / "change.toml").write_text(
            f'[[change]]\nkind = "revoke_grant"\nprefix = "{PREFIX}"\n\n'
            f'[[change]]\nkind = "put_grant"\nprefix = "{PREFIX}"\nholder = "{self.member[chain]}"\nlong_routes = true\n'
            + (f'home_chain = "{self.chain_id["fab"]}"\n' if chain != "fab" else "")
        )
        self.done("govern", "propose", "change.toml", "-o", f"{chain}.proposal", "--chain", chain)
        key = f".chiptrace/members/{chain}/{self.member[chain]}/admin.key"
        self.done("govern", "sign", f"{chain}.proposal", "--key", key, "-o", f"{chain}.approval")
        self.on(chain, "govern", "submit", f"{chain}.proposal", f"{chain}.approval")

    def carry(self, part, source, to):
        self.on(source, "export-part", part, "--to", to, "--receiver", self.member[to])
        until(lambda: self.status(part, to) == "OFFERED")
        self.on(to, "receive", part)
        until(lambda: self.status(part, source) == "DEPARTED")


@pytest.fixture
def route(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHIPTRACE_TRUST", raising=False)
    try:
        yield Route(tmp_path)
    finally:
        processes = Processes(tmp_path / ".chiptrace")
        processes.stop(list(processes.running()))


def events(home):
    common = {"eventTime": "2026-01-01T00:00:00Z", "eventTimeZoneOffset": "+00:00", "action": "ADD"}
    made = {"type": "ObjectEvent", "bizStep": "commissioning", "epcList": [PART, BOX, INNER]}
    packed = {"type": "AggregationEvent", "bizStep": "packing", "parentID": BOX, "childEPCs": [INNER]}
    document = {
        "@context": ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-01-01T00:00:00Z",
        "epcisBody": {"eventList": [common | made, common | packed]},
    }
    (home / "made.jsonld").write_text(json.dumps(document))
    return "made.jsonld"


def test_a_part_goes_round_three_chains_and_its_audit_follows_it(route):
    code, printed = route.run("follow-part", PART, "--from", "fab", "--chain", "osat", "--as", "packager")
    assert (code, printed["error"]["code"]) == (2, "UNKNOWN_PART")
    route.on("fab", "capture", events(route.home))
    words = ("follow-part", PART, "--from", "fab", "--chain", "assembler", "--as", "boardworks")
    assert route.run(*words)[1]["error"]["code"] == "NOT_FROM_HOME"
    for chain in NAMES:
        route.allow(chain)
    for part in (PART, BOX):
        route.carry(part, "fab", "osat")
        route.on("assembler", "follow-part", part, "--from", "fab")
        route.carry(part, "osat", "assembler")
        route.on("fab", "follow-part", part, "--from", "osat")
        route.carry(part, "assembler", "fab")
        audit = route.done("audit", part)
        assert audit["verdict"] == "verified", audit
    # What lay in the box came home unknown to the chains between: each shows it to the next.
    route.on("osat", "materialise", INNER, "--from", "fab")
    route.on("assembler", "follow-part", INNER, "--from", "fab")
    route.on("assembler", "materialise", INNER, "--from", "osat")
    route.on("fab", "follow-part", INNER, "--from", "osat")
    route.on("fab", "materialise", INNER, "--from", "assembler")
    assert route.done("audit", INNER)["verdict"] == "verified"
