"""What must be durable of an open height, and what a restart reads out of it.

The journal is a sequence of records. A `height` record opens a height; it is written together with the height's
first record of another kind, so that an idle height costs no write. What stands before it belongs to heights that
the store holds for good, and may be dropped.

Recorded are: every own vote; every notarization and nullification held (a vote may rest on any of them); every
block notarized, with its body; own proposals. A body is written once, and the proof of a proposal certificate by
certificate, so that what a view adds does not grow with the views before it. Votes of others are not recorded: they
are sent again. Nor is a finalization: the finalize votes it is made of are in their signers' journals, and the store
keeps it with the block.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ledger.errors import InvariantBroken
from proto.chiptrace.v1.consensus_pb2 import Certificate, JournalRecord, Proposal, Vote


@dataclass(frozen=True, slots=True)
class Replay:
    """The records of the open height by kind, each in the order of writing."""

    begun: bool  # the height has a record at all
    votes: tuple[Vote, ...]
    certificates: tuple[Certificate, ...]
    proposals: tuple[Proposal, ...]


def of_height(height: int) -> JournalRecord:
    """Opens a height."""
    return JournalRecord(height=height)


def of_vote(vote: Vote) -> JournalRecord:
    """An own vote."""
    return JournalRecord(vote=vote)


def of_certificate(certificate: Certificate) -> JournalRecord:
    """A verified notarization or nullification."""
    return JournalRecord(certificate=certificate)


def of_proposal(proposal: Proposal) -> JournalRecord:
    """What an own proposal or one that was voted for says itself: leader's vote, views, and the body if it is new."""
    return JournalRecord(proposal=proposal)


def replay(records: Iterable[JournalRecord], open_height: int) -> Replay:
    """The records that belong to `open_height`, the successor of the last height in the store.

    Raises InvariantBroken when the journal is ahead of the store, which then has lost a decided height.
    """
    votes: list[Vote] = []
    certificates: list[Certificate] = []
    proposals: list[Proposal] = []
    begun = False
    height = 0
    for record in records:
        kind = record.WhichOneof("kind")
        if kind == "height":
            height = record.height
            begun = begun or height == open_height
        if height > open_height:
            raise InvariantBroken(
                f"the journal is at height {height} but the store ends at {open_height - 1}: the store has lost "
                "what was durable; this node must not vote with this key any more"
            )
        if height != open_height:
            continue
        if kind == "vote":
            votes.append(record.vote)
        elif kind == "certificate":
            certificates.append(record.certificate)
        elif kind == "proposal":
            proposals.append(record.proposal)
    return Replay(begun, tuple(votes), tuple(certificates), tuple(proposals))
