"""What nodes tell of recoveries: one that the asker accepted goes before any that a node made up, and no tale is endless."""

from client import cli_recover
from ledger import codec
from ledger.block import decode_header, recovery_mark
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.node_pb2 import HeadersReply
from tests.bridge.recovered import recover
from tests.client.direct import DirectConnection, DirectStub
from tests.client.test_recovery_check import chain_of
from tests.ledger.recovered import approved, document_for


class Tells(DirectStub):
    """A header with a recovery that was never applied, above all that there is."""

    def GetHeaders(self, request):
        chain = self.chain
        data = approved(chain, document_for(chain, salt="mine", height=self.at), [])
        header = decode_header(chain.header(chain.height).header)
        header.height, header.recovery = self.at + 1, recovery_mark(chain.chain_id, data)
        return HeadersReply(headers=[SignedHeader(header=codec.encode(header), recovery=data)])


class HasNoEnd(DirectStub):
    asked = 0

    def GetHeaders(self, request):
        self.asked += 1
        header = decode_header(self.chain.header(self.chain.height).header)
        header.height = request.from_height + 1
        return HeadersReply(headers=[SignedHeader(header=codec.encode(header))], more=True)


def chosen(*stubs, height=-1, accepted=()):
    chain = stubs[0].chain
    nodes = [DirectConnection(stub) for stub in stubs]
    return cli_recover._chosen(nodes, chain.chain_id, chain.name, height, accepted)


def test_what_was_accepted_is_looked_for_first():
    chain = chain_of()
    opened = recover(chain)
    for at in (opened.height, opened.height + 100):
        liar = Tells(chain)
        liar.at = at
        assert chosen(DirectStub(chain), liar).hash != opened.hash
        for height in (-1, opened.height):
            assert chosen(DirectStub(chain), liar, height=height, accepted=[opened.hash]).hash == opened.hash
        assert chosen(DirectStub(chain), liar, height=at).height == at


def test_a_node_that_tells_without_end_is_left(monkeypatch):
    monkeypatch.setattr(cli_recover, "PAGES_MAX", 5)
    chain = chain_of()
    opened = recover(chain)
    endless = HasNoEnd(chain)
    assert chosen(endless, DirectStub(chain)).hash == opened.hash
    assert endless.asked == 5
