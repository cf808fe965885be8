"""The effects of one step, put in the order that makes them safe: durable first, then sent."""

from consensus.effects import Effect, Persist, Send, SetTimer
from proto.chiptrace.v1.consensus_pb2 import (
    Certificate,
    JournalRecord,
    PeerMessage,
    Proposal,
    Vote,
)


class Outbox:
    """Collects what a step wants done. `take` merges all records into one Persist: one fsync per step (rule 6)."""

    def __init__(self) -> None:
        self._questions: list[Effect] = []
        self._records: list[JournalRecord] = []
        self._sends: list[Send] = []
        self._results: list[Effect] = []
        self._timer: SetTimer | None = None

    def ask(self, question: Effect) -> None:
        """A question to the application; rests on nothing that must be durable, so it goes out first."""
        self._questions.append(question)

    def persist(self, record: JournalRecord) -> None:
        """A record for the journal, durable before anything of this step is sent."""
        self._records.append(record)

    def result(self, effect: Effect) -> None:
        """A decision or a fault; handed over after the step's messages."""
        self._results.append(effect)

    def send(self, to: bytes | None, message: PeerMessage) -> None:
        """A message to one validator, or to all others."""
        self._sends.append(Send(to, message))

    def send_vote(self, vote: Vote) -> None:
        """An own vote, to all."""
        self.send(None, PeerMessage(vote=vote))

    def send_certificate(self, certificate: Certificate, teller: bytes | None = None) -> None:
        """A certificate, to all but the one it came from."""
        self._sends.append(Send(None, PeerMessage(certificate=certificate), besides=teller))

    def send_proposal(self, proposal: Proposal) -> None:
        """An own proposal, to all."""
        self.send(None, PeerMessage(proposal=proposal))

    def set_timer(self, at_ms: int) -> None:
        """The next moment to be woken."""
        self._timer = SetTimer(at_ms)

    def take(self) -> tuple[Effect, ...]:
        """The effects in order; the outbox is empty afterwards."""
        effects: list[Effect] = list(self._questions)
        if self._records:
            effects.append(Persist(tuple(self._records)))
        # From here on every record of this step is durable.
        effects.extend(self._sends)
        effects.extend(self._results)
        if self._timer is not None:
            effects.append(self._timer)
        self._questions, self._records, self._sends, self._results = [], [], [], []
        self._timer = None
        return tuple(effects)
