"""Real nodes as processes: what is acknowledged is everywhere and stays, whatever happens to one of them."""

import contextlib
import json
import os
import queue
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from random import Random

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from client import faults, keys
from client.clock import now_ms
from client.connection import Connection
from client.verified import VerifiedChain
from consensus.messages import signed_vote
from ledger import codec, hashes, state
from ledger.block import log_leaf_hash
from ledger.limits import SUBMIT_TRANSACTIONS_MAX
from ledger.merkle import verify_inclusion
from node import certificates
from proto.chiptrace.v1.consensus_pb2 import NOTARIZE, Certificate, PeerMessage, Vote
from proto.chiptrace.v1.ledger_pb2 import Entry, EntryKind, MemberRecord, Reason
from proto.chiptrace.v1.node_pb2 import (
    BlockAtRequest,
    FollowRequest,
    HeadersRequest,
    HistoryRequest,
    LogLeavesRequest,
    PeerFrame,
    ProveRequest,
    SubmitRequest,
    TransactionRequest,
)
from proto.chiptrace.v1.node_pb2_grpc import PeerStub
from tests.node.network import CHAIN, MEMBERS, paused, until
from tests.node.raw_http2 import Rude

pytestmark = pytest.mark.processes
FIRST, LAST = MEMBERS[0], MEMBERS[-1]


def reason_of(error):
    return dict(error.value.trailing_metadata() or ()).get("chiptrace-reason")


# ---- submissions ------------------------------------------------------------------------------------


def test_a_final_transaction_stands_in_the_same_block_at_every_node(chain):
    outcome = chain.submit()
    assert (outcome.admitted, outcome.final, outcome.reason) == (True, True, Reason.UNKNOWN_PART)
    until(lambda: all(chain.status(member).height >= outcome.height for member in MEMBERS))
    blocks = {chain.stub(member).GetBlock(BlockAtRequest(height=outcome.height)).block for member in MEMBERS}
    assert len(blocks) == 1
    found = chain.stub(LAST).GetTransaction(TransactionRequest(id=outcome.transaction))
    assert (found.height, found.index) == (outcome.height, outcome.index)


def test_the_same_bytes_again_get_the_first_outcome_and_other_bytes_its_id(chain):
    key = os.urandom(16)
    data = chain.transaction(idempotency_key=key)
    first = chain.submit(data)
    assert chain.submit(data) == first
    until(lambda: chain.status(LAST).height >= first.height)
    assert chain.submit(data, LAST, wait=False) == first
    other = chain.submit(chain.transaction(idempotency_key=key, until_ms=30_000))
    assert (other.admitted, other.final, other.reason) == (False, False, Reason.REPEATED)
    assert (other.transaction, other.height) == (first.transaction, first.height)


def test_without_waiting_it_is_said_to_be_admitted_and_no_more(chain):
    outcome = chain.submit(wait=False)
    assert (outcome.admitted, outcome.final, outcome.height) == (True, False, 0)
    until(lambda: has_transaction(chain, LAST, outcome.transaction))


def has_transaction(chain, member, transaction):
    try:
        return chain.stub(member).GetTransaction(TransactionRequest(id=transaction), timeout=10)
    except grpc.RpcError:
        return None


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (lambda data: data[:-1], Reason.MALFORMED),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), Reason.BAD_SIGNATURE),
        (lambda data: b"", Reason.WRONG_CHAIN),
        (lambda data: data + bytes(300_000), Reason.OVERSIZE),
    ],
)
def test_bytes_that_are_no_signed_transaction_are_refused_with_their_reason(chain, spoil, reason):
    outcome = chain.submit(spoil(chain.transaction()))
    assert (outcome.admitted, outcome.reason) == (False, reason)


def test_an_expired_transaction_is_refused(chain):
    assert chain.submit(chain.transaction(until_ms=-1)).reason == Reason.EXPIRED


def test_many_at_once_through_different_nodes_are_each_final_exactly_once(chain):
    batches = [[chain.transaction() for _ in range(40)] for _ in MEMBERS]

    def send(pair):
        member, batch = pair
        return chain.stub(member).Submit(SubmitRequest(transactions=batch, wait=True), timeout=60).outcomes

    with ThreadPoolExecutor(len(MEMBERS)) as threads:
        outcomes = [item for found in threads.map(send, zip(MEMBERS, batches, strict=True)) for item in found]
    assert all(item.final for item in outcomes)
    assert len({(item.height, item.index) for item in outcomes}) == len(MEMBERS) * 40


# ---- answers ------------------------------------------------------------------------------------------


def test_every_answer_can_be_checked_by_someone_who_knows_the_chain_id_only(chain):
    height = chain.submit().height
    connection = Connection(chain.chain, chain.identity)
    verified = VerifiedChain(chain.chain, connection, now_ms)
    until(lambda: chain.status().proof_height_max >= height)
    assert verified.record(state.member_key(FIRST), MemberRecord).id == FIRST
    assert verified.record(state.member_key("nobody"), MemberRecord) is None
    head = decode_head(chain)
    leaves = (
        chain.stub().GetLogLeaves(LogLeavesRequest(heights=[1, height], size=head.opening.log_size)).leaves
    )
    for leaf in leaves:
        verify_inclusion(
            log_leaf_hash(chain.chain.chain_id, leaf.leaf), leaf.inclusion, head.opening.log_root
        )
    connection.close()


def decode_head(chain):
    return chain.stub().Prove(ProveRequest(keys=[]))


def test_followers_get_every_height_in_order_with_results(chain):
    start = chain.status().height
    heights = []
    stream = chain.stub().Follow(FollowRequest(from_height=start), timeout=20)
    outcome = chain.submit()
    for reply in stream:
        heights.append(reply.head.certificate.height)
        if reply.results:
            assert heights[-1] == outcome.height
            break
    stream.cancel()
    assert heights == list(range(start, outcome.height + 1))


@pytest.mark.parametrize(
    "ask, reason",
    [
        (lambda stub: stub.Prove(ProveRequest(keys=[b"k"], height=10**9)), "HEIGHT_NOT_SERVED"),
        (lambda stub: stub.Prove(ProveRequest(keys=[b"k"] * 1_000)), "OVERSIZE"),
        (lambda stub: stub.GetBlock(BlockAtRequest(height=10**9)), "NOT_FOUND"),
        (lambda stub: stub.GetBlock(BlockAtRequest(height=0)), "NOT_FOUND"),
        (lambda stub: stub.GetTransaction(TransactionRequest(id=b"?")), "NOT_FOUND"),
        (lambda stub: stub.GetLogLeaves(LogLeavesRequest(heights=[1] * 5_000, size=1)), "OVERSIZE"),
        (lambda stub: stub.GetLogLeaves(LogLeavesRequest(heights=[2], size=1)), "BAD_PROOF"),
        (
            lambda stub: stub.Submit(SubmitRequest(transactions=[b""] * (SUBMIT_TRANSACTIONS_MAX + 1))),
            "OVERSIZE",
        ),
    ],
)
def test_what_cannot_be_answered_ends_with_a_stable_reason(chain, ask, reason):
    with pytest.raises(grpc.RpcError) as error:
        ask(chain.stub())
    assert reason_of(error) == reason


def test_empty_and_far_questions_have_empty_answers(chain):
    stub = chain.stub()
    assert not stub.GetHistory(HistoryRequest(subject=b"nothing")).items
    assert not stub.GetHeaders(HeadersRequest(from_height=10**12)).headers
    assert stub.GetHeaders(HeadersRequest()).headers


# ---- doors ----------------------------------------------------------------------------------------------


def test_a_client_of_another_authority_is_not_let_in(chain, tmp_path):
    certificates.create_authority(tmp_path, "elsewhere", now_ms())
    certificates.issue(tmp_path, tmp_path / "client.pem", "siliconfab client", (), now_ms())
    files = {"certificate": tmp_path / "client.pem", "key": tmp_path / "client-key.pem"}
    with chain.channel(FIRST, **files) as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/chiptrace.v1.Chain/GetStatus")(b"", timeout=20)
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE


def test_garbage_on_either_port_does_not_hurt(chain):
    node = next(node for node in chain.network.nodes if node.name == f"{CHAIN}-{FIRST}")
    before = chain.process(FIRST)
    context = ssl.create_default_context(cafile=str(chain.chain.ca))
    context.load_cert_chain(chain.identity.certificate, chain.identity.tls_key)
    context.set_alpn_protocols(["h2"])
    for address in (node.clients, node.validators):
        host, port = address.split(":")
        for garbage in (
            b"\0" * 10_000,
            os.urandom(10_000),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(5_000),
        ):
            with socket.create_connection((host, int(port)), timeout=5) as line:
                line.sendall(garbage)
            with (
                socket.create_connection((host, int(port)), timeout=5) as line,
                context.wrap_socket(line, server_hostname=host) as secure,
            ):
                secure.sendall(garbage)
    with chain.channel(FIRST) as channel:
        for method in ("Submit", "Prove", "GetHistory", "GetPackets", "GetHeaders", "Nonsense"):
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(f"/chiptrace.v1.Chain/{method}")(b"\xff" * 100, timeout=20)
    assert chain.submit().final
    assert chain.process(FIRST) == before


def test_calls_beyond_the_limit_of_one_identity_are_refused_and_others_served(chain):
    streams = [chain.stub().Follow(FollowRequest()) for _ in range(140)]
    try:
        refused = until(lambda: [stream for stream in streams if stream.done()])
        assert {stream.code() for stream in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        auditor = chain.trust.identity(CHAIN, role="auditor")
        connection = Connection(chain.chain, auditor, only=chain.endpoint(FIRST))
        assert VerifiedChain(chain.chain, connection, now_ms).trusted().chain_id == chain.chain.chain_id
        connection.close()
    finally:
        for stream in streams:
            stream.cancel()
    until(chain.status)


def test_handshakes_of_strangers_leave_no_trace_in_the_log(chain):
    before = chain.log(FIRST)
    host, _, port = chain.endpoint(FIRST).rpartition(":")
    for _ in range(50):
        with socket.create_connection((host, int(port))) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            stranger.settimeout(5)
            with contextlib.suppress(ConnectionError):
                stranger.recv(100)
    assert not [line for line in chain.log(FIRST)[len(before) :].splitlines() if "andshake" in line]


@pytest.mark.parametrize("odd", [("te", "x"), ("x-odd", b"\xff")], ids=["not allowed", "no text"])
def test_odd_headers_do_not_fill_the_log(chain, odd):
    context = ssl.create_default_context(cafile=chain.chain.ca)
    context.load_cert_chain(chain.identity.certificate, chain.identity.tls_key)
    context.set_alpn_protocols(["h2"])
    _, _, port = chain.endpoint(FIRST).rpartition(":")
    before = len(chain.log(FIRST))
    with Rude(int(port), context, "localhost") as rude:
        answered = [rude.call("/chiptrace.v1.Chain/GetStatus", b"", *[odd] * 200) for _ in range(20)]
        until(lambda: rude.hear() or rude.hung_up or rude.ended.issuperset(answered))
    told = [line for line in chain.log(FIRST)[before:].splitlines() if '"logger": "chiptrace.' not in line]
    assert len(told) <= 1, told[:3]


def test_what_is_small_only_because_it_is_compressed_is_refused(chain):
    request = SubmitRequest(transactions=[bytes(1_000_000)])
    with pytest.raises(grpc.RpcError) as error:
        chain.stub(FIRST).Submit(request, compression=grpc.Compression.Gzip, timeout=10)
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert chain.stub(FIRST).Submit(request, timeout=10).outcomes[0].reason == Reason.OVERSIZE


def test_who_reads_nothing_keeps_no_node_from_ending(chain):
    context = ssl.create_default_context(cafile=chain.chain.ca)
    context.load_cert_chain(chain.identity.certificate, chain.identity.tls_key)
    context.set_alpn_protocols(["h2"])
    port = int(chain.endpoint(LAST).rpartition(":")[2])
    with Rude(port, context, "localhost", window=0) as rude:
        for path, request in (
            ("/grpc.health.v1.Health/Watch", b""),
            ("/chiptrace.v1.Chain/Follow", FollowRequest(from_height=1).SerializeToString()),
            ("/chiptrace.v1.Chain/GetBlock", BlockAtRequest(height=1).SerializeToString()),
        ):
            rude.call(path, request)

        def begun():
            rude.hear()
            return len(rude.headers) == 3

        until(begun)
        assert chain.stop(LAST) == []  # none that had to be killed
    chain.start(LAST)
    chain.in_step()


# ---- harm -------------------------------------------------------------------------------------------------


def test_the_chain_goes_on_without_one_validator_which_then_catches_up_and_votes(chain):
    chain.kill(LAST)
    outcomes = [chain.submit(member=member) for member in MEMBERS[:3]]
    assert all(outcome.final for outcome in outcomes)
    chain.start(LAST)
    height = chain.in_step()
    assert height >= outcomes[-1].height
    block = BlockAtRequest(height=outcomes[-1].height)
    assert chain.stub(LAST).GetBlock(block).block == chain.stub(FIRST).GetBlock(block).block
    assert chain.status(LAST).index == MEMBERS.index(LAST)
    chain.kill(FIRST)  # now the one that came back is needed for a quorum
    assert chain.submit(member=LAST).final


def test_nothing_acknowledged_is_lost_when_all_are_killed_at_once(chain):
    outcomes = [chain.submit(member=member) for member in MEMBERS]
    assert all(outcome.final for outcome in outcomes)
    for member in MEMBERS:
        os.kill(chain.process(member).pid, signal.SIGKILL)
    for member in MEMBERS:
        until(lambda member=member: chain.process(member) is None)
    chain.start()
    chain.in_step()
    for outcome in outcomes:
        assert has_transaction(chain, MEMBERS[1], outcome.transaction).height == outcome.height
    assert chain.submit().final


def test_without_a_quorum_a_node_says_so_and_takes_nothing_until_there_is_one_again(chain):
    def health():
        request = health_pb2.HealthCheckRequest(service="chiptrace.v1.Chain")
        with chain.channel(FIRST) as channel:
            return health_pb2_grpc.HealthStub(channel).Check(request, timeout=20).status

    serving = health_pb2.HealthCheckResponse.SERVING
    assert until(lambda: health() == serving)
    for member in MEMBERS[2:]:
        chain.kill(member)
    until(lambda: health() == health_pb2.HealthCheckResponse.NOT_SERVING)
    assert chain.submit().reason == Reason.NOT_SYNCED
    assert chain.stub().GetBlock(BlockAtRequest(height=1)).block  # what is decided can still be asked for
    chain.start()
    chain.in_step()
    until(lambda: health() == serving)
    assert chain.submit().final


def test_a_validator_that_stood_still_for_a_while_is_no_obstacle(chain):
    with paused(chain.process(MEMBERS[1])):
        assert chain.submit().final
    chain.in_step()
    assert chain.submit(member=MEMBERS[1]).final


def test_sigterm_ends_a_node_cleanly_and_soon(chain):
    name = f"{CHAIN}-{LAST}"
    height = chain.submit().height
    assert chain.stop(LAST) == []  # none had to be forced
    assert json.loads(chain.log(LAST).splitlines()[-1])["message"] == "stopped"
    config = str(chain.network.config_file(name))
    node = subprocess.Popen([sys.executable, "-m", "node.cli", "node", "run", "--config", config])
    try:
        until(lambda: (chain.status(LAST) or chain.status()).height >= height and chain.status(LAST))
    finally:
        node.terminate()
        assert node.wait(10) == 0


def test_a_node_whose_data_was_deleted_follows_first_and_votes_once_it_has_caught_up(chain):
    height = chain.submit().height
    chain.stop(LAST)
    shutil.rmtree(chain.place(LAST) / "data")
    chain.start(LAST)
    assert chain.in_step() >= height
    until(lambda: chain.status(LAST).index == MEMBERS.index(LAST))
    assert "behind the signing record" in chain.log(LAST)


def hostile_messages(chain, count=400):
    """What a validator gone mad may say: every kind of message, its fields filled from a small pot of values."""
    random = Random(7)
    head = chain.stub().GetBlock(BlockAtRequest(height=chain.status().height))
    height = head.certificate.height
    block_bytes = [
        b"",
        b"\0" * 32,
        head.block,
        head.block[:-1],
        head.certificate.block_hash,
        os.urandom(3_000),
    ]
    numbers = [0, 1, 2, 3, height - 1, height, height + 1, height + 2, height + 1_000, 2**32 - 1, 2**64 - 1]

    def fill(message, depth=0):
        for field in message.DESCRIPTOR.fields:
            if random.random() < 0.2 or depth > 3:
                continue
            times = random.choice([0, 1, 2, 5]) if field.is_repeated else 1
            for _ in range(times):
                if field.message_type is not None:
                    part = getattr(message, field.name)
                    fill(part.add() if field.is_repeated else part, depth + 1)
                    continue
                if field.enum_type is not None:
                    value = random.randrange(5)
                elif field.type == field.TYPE_BYTES:
                    value = random.choice(block_bytes)
                else:
                    value = random.choice(numbers) % (2**32 if field.type == field.TYPE_UINT32 else 2**64)
                if field.is_repeated:
                    getattr(message, field.name).append(value)
                else:
                    setattr(message, field.name, value)
        return message

    kinds = PeerMessage.DESCRIPTOR.oneofs_by_name["kind"].fields
    for _ in range(count):
        message = PeerMessage()
        part = getattr(message, random.choice(kinds).name)
        part.SetInParent()
        if random.random() < 0.3:
            for field in part.DESCRIPTOR.fields:
                if field.message_type is Certificate.DESCRIPTOR and not field.is_repeated:
                    getattr(part, field.name).CopyFrom(head.certificate)
        fill(part)
        yield message


def test_a_validator_that_says_anything_at_all_does_not_hurt(chain):
    chain.stop(LAST)
    before = {member: chain.process(member) for member in MEMBERS[:3]}
    with line_of(chain, LAST) as exchange:
        said = [say_once(exchange, message) for message in hostile_messages(chain)]
    assert said.count(grpc.StatusCode.INVALID_ARGUMENT) > 50  # of no shape that a validator sends
    assert said.count(grpc.StatusCode.OK) > 50
    assert chain.submit().final
    chain.start(LAST)
    chain.in_step()
    assert {member: chain.process(member) for member in MEMBERS[:3]} == before


def say_once(exchange, message):
    """One message over a stream of its own, sent again while the sender is kept away; how the stream ended."""

    def end():
        call = exchange(iter([PeerFrame(message=codec.encode(message))]))
        try:
            list(call)
        except grpc.RpcError as error:
            return None if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED else error.code()
        return call.code()

    return until(end)


@contextlib.contextmanager
def line_of(chain, member):
    """A function that opens a stream to the first validator in the name of another one."""
    place = chain.place(member)
    node = next(node for node in chain.network.nodes if node.name == f"{CHAIN}-{FIRST}")
    files = (chain.chain.ca, place / "node-key.pem", place / "node.pem")
    hello = (("chiptrace-chain", chain.chain.chain_id.hex()), ("chiptrace-state-version", "1"))
    credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
    with grpc.secure_channel(node.validators, credentials) as channel:
        stub = PeerStub(channel)
        yield lambda frames: stub.Exchange(frames, metadata=hello)


@contextlib.contextmanager
def speaking_as(chain, member):
    """A line to the first validator in the name of another one; a function that sends a message over it."""
    frames = queue.SimpleQueue()
    with line_of(chain, member) as exchange:
        call = exchange(iter(frames.get, None))
        try:
            yield lambda message: frames.put(PeerFrame(message=codec.encode(message)))
        finally:
            until(frames.empty)
            frames.put(None)
            call.cancel()


def test_two_votes_that_exclude_each_other_are_brought_before_the_chain(chain):
    """The last validator turns: its key signs for two blocks of one view, towards a single other validator."""
    chain.stop(LAST)
    index = MEMBERS.index(LAST)
    seed = keys.read_seed(chain.place(LAST) / "keys" / "validator.key")

    def vote(number):
        height = chain.status().height + 1
        said = Vote(kind=NOTARIZE, height=height, view=1, block_hash=bytes([number]) * 32, signer=index)
        said.signature = hashes.sign_raw(seed, signed_vote(chain.chain.chain_id, said))
        return PeerMessage(vote=said)

    def member_history():
        items = chain.stub().GetHistory(HistoryRequest(subject=state.member_key(LAST))).items
        return [Entry.FromString(item.entry).kind for item in items]

    assert EntryKind.EVIDENCE not in member_history()
    with speaking_as(chain, LAST) as say:

        def accused():
            say(vote(1))
            say(vote(2))
            return until(lambda: EntryKind.EVIDENCE in member_history(), 1.5, default=False)

        until(accused)
    # Whoever believes the chain id alone finds it, judged from its two votes.
    connection = Connection(chain.chain, chain.identity)
    try:
        found = until(lambda: faults.recorded(VerifiedChain(chain.chain, connection, now_ms)))
    finally:
        connection.close()
    assert {(fault.member, fault.kind) for fault in found} == {(LAST, "notarize twice")}


def test_a_key_without_its_signing_record_never_votes_again(chain):
    chain.stop(LAST)
    record = chain.place(LAST) / "keys" / "signing-record"
    kept = record.read_bytes()
    record.unlink()
    try:
        chain.start(LAST)
        chain.in_step()
        assert chain.status(LAST).index == -1
        assert "must not vote any more" in chain.log(LAST)
        assert chain.submit(member=LAST).final  # it still serves
        assert not record.exists()
    finally:
        chain.stop(LAST)
        record.write_bytes(kept)


def test_a_node_whose_disk_takes_no_more_stops_at_once_and_loses_nothing(chain):
    outcome = chain.submit()
    process = chain.process(LAST)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, 1))
    chain.submit()
    until(lambda: chain.process(LAST) is None)
    # Its log, too, could not be written any more: nothing was said, and nothing was done after.
    chain.start(LAST)
    chain.in_step()
    assert has_transaction(chain, LAST, outcome.transaction).height == outcome.height


def test_a_second_node_with_the_same_key_says_so_and_does_not_start(chain):
    config = str(chain.network.config_file(f"{CHAIN}-{LAST}"))
    command = [sys.executable, "-m", "node.cli", "node", "run", "--config", config]
    ended = subprocess.run(command, capture_output=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert b"another process votes with the key" in ended.stderr
