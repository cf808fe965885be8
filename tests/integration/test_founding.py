"""Two chains founded as docs/founding.md says: by its commands, and by its own files with the names filled in."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli_parts import utc_now
from ledger.identifiers import canonical
from node.cli import application
from node.testnet_layout import _free_ports
from tests.integration.testbed import ROOT
from tests.node.network import until

pytestmark = pytest.mark.processes
PAGE = (ROOT / "docs" / "founding.md").read_text()
CHAINS = {
    "chipmaker": {
        "siliconfab": "9521001",
        "moduleworks": "9521002",
        "testlab": "9521003",
        "chipdist": "9521004",
    },
    "assembler": {
        "boardworks": "9525001",
        "drivemaker": "9525002",
        "carmaker": "9525003",
        "customs": "9525004",
    },
}
PART = "https://id.gs1.org/01/09521001000017/21/first"


def block(kind: str, containing: str) -> str:
    """The one code block of the page that has this in it."""
    (found,) = [text for text in re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) if containing in text]
    return found


def run(*words):
    ended = CliRunner().invoke(application(words[0]), [*map(str, words), "--json"])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended.exit_code, json.loads(ended.stdout)


def done(*words):
    code, told = run(*words)
    assert code == 0, (words, told)
    return told


class Founding:
    """One chain, in a directory of its own; each step does what the section of the page says."""

    def __init__(self, home: Path, name: str):
        self.home, self.name, self.members = home / name, name, CHAINS[name]
        self.first = next(iter(self.members))
        ports = _free_ports(8)
        self.ports = dict(zip(self.members, zip(ports[:4], ports[4:], strict=True), strict=True))
        self.processes = []

    def keys(self):
        place = self.home
        done("node", "authority", place / "ca", "--name", self.name)
        self.public, self.pins = {}, {}
        for member in self.members:
            validator = done("node", "key", place / member / "keys")["key"]
            admin = done("govern", "key", place / member / "admin.key")["key"]
            operator = done("govern", "key", place / member / "operator.key")["key"]
            self.public[member] = {"validator": validator, "admin": admin, "operator": operator}
            words = ("--authority", place / "ca", "--name", member, "--host", "127.0.0.1")
            self.pins[member] = done("node", "certificate", place / member / "node.pem", *words)["pin"]
            done("node", "certificate", place / member / "client.pem", *words[:-2])

    def genesis(self):
        text = block("toml", "[parameters]").replace('"chipmaker"', f'"{self.name}"')
        text = text.replace("2026-11-01", "2026-01-01")
        head, sections = text.split("[[members]]")
        for member, prefix in self.members.items():
            filled = f"[[members]]{sections}".replace('"siliconfab"', f'"{member}"').replace(
                "9521001000000", "GLN"
            )
            filled = filled.replace("9521001", prefix)
            party = canonical(f"urn:epc:id:pgln:{prefix}.00000").text.rpartition("/")[2]
            for role, key in self.public[member].items():
                filled = filled.replace(f"<{role} key>", key)
            head += filled.replace("GLN", party)
        (self.home / "chain.toml").write_text(head)
        told = [
            done("govern", "genesis", self.home / "chain.toml", "-o", self.home / f"genesis{n}") for n in "12"
        ]
        assert told[0]["chain_id"] == told[1]["chain_id"]
        (self.home / "genesis1").rename(self.home / "genesis")
        self.chain_id = told[0]["chain_id"]

    def nodes(self):
        head, peer = block("toml", "[[peers]]").split("[[peers]]")
        for member in self.members:
            clients, validators = self.ports[member]
            text = (
                head.replace("siliconfab", member)
                .replace("9100", str(clients))
                .replace("9000", str(validators))
            )
            for other in self.members:
                if other != member:
                    entry = peer.replace("moduleworks", other).replace("9001", str(self.ports[other][1]))
                    entry = entry.replace("<validator key>", self.public[other]["validator"])
                    text += "[[peers]]" + entry.replace("<pin>", self.pins[other])
            config = self.home / member / "node.toml"
            config.write_text(f"verifiers = 0\n{text}")
            assert self.chain_id in json.dumps(done("node", "check", "--config", config))
            command = [sys.executable, "-m", "node.cli", "node", "run", "--config", str(config)]
            with (self.home / member / "log").open("wb") as log:
                self.processes.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log))

    def trust(self):
        """What this chain adds to a trust file."""
        text = block("json", '"identities"').replace("chipmaker", self.name).replace("siliconfab", self.first)
        text = text.replace("<chain id>", self.chain_id).replace("9100", str(self.ports[self.first][0]))
        for path in ("ca/ca.pem", f"{self.first}/operator.key", f"{self.first}/client.pem"):
            text = text.replace(path, f"{self.name}/{path}")
        return json.loads(
            text.replace(f"{self.first}/client-key.pem", f"{self.name}/{self.first}/client-key.pem")
        )

    def meet(self, other):
        """A client of the other chain, and what is at home there."""
        written = (
            "--of",
            other.name,
            "--id",
            other.name,
            "--counterparty",
            self.name,
            "-o",
            f"{self.name}.toml",
        )
        assert done("govern", "client", *written)["governance_members"] == sorted(other.members)
        grant = block("toml", "home_chain =").replace("<chain id of assembler>", other.chain_id)
        grant = grant.replace("9525001", other.members[other.first]).replace("siliconfab", self.first)
        with Path(f"{self.name}.toml").open("a") as file:
            file.write(grant)
        proposal = f"{self.name}.proposal"
        done("govern", "propose", f"{self.name}.toml", "-o", proposal, "--chain", self.name)
        approvals = [f"{self.name}.{member}" for member in list(self.members)[:3]]
        for path, member in zip(approvals, self.members, strict=False):
            done("govern", "sign", proposal, "--key", self.home / member / "admin.key", "-o", path)
        short = ("govern", "submit", proposal, *approvals[:2], "--chain", self.name, "--as", self.first)
        assert run(*short)[1]["error"]["code"] == "NOT_ENOUGH_APPROVALS"
        done("govern", "submit", proposal, *approvals, "--chain", self.name, "--as", self.first)


@pytest.fixture
def founded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chains = [Founding(tmp_path, name) for name in CHAINS]
    try:
        yield chains
    finally:
        for process in [process for chain in chains for process in chain.processes]:
            process.terminate()
        for process in [process for chain in chains for process in chain.processes]:
            process.wait(20)


def test_two_chains_are_founded_and_a_part_crosses(founded, monkeypatch):
    known = {"version": 1, "chains": [], "identities": []}
    for chain in founded:
        chain.keys()
        chain.genesis()
        chain.nodes()
        for name in ("chains", "identities"):
            known[name] += chain.trust()[name]
    Path("trust.json").write_text(json.dumps(known))
    monkeypatch.setenv("CHIPTRACE_TRUST", "trust.json")
    here, there = founded
    for chain in founded:
        until(lambda name=chain.name: run("govern", "current", "--chain", name)[0] == 0)  # it decides
    here.meet(there)
    there.meet(here)
    # Of now: more than a day late would be a finding, by the page's parameters.
    Path("made.jsonld").write_text(json.dumps(DOCUMENT).replace("2026-01-01T00:00:00Z", utc_now()))
    as_here = ("--chain", here.name, "--as", here.first)
    done("capture", "made.jsonld", *as_here)
    done("export-part", PART, "--to", there.name, "--receiver", there.first, *as_here)
    until(lambda: run("bridge", "clear")[0] == 0 and not run("bridge", "pending")[0])
    done("receive", PART, "--chain", there.name, "--as", there.first)
    code, audit = run("audit", PART)
    assert (code, audit["verdict"]) == (0, "verified"), audit
    for chain in founded:
        (node,) = run("chain", "status", "--chain", chain.name)[1]["nodes"]
        assert (node["height"] > 1, len(node["validators"])) == (True, 3), node


DOCUMENT = {
    "@context": ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],
    "type": "EPCISDocument",
    "schemaVersion": "2.0",
    "creationDate": "2026-01-01T00:00:00Z",
    "epcisBody": {
        "eventList": [
            {
                "type": "ObjectEvent",
                "action": "ADD",
                "bizStep": "commissioning",
                "eventTime": "2026-01-01T00:00:00Z",
                "eventTimeZoneOffset": "+00:00",
                "epcList": [PART],
            }
        ]
    },
}
