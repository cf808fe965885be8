"""Which chains a test network has, and which of them follow each other."""

import pytest

from ledger.errors import Malformed
from node import config, testnet_layout
from node.config import RelayConfig
from node.testnet_plan import CHAINS_MAX, chains, one_chain, two_chains


def test_two_chains_are_the_usual_network():
    plan = two_chains()
    assert [chain.name for chain in plan.chains] == ["chipmaker", "assembler"]
    assert plan.pairs == (("chipmaker", "assembler"),)
    assert plan.ports == 17
    assert one_chain(4).pairs == ()


def test_any_topology():
    names = ("fab", "osat", "assembler")
    assert chains(names).pairs == (("fab", "osat"), ("fab", "assembler"), ("osat", "assembler"))
    assert chains(names, "fab:osat,assembler:fab").pairs == (("fab", "osat"), ("fab", "assembler"))
    assert chains(names, "osat:assembler,assembler:osat").pairs == (("osat", "assembler"),)
    for wrong in ("fab", "fab:fab", "fab:nobody", "fab-osat", ""):
        with pytest.raises(Malformed, match="pairs no two"):
            chains(names, wrong)


def test_names_are_those_of_clients_and_stand_once():
    for wrong in (("fab", "fab"), tuple(f"c{n}" for n in range(CHAINS_MAX + 1)), ()):
        with pytest.raises(Malformed, match="different chains"):
            chains(wrong)
    for wrong in ("Fab", "1fab", "a" * 25, "a_b", ""):
        with pytest.raises(Malformed, match="names no chain"):
            chains((wrong,))


def test_members_and_their_prefixes_are_all_different():
    plan = chains(("fab", "osat", "assembler", "chipmaker", *(f"more-{n}" for n in range(12))), validators=7)
    members = [member for chain in plan.chains for member in chain.members]
    assert len({member.prefix for member in members}) == len(members) == 7 * 16
    assert len({member.id for chain in plan.chains[4:] for member in chain.members}) == 7 * 12
    assert all(len(member.prefix) == 7 and member.prefix.startswith("952") for member in members)


def test_the_relayer_of_a_network_serves_the_paired_chains(tmp_path):
    plan = chains(("fab", "osat", "assembler"), "fab:osat", validators=1)
    network = testnet_layout.create(tmp_path / "net", None, (), plan)
    relay = config.read(network.config_file("relay"), RelayConfig)
    assert [chain.name for chain in relay.chains] == ["fab", "osat"]
    assert [(route.first, route.first_client) for route in relay.routes] == [("fab", "osat")]
    assert relay.listen == network.relay_listen != ""
    assert testnet_layout.read(tmp_path / "net") == network


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('second = "osat"', 'second = "fab"', "must join two"),
        ('second = "osat"', 'second = "nobody"', "must join two"),
        ('name = "osat"', 'name = "fab"', "name each chain once"),
        ('listen = "127.0.0.1:', 'listen = "nowhere', "host:port"),
    ],
)
def test_a_relayers_configuration_that_cannot_be_is_told(tmp_path, old, new, told):
    plan = chains(("fab", "osat"), validators=1)
    network = testnet_layout.create(tmp_path / "net", None, (), plan)
    path = network.config_file("relay")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(Malformed, match=told):
        config.read(path, RelayConfig)
