"""The client as one function: any messages in any order, and the same record for whoever plays them again."""

import random

import pytest

from bridge.client_step import Known, step, thaw_message
from bridge.light_client import one_member_suffices
from ledger import codec, hashes
from ledger.block import block_hash, decode_header
from ledger.errors import Invalid, InvariantBroken, Malformed, Refused
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, SubmitMisbehaviour, UpdateClient
from proto.chiptrace.v1.ledger_pb2 import CreateClient, Reason, Signature, ThawClient
from tests.bridge.certified import CHAIN, HERE, T0, Keys, signed_header

PERIOD = 1_000_000
ADMINS = [hashes.sha256(b"admin %d" % number) for number in range(3)]
SEEDS = range(40)


class Source:
    """A chain whose validators change now and then, and sign a second block of a height when asked to."""

    def __init__(self, chance: random.Random, members=("abcd", "abce", "aabb")):
        self.chance = chance
        self.height, self.keys = 0, Keys("abcd")
        self.headers = []
        for height in range(1, 40):
            following = None
            if chance.random() < 0.15:
                following = Keys(chance.choice(members), height + 1, salt=str(height))
            self.headers.append((signed_header(height, self.keys, following), self.keys, following))
            self.keys = following or self.keys

    def update(self):
        """From somewhere to somewhere: with its boundaries, or now and then without one, or in another order."""
        start, end = sorted(self.chance.sample(range(39), 2))
        chosen = [
            signed
            for signed, _, following in self.headers[start:end]
            if following or self.chance.random() < 0.2
        ]
        chosen.append(self.headers[end][0])
        if self.chance.random() < 0.1:
            self.chance.shuffle(chosen)
        return UpdateClient(client="c", headers=chosen)

    def fork(self):
        signed, keys, following = self.chance.choice(self.headers)
        height = decode_header(signed.header).height
        app_hash = signed.header[:0] + bytes([self.chance.randrange(256)]) * 32
        other = signed_header(height, keys, following, app_hash=app_hash)
        return SubmitMisbehaviour(client="c", first=signed, second=other, validators=[keys.set])

    def thaw(self, client: ClientRecord):
        plain = [item for item in self.headers if item[2] is None]
        signed, keys, _ = self.chance.choice(plain)
        change = ThawClient(
            id="c", header=signed.header, certificate=codec.encode(signed.certificate), validators=keys.set
        )
        message = thaw_message(HERE, change, client.history.n)
        for seed in ADMINS[: self.chance.choice((1, 2, 3))]:
            key = hashes.public_key(seed)
            change.counterparty_approvals.append(Signature(key=key, signature=hashes.sign_raw(seed, message)))
        return change


class Host:
    """Keeps a client as a chain does, and every message that it took."""

    def __init__(self, *, strict=True):
        self.headers = {}
        self.known = Known(HERE, self.headers.get, strict)
        self.client = None
        self.taken = []

    def take(self, message, now_ms):
        before = None if self.client is None else codec.encode(self.client)
        after, effects = step(self.client, message, now_ms, self.known)
        assert before is None or codec.encode(self.client) == before  # it changes nothing it was given
        for height in effects.forget:
            del self.headers[height]
        for header in effects.keep:
            assert header.height not in self.headers  # no kept header is replaced
            self.headers[header.height] = header
        if after != self.client:
            after.history.n += 1
        self.client = after
        self.taken.append((message, now_ms))
        assert sorted(self.headers) == list(after.stored_heights)
        return effects


def created(**changed) -> CreateClient:
    fields = {
        "id": "c",
        "chain_id": CHAIN,
        "counterparty_client": "d",
        "validators": Keys("abcd").set,
        "trusting_period_ms": PERIOD,
        "governance_keys": [hashes.public_key(seed) for seed in ADMINS],
        "governance_members": [f"member-{number}" for number in range(len(ADMINS))],
        "governance_threshold": 2,
        "genesis_time_ms": T0,
    }
    return CreateClient(**(fields | changed))


def play(seed: int, **options) -> tuple[Host, set[int]]:
    chance = random.Random(seed)
    source, host, now_ms = Source(chance, **options), Host(), T0 + 50_000
    host.take(created(), now_ms)
    reasons, ever = set(), {}
    for _ in range(30):
        now_ms += chance.choice((0, 1_000, 60_000, PERIOD))
        kind = chance.random()
        message = (
            source.update() if kind < 0.7 else source.fork() if kind < 0.85 else source.thaw(host.client)
        )
        was = host.client
        try:
            reasons.add(host.take(message, now_ms).reason)
        except (Malformed, Refused, Invalid) as error:
            reasons.add(error.reason)
            continue
        client = host.client
        # What froze is thawed by governance only, and believed heights never go back but by it.
        if not isinstance(message, ThawClient):
            assert client.frozen or not was.frozen
            assert client.latest_height >= was.latest_height
            assert client.latest_time_ms >= was.latest_time_ms
        # No client that goes on trusts a set that one member certifies.
        assert client.frozen or not one_member_suffices(client.validators)
        for height, header in host.headers.items():
            assert ever.setdefault(height, header.block_hash) == header.block_hash or was.frozen
        ever.update({height: header.block_hash for height, header in host.headers.items()})
    return host, reasons


@pytest.mark.parametrize("seed", SEEDS)
def test_any_messages_in_any_order(seed):
    host, _ = play(seed)
    again = Host()
    for message, now_ms in host.taken:
        again.take(message, now_ms)
    assert again.client == host.client
    assert again.headers == host.headers


def test_the_plays_meet_what_there_is_to_meet():
    reasons = set().union(*(play(seed)[1] for seed in SEEDS))
    for reason in (
        Reason.REASON_UNSPECIFIED,
        Reason.REDUNDANT,
        Reason.NOT_NEWER,
        Reason.BAD_VALIDATORS,
        Reason.CLIENT_FROZEN,
        Reason.CLIENT_EXPIRED,
        Reason.NOTHING_TO_DO,
        Reason.NOT_ENOUGH_APPROVALS,
    ):
        assert reason in reasons, Reason.Name(reason)


def test_a_weak_set_is_met_and_freezes_every_time():
    met = 0
    for seed in SEEDS:
        host, reasons = play(seed, members=("aaab",))
        met += Reason.CLIENT_TOO_WEAK in reasons
        assert host.client.frozen_for in (
            Reason.REASON_UNSPECIFIED,
            Reason.CLIENT_TOO_WEAK,
            Reason.MISBEHAVED,
        )
    assert met > 5


def test_only_a_creation_begins_a_client():
    with pytest.raises(InvariantBroken):
        step(None, UpdateClient(client="c"), T0, Known(HERE, lambda height: None))


def test_a_client_that_lost_a_header_says_so():
    host = Host()
    host.take(created(), T0)
    signed = signed_header(3, Keys("abcd"))
    host.take(UpdateClient(client="c", headers=[signed]), T0 + 5_000)
    assert host.headers[3].block_hash == block_hash(CHAIN, signed.header)
    host.headers.clear()
    with pytest.raises(Invalid) as caught:
        step(host.client, UpdateClient(client="c", headers=[signed]), T0 + 5_000, host.known)
    assert caught.value.reason == Reason.UNKNOWN_HEADER
