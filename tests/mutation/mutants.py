"""The guards of the engine, each with the edit that removes it.

An edit replaces text that occurs exactly once in its file, so the list cannot rot unseen: tests/mutation checks it,
and a guard that is rewritten must be listed anew. Run by scripts/mutate.py.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One guard removed."""

    name: str
    file: str  # in consensus/
    old: str
    new: str
    guards: str  # what the removed guard prevents


SAFETY = [
    Mutant(
        "notarize twice",
        "safety",
        "        return view not in self._notarized and view not in self._nullified",
        "        return view not in self._nullified",
        "rule (a): one notarize in a view",
    ),
    Mutant(
        "nullify after finalize",
        "safety",
        "        if view in self._nullified or view in self._finalized:\n"
        "            return None\n"
        "        self._nullified.add(view)",
        "        if view in self._nullified:\n            return None\n        self._nullified.add(view)",
        "rule (b): never both nullify and finalize",
    ),
    Mutant(
        "finalize after nullify",
        "safety",
        "        if view in self._nullified or view in self._finalized:\n"
        "            return None\n"
        "        kept = held.notarization(view)",
        "        if view in self._finalized:\n            return None\n        kept = held.notarization(view)",
        "rule (b), the other way round",
    ),
    Mutant(
        "gaps not checked",
        "safety",
        "    return held.all_nullified(after=from_view, before=view)",
        "    return True",
        "rule (c): every view skipped is shown to be nullified",
    ),
    Mutant(
        "last gap not checked",
        "safety",
        "    return held.all_nullified(after=from_view, before=view)",
        "    return held.all_nullified(after=from_view, before=view - 1)",
        "rule (c): also the view just before",
    ),
    Mutant(
        "only the last gap checked",
        "safety",
        "    return held.all_nullified(after=from_view, before=view)",
        "    return held.all_nullified(after=max(from_view, view - 2), before=view)",
        "rule (c): also the views before the last",
    ),
    Mutant(
        "proposed again without its notarization",
        "safety",
        "    if from_view > 0:\n        notarization",
        "    if from_view < 0:\n        notarization",
        "rule (c): a block proposed again was notarized",
    ),
    Mutant(
        "proposed again on the notarization of another block",
        "safety",
        "        if notarization is None or notarization.block_hash != block_hash:",
        "        if notarization is None:",
        "rule (c): it is that block which was notarized",
    ),
    Mutant(
        "finalize without holding the notarization",
        "safety",
        "        if kept is None or kept.block_hash != notarization.block_hash:\n"
        "            return None\n"
        "        self._finalized[view] = kept.block_hash",
        "        kept = notarization\n        self._finalized[view] = kept.block_hash",
        "rule (d)",
    ),
    Mutant(
        "a journal of lawless votes is accepted",
        "safety",
        "        if not lawful or vote.height != self._height or vote.signer != self._signer:",
        "        if vote.height != self._height or vote.signer != self._signer:",
        "a key that has signed elsewhere does not go on",
    ),
]

DURABLE = [
    Mutant(
        "own votes not durable",
        "voter",
        "        self._keep(journal.of_vote(vote))\n",
        "",
        "rule 6: a vote is in the journal before it leaves",
    ),
    Mutant(
        "certificates not durable",
        "voter",
        "        self._keep(journal.of_certificate(certificate))\n",
        "",
        "rule 6: what a vote rests on is in the journal",
    ),
    Mutant(
        "voted body not durable",
        "voter",
        "            self._keep(journal.of_proposal(kept))\n",
        "",
        "rule 6: who notarized can serve the block",
    ),
    Mutant(
        "own proposal not durable",
        "voter",
        "        self._keep(journal.of_proposal(self._kept(vote, from_view, body)))\n",
        "",
        "rule 6: a leader proposes the very same after a restart",
    ),
    Mutant(
        "sent before durable",
        "outbox",
        "        if self._records:\n"
        "            effects.append(Persist(tuple(self._records)))\n"
        "        # From here on every record of this step is durable.\n"
        "        effects.extend(self._sends)\n",
        "        effects.extend(self._sends)\n"
        "        if self._records:\n"
        "            effects.append(Persist(tuple(self._records)))\n",
        "rule 6: persist precedes send",
    ),
    Mutant(
        "the journal does not say where a height begins",
        "voter",
        "            self._out.persist(journal.of_height(self.opening.height))\n",
        "",
        "records belong to a height",
    ),
    Mutant(
        "records of earlier heights taken for this one's",
        "journal",
        "        if height != open_height:\n            continue\n",
        "",
        "a restart reads the open height only",
    ),
    Mutant(
        "journal ahead of the store accepted",
        "journal",
        "        if height > open_height:",
        "        if height > open_height + 1_000_000:",
        "a store set back does not vote anew where it has voted",
    ),
    Mutant(
        "restored votes forgotten",
        "voter",
        "        self._safety.restore(vote)\n",
        "",
        "what was signed before a restart binds after it",
    ),
    Mutant(
        "restored votes not counted",
        "voter",
        "            self.own_votes.append(vote)\n            self.tally.add(vote)\n",
        "            self.own_votes.append(vote)\n",
        "all restart after voting: one vote short for ever",
    ),
    Mutant(
        "votes of another key accepted",
        "voter",
        "        if self._safety is None or key is None or not self.identity.verify(key, signed, vote.signature):",
        "        if self._safety is None or key is None:",
        "a journal belongs to one key",
    ),
    Mutant(
        "a proposal never sent counts as sent",
        "voter",
        "            if proposal.vote.signature in cast:\n",
        "            if proposal:\n",
        "a torn write: the proposal is there, its vote is not",
    ),
    Mutant(
        "certificates not restored",
        "voter",
        "        for certificate in replay.certificates:\n            self.held.add(certificate)\n",
        "",
        "the view after a restart is the one it had come to",
    ),
    Mutant(
        "no timers after a restart",
        "voter",
        "        self.schedule.start(now_ms)\n        if certificates:\n"
        "            self.schedule.enter(max(certificate.view for certificate in certificates) + 1, now_ms, 0)\n",
        "        if certificates:\n"
        "            self.schedule.view = max(certificate.view for certificate in certificates) + 1\n",
        "a restart arms the timer of the view",
    ),
    Mutant(
        "no finalize for what was cut off",
        "voter",
        "        for notarization in self.held.notarizations():\n"
        "            if self.decision is None:\n"
        "                self._finalize(notarization, now_ms)\n",
        "",
        "the crash came between a notarization and the vote that follows it",
    ),
    Mutant(
        "own quorum not seen after a restart",
        "voter",
        "            certificate = self.tally.quorum_for(vote)\n"
        "            if certificate is not None:\n"
        "                self.hold(certificate, now_ms)\n",
        "            self.tally.quorum_for(vote)\n",
        "one validator alone goes on after a restart",
    ),
]

BELIEVED = [
    Mutant(
        "votes told by others",
        "height",
        "        if vote.signer >= len(self._members) or self._members[vote.signer].key != sender:",
        "        if vote.signer >= len(self._members):",
        "sender = signer",
    ),
    Mutant(
        "vote signatures not checked",
        "height",
        "        if not self._identity.verify(sender, signed_vote(self._identity.chain_id, vote), vote.signature):\n"
        "            return False\n",
        "",
        "a vote is signed",
    ),
    Mutant(
        "votes of any view kept",
        "height",
        "        if vote.view > self.voter.view + self._identity.settings.views_ahead_max:\n"
        "            return False\n",
        "",
        "what is kept is bounded",
    ),
    Mutant(
        "a known vote checked again",
        "height",
        "        if standing is Standing.KNOWN:\n            return True\n",
        "",
        "deduplication comes before signatures",
    ),
    Mutant(
        "faults not reported",
        "height",
        "            self._out.result(ReportFault(self.height, self._members[vote.signer].key, earlier, vote))\n",
        "",
        "rule 9",
    ),
    Mutant(
        "certificates not verified",
        "height",
        "            certificates.verify_certificate(\n"
        "                self._identity.chain_id, validators, certificate, self._identity.verify\n"
        "            )\n",
        "            del validators\n",
        "a certificate is a quorum's",
    ),
    Mutant(
        "certificates no witness",
        "height",
        "        self._witness(certificate)\n",
        "",
        "a fault seen only through a certificate is told",
    ),
    Mutant(
        "own votes from certificates",
        "height",
        "            if self._members[vote.signer].key == self._identity.own_key:\n                continue\n",
        "",
        "our own votes are ours to count",
    ),
    Mutant(
        "proposals of anyone",
        "height",
        "        if leader(self.voter.opening.validators, self.height, proposal.view) != sender:\n"
        "            return\n",
        "",
        "only the leader of a view proposes in it",
    ),
    Mutant(
        "a proposal outlives a false certificate in it",
        "height",
        "            if not self.receive_certificate(certificate, now_ms, teller=sender):\n                return\n",
        "            self.receive_certificate(certificate, now_ms, teller=sender)\n",
        "who proves falsely is not listened to further",
    ),
    Mutant(
        "a proposal's vote not counted",
        "height",
        "        if not self.receive_vote(sender, proposal.vote, now_ms):\n            return\n",
        "",
        "a proposal is its leader's notarize",
    ),
    Mutant(
        "parent not compared",
        "height",
        "        if not proposals.stands_on(proposal, self.voter.opening.parent_finalization):\n            return\n",
        "",
        "a proposal shows the finalization of its parent",
    ),
    Mutant(
        "header's hash not compared",
        "height",
        "                identified.block_hash == block_hash\n                and header.height == self.height\n",
        "                header.height == self.height\n",
        "the vote is for the block that is shown",
    ),
    Mutant(
        "header's height not compared",
        "height",
        "                and header.height == self.height\n                and header.parent_hash",
        "                and header.parent_hash",
        "the block is of the open height",
    ),
    Mutant(
        "header's parent not compared",
        "height",
        "                and header.parent_hash == self.voter.opening.parent_hash\n",
        "",
        "the block stands on the decided one",
    ),
    Mutant(
        "bodies not checked against their hash",
        "height",
        "            header = bodies.check_body(self._identity.chain_id, body, block_hash)\n",
        "            header = bodies.identify(self._identity.chain_id, body).header\n",
        "a fetched body is the one that a quorum notarized",
    ),
    Mutant(
        "transactions not checked against their root",
        "bodies",
        "    if transactions_root(chain_id, carried) != header.transactions_root:",
        "    if len(carried) < 0:",
        "also its transactions and their signatures are",
    ),
    Mutant(
        "a recovery that the header does not name",
        "bodies",
        "    if recovery_mark(chain_id, block.recovery) != header.recovery:",
        "    if block is None:",
        "also a block's recovery is what its header commits to",
    ),
    Mutant(
        "verdicts nobody asked for",
        "height",
        "        body = self._judging.pop(block_hash, None)\n"
        "        if body is None or self.decision is not None:\n"
        "            return\n",
        "        body = self._judging.pop(block_hash, b'')\n",
        "a verdict changes nothing after the decision",
    ),
    Mutant(
        "blocks voted for unjudged",
        "voter",
        "        if proposal.from_view == 0 and not self.bodies.judged(block_hash):\n            return\n",
        "",
        "a new block goes to the application first",
    ),
    Mutant(
        "bodies of proposals unjudged",
        "height",
        "        elif not self.voter.bodies.judged(block_hash) and block_hash not in self._judging:\n",
        "        elif self.voter.bodies.put(block_hash, proposal.block, judged=True):\n",
        "a new block goes to the application first",
    ),
    Mutant(
        "messages of any shape",
        "engine",
        "            check_shape(message)\n",
        "            message.WhichOneof('kind')\n",
        "shape before anything else",
    ),
]

COUNTED = [
    Mutant(
        "quorum of 2f + 1",
        "quorum",
        "    return 2 * validators // 3 + 1",
        "    return 2 * ((validators - 1) // 3) + 1",
        "two quorums share an honest validator, for every n",
    ),
    Mutant(
        "quorum of one vote less",
        "quorum",
        "    return 2 * validators // 3 + 1",
        "    return max(1, 2 * validators // 3)",
        "two quorums share an honest validator",
    ),
    Mutant(
        "a certificate of fewer votes verifies",
        "certificate",
        "    if len(indexes) < quorum(n):",
        "    if len(indexes) < quorum(n) - 1:",
        "a certificate is a quorum's",
    ),
    Mutant(
        "a certificate's signatures not checked",
        "certificate",
        "        if len(signature) != SIGNATURE_BYTES or not verify(key, signed, signature):",
        "        if len(signature) != SIGNATURE_BYTES:",
        "each signature is its signer's",
    ),
    Mutant(
        "bits beyond the set count",
        "certificate",
        "    if indexes and indexes[-1] >= validators:",
        "    if indexes and indexes[-1] >= 8 * len(data):",
        "only members of the set sign",
    ),
    Mutant(
        "bitmaps of another set's length",
        "certificate",
        "    if len(data) != (validators + 7) // 8:",
        "    if len(data) < (validators + 7) // 8:",
        "a certificate has one form",
    ),
    Mutant(
        "fewer signatures than signers",
        "certificate",
        "    if len(certificate.signatures) != len(indexes):\n"
        '        raise _bad(certificate, f"{len(certificate.signatures)} signatures stand for {len(indexes)} signers")\n',
        "    indexes = indexes[: len(certificate.signatures)]\n",
        "every signer named has signed",
    ),
    Mutant(
        "a second vote replaces the first",
        "tally",
        "        if vote.signer in slot:\n            return None\n",
        "",
        "an equivocator has one vote",
    ),
    Mutant(
        "votes for other blocks count",
        "tally",
        "for signer, held in slot.items() if held.block_hash == vote.block_hash}",
        "for signer, held in slot.items()}",
        "a quorum is for one block",
    ),
    Mutant(
        "conflicts between kinds not seen",
        "tally",
        "    return {first.kind, second.kind} == {VoteKind.NULLIFY, VoteKind.FINALIZE}",
        "    return False",
        "rule 9: nullify and finalize of one view is a fault",
    ),
    Mutant(
        "notarize and nullify a fault",
        "tally",
        "    return {first.kind, second.kind} == {VoteKind.NULLIFY, VoteKind.FINALIZE}",
        "    return first.kind != second.kind and VoteKind.NULLIFY in {first.kind, second.kind}",
        "rule 4: giving up a view one voted in is no fault",
    ),
    Mutant(
        "a later certificate replaces the first",
        "tally",
        "        if self.has(certificate):\n            return\n",
        "",
        "what a vote rests on stays",
    ),
]

VIEWS = [
    Mutant(
        "a certificate acted on again",
        "voter",
        "        if self.decision is not None or self.held.has(certificate):\n            return\n",
        "        if self.decision is not None:\n            return\n",
        "rebroadcast once",
    ),
    Mutant(
        "earlier views entered again",
        "voter",
        "        if certificate.view >= self.view:\n            self._enter",
        "        if certificate.view:\n            self._enter",
        "views only rise",
    ),
    Mutant(
        "certificates never sent on",
        "voter",
        "        self._out.send_certificate(certificate, teller)\n        if certificate.kind == VoteKind.NOTARIZE:",
        "        if certificate.kind == VoteKind.NOTARIZE:",
        "rule 7: each is sent on once",
    ),
    Mutant(
        "certificates go back to who sent them",
        "outbox",
        "PeerMessage(certificate=certificate), besides=teller))",
        "PeerMessage(certificate=certificate)))",
        "no echo",
    ),
    Mutant(
        "a proposal is not sent again",
        "repair",
        "    return [(key, message) for key in lacking]",
        "    return []",
        "rule 7: one lost proposal does not cost the view",
    ),
    Mutant(
        "no finalize on a notarization",
        "voter",
        "        if certificate.kind == VoteKind.NOTARIZE:\n            self._finalize(certificate, now_ms)\n",
        "",
        "rule 3",
    ),
    Mutant(
        "no proposal when a proof completes late",
        "voter",
        "        else:\n            self.propose(now_ms)  # what was missing of the proof may be complete now\n",
        "",
        "rule 1: missing is not invalid, for the leader either",
    ),
    Mutant(
        "a block built for another view",
        "voter",
        "        if view != self.view or not self.may_propose():\n            return\n",
        "",
        "what comes late is dropped",
    ),
    Mutant(
        "a block nobody asked for",
        "voter",
        "        if view != self.building:\n            return\n",
        "",
        "what comes twice is dropped",
    ),
    Mutant(
        "a new block although one is notarized",
        "voter",
        "        notarization = self.held.highest_notarization()\n        if notarization is None:\n            self.ask_block()",
        "        notarization = self.held.highest_notarization()\n"
        "        if notarization is None or self.held.all_nullified(after=0, before=self.view):\n            self.ask_block()",
        "rule 1: the block of the highest notarization goes first",
    ),
    Mutant(
        "a gap in the proof does not keep a leader from building",
        "voter",
        "        if self.building != self.view and self.held.all_nullified(after=0, before=self.view):",
        "        if self.building != self.view:",
        "a proposal without its proof is of no use",
    ),
    Mutant(
        "empty blocks although nobody waits",
        "voter",
        "        if not wanted and self.schedule.started_ms is None:\n            return\n",
        "",
        "rule 8",
    ),
    Mutant(
        "a block that cannot be built is not asked for again",
        "voter",
        "            self.start(now_ms)  # what could not be built now is asked for again, or the view times out\n",
        "",
        "the clock runs though the leader has nothing to show",
    ),
    Mutant(
        "the view never times out",
        "voter",
        "            self.schedule.timed_out = True\n            self.nullify(now_ms)\n",
        "            self.schedule.timed_out = True\n",
        "rule 4",
    ),
    Mutant(
        "a refused block costs the timeout",
        "height",
        "            self.voter.nullify(now_ms)\n",
        "            self.voter.start(now_ms)\n",
        "rule 4: a refused block costs the view at once",
    ),
    Mutant(
        "a refusal that came late nullifies",
        "height",
        "        if waiting is not None and waiting.from_view == 0 and waiting.vote.block_hash == block_hash:",
        "        if block_hash:",
        "a rejection of what was replaced since is dropped",
    ),
    Mutant(
        "the clock is not started by votes",
        "height",
        "        self.voter.start(now_ms)\n        self.voter.count(vote, now_ms)",
        "        self.voter.count(vote, now_ms)",
        "rule 8: any valid vote starts the height's clock",
    ),
    Mutant(
        "waiting transactions wake nobody",
        "height",
        "        else:\n            self.voter.start(now_ms)\n\n    # ---- what is wanted of others",
        "\n    # ---- what is wanted of others",
        "rule 8: a transaction wakes a chain whose leader is dead",
    ),
    Mutant(
        "timeouts do not grow",
        "schedule",
        "    grown: int = settings.base_timeout_ms * 3**exponent // 2**exponent\n",
        "    grown: int = settings.base_timeout_ms * 1**exponent\n",
        "rule 7: a network slower than the base still decides",
    ),
    Mutant(
        "timeouts grow without end",
        "schedule",
        "    return max(1, min(settings.base_timeout_ms * settings.timeout_factor_max, grown))",
        "    return max(1, grown)",
        "rule 7: eight times the base at most",
    ),
    Mutant(
        "a grace as long as it likes",
        "schedule",
        "    return min(settings.grace_ms, view_timeout_ms(settings, view) // 2)",
        "    return 50 * settings.grace_ms",
        "rule 3: the grace is shorter than the view",
    ),
    Mutant(
        "the timer of an entered view runs from the start of the height",
        "schedule",
        "        since = self.started_ms if self.view == VIEW_FIRST else self.entered_ms",
        "        since = self.started_ms",
        "a new view has its whole time",
    ),
    Mutant(
        "nothing is sent again",
        "engine",
        "        if self._open.decision is None and self._open.voter.schedule.resend_due(now_ms):\n"
        "            self._resend(now_ms)\n",
        "        if self._open.decision is None and self._open.voter.schedule.resend_due(now_ms):\n"
        "            self._open.voter.schedule.progress_ms = now_ms\n",
        "rule 7: standing still resends",
    ),
    Mutant(
        "always the same part is sent again",
        "repair",
        "        start = self._next if self._next < len(parts) else 0",
        "        start = 0",
        "rule 7: the budget goes round the backlog",
    ),
    Mutant(
        "the tip is not sent again",
        "repair",
        "        parts.append(Tip(finalization=tip))\n",
        "        tip.ByteSize()\n",
        "rule 7: who is one height behind hears of it",
    ),
    Mutant(
        "own votes are not sent again",
        "repair",
        "    parts.extend(vote for vote in voter.own_votes if vote.view >= from_view)\n",
        "",
        "rule 7: a lost vote comes again",
    ),
    Mutant(
        "nullifications are not sent again",
        "repair",
        "    parts.extend(voter.held.nullifications(after=from_view))\n",
        "",
        "rule 7: who lacks one is brought to the view",
    ),
    Mutant(
        "silence counts although nobody is heard",
        "presence",
        "        if len(spoke) >= quorum(len(keys)):",
        "        if keys:",
        "the hint fails open",
    ),
    Mutant(
        "one may hold oneself dead",
        "presence",
        "        spoke = [key for key in keys if key in self._heard or key == self._own_key]",
        "        spoke = [key for key in keys if key in self._heard]",
        "the hint never names oneself",
    ),
    Mutant(
        "one long view is silence enough",
        "presence",
        "            counted = max(1, min(length_ms, -(-self._dead_ms // VIEWS_MIN)))",
        "            counted = max(1, length_ms)",
        "a network that heals brings one back before another",
    ),
    Mutant(
        "dead leaders are waited for",
        "voter",
        "        if self._presence.dead(self._leader()):",
        "        if not self._presence:",
        "rule 7: leaders known dead are skipped",
    ),
]

HEIGHTS = [
    Mutant(
        "a decision handed over twice",
        "engine",
        "        if self._deciding or decision is None:",
        "        if decision is None:",
        "each height is executed once",
    ),
    Mutant(
        "stragglers are not answered",
        "engine",
        "        if not knows or height < self._decided_height():\n            self._answers",
        "        if not knows and height < 0:\n            self._answers",
        "rule 5: a message for a decided height is answered",
    ),
    Mutant(
        "who shows an older tip is not answered",
        "engine",
        "        if height < self._decided_height():\n            self._answers",
        "        if height < 0:\n            self._answers",
        "rule 5, for one that says where it stands",
    ),
    Mutant(
        "answers without measure",
        "answers",
        "        if self._tips.allow(sender, now_ms):\n",
        "        if self._tips:\n",
        "one answer for each peer and interval",
    ),
    Mutant(
        "bodies for the asking, without measure",
        "answers",
        "        if found and not self._bodies.allow(sender + block_hash, now_ms):\n            return\n",
        "",
        "one answer for each peer, body and interval",
    ),
    Mutant(
        "bodies are not served",
        "answers",
        "BlockReply(blocks=found[:1], block_hash=block_hash)",
        "BlockReply(blocks=found[:0], block_hash=block_hash)",
        "who lacks a notarized block gets it",
    ),
    Mutant(
        "what comes early is lost",
        "engine",
        "            self._early.keep(sender, height, message)\n",
        "            message.ByteSize()\n",
        "one commit behind does not cost the fast path",
    ),
    Mutant(
        "early messages without bound",
        "early",
        "        if len(slots) >= _LIMITS[kind]:\n            slots.pop(next(iter(slots)))\n",
        "",
        "what is kept unverified is bounded",
    ),
    Mutant(
        "blocks built for another height",
        "engine",
        "            case BlockBuilt() if event.height == self.height:\n",
        "            case BlockBuilt():\n",
        "what comes late is dropped",
    ),
    Mutant(
        "the new set is not told to those who fetch",
        "engine",
        "        self._sync.opened(self.height, event.validators)\n",
        "",
        "rule 10: a claim is weighed by the set in force",
    ),
    Mutant(
        "a store without its finalization is accepted",
        "engine",
        "        if shown != (height, block_hash):",
        "        if shown[0] > height:",
        "the parent that proposals show is the last block of the store",
    ),
    Mutant(
        "another block executed than decided",
        "engine",
        "        if decision is None or event.height != self.height or event.block_hash != decision.block_hash:",
        "        if decision is None:",
        "nothing but what a quorum decided is built on",
    ),
]

FETCHED = [
    Mutant(
        "answers are never late",
        "catchup",
        "                run.late = True\n",
        "",
        "a silent peer costs one request",
    ),
    Mutant(
        "late answers cost nothing",
        "catchup",
        "                run.late = True\n                self._patience.failed(peer, now_ms)\n",
        "                run.late = True\n",
        "who is slow is asked last",
    ),
    Mutant(
        "answers are never given up",
        "catchup",
        "            run.given_up = now_ms >= self._patience.given_up_at_ms(",
        "            run.given_up = 0 > self._patience.given_up_at_ms(",
        "a peer whose line broke is asked again",
    ),
    Mutant(
        "a refuted answer costs nothing",
        "catchup",
        "        self._patience.failed(fetched.peer, now_ms)\n        for height in",
        "        for height in",
        "a liar rests",
    ),
    Mutant(
        "the rest of a refuted answer is believed",
        "catchup",
        "if other.peer == fetched.peer]:\n            self.take(height)\n",
        "if other.peer == fetched.peer]:\n            self._fetched.get(height)\n",
        "nothing else of a liar is used",
    ),
    Mutant(
        "answers nobody asked for",
        "catchup",
        "        if run is None or reply.from_height != run.first:",
        "        run = run or _Run(reply.from_height, reply.from_height + 64, now_ms)\n"
        "        self._runs.setdefault(peer, run)\n        if reply.from_height < run.first:",
        "only who was asked answers",
    ),
    Mutant(
        "an answer of other heights",
        "catchup",
        "        if not reply.blocks or told != list(heights):",
        "        if not reply.blocks:",
        "each block of an answer brings its own height's finalization",
    ),
    Mutant(
        "an empty answer costs nothing",
        "catchup",
        "        if not reply.blocks or told != list(heights):\n            self._patience.failed(peer, now_ms)\n",
        "        if not reply.blocks or told != list(heights):\n",
        "who answers with nothing rests",
    ),
    Mutant(
        "blocks ahead without bound",
        "catchup",
        "            room = self._fetched_bytes + len(block) <= FETCHED_BYTES_MAX or height == need.first_height\n",
        "            room = True\n",
        "what is kept unverified is bounded",
    ),
    Mutant(
        "requests ahead without bound",
        "catchup",
        "        if self._fetched_bytes + len(waited_for) * BLOCK_BYTES_MAX >= FETCHED_BYTES_MAX:\n"
        "            last = need.first_height  # the one that makes room\n",
        "",
        "what may come is bounded",
    ),
    Mutant(
        "two requests to one peer",
        "catchup",
        "        return (run is None or run.given_up) and now_ms >= self._patience.rests_until_ms(peer)",
        "        return (run is None or run.late) and now_ms >= self._patience.rests_until_ms(peer)",
        "each peer is in the way with one request at most",
    ),
    Mutant(
        "who failed is asked at once",
        "catchup",
        "        return (run is None or run.given_up) and now_ms >= self._patience.rests_until_ms(peer)",
        "        return run is None or run.given_up",
        "a liar rests",
    ),
    Mutant(
        "only those who have shown a height are asked",
        "catchup",
        "        return [peer for peer in dict.fromkeys([*showing, *need.validators]) if peer != self._own_key]",
        "        return showing",
        "they may all be gone",
    ),
    Mutant(
        "those who show heights are not bounded",
        "catchup",
        "        if peer != self._own_key and (peer in self._shown or len(self._shown) < PEERS_MAX):",
        "        if peer != self._own_key:",
        "what is kept of strangers is bounded",
    ),
    Mutant(
        "a fetched block is not verified",
        "sync",
        "            valid = height.body_arrived(height.decision.block_hash, fetched.block, now_ms)\n",
        "            height.voter.bodies.put(height.decision.block_hash, fetched.block)\n",
        "a fetched block hashes to what its finalization names",
    ),
    Mutant(
        "claims taken for proven",
        "boundaries",
        "        except Invalid:\n            return\n        self._target = claim.height\n",
        "        except Invalid:\n            pass\n        self._target = claim.height\n",
        "a claim is its sender's",
    ),
    Mutant(
        "boundaries are not walked",
        "boundaries",
        "        return [(peer, BoundaryRequest(from_height=self._validators.in_force_from))]",
        "        return []",
        "who was away over a change of the set comes back",
    ),
    Mutant(
        "a set that was to follow outlives a recovery",
        "boundaries",
        "        if self._steps.get(proven) != validators and begins >= min(self._steps):\n",
        "        if begins > self._validators.in_force_from:\n",
        "whose set is in force at the open height is followed, whatever headers led to",
    ),
    Mutant(
        "steps of a retired set stand against the blocks",
        "boundaries",
        "        proven = max((begun for begun in self._steps if begun <= height), default=begins)\n",
        "        proven = begins\n",
        "a set that headers lead to is dropped where another is in force",
    ),
    Mutant(
        "steps from below the open height",
        "boundaries",
        "                if header.height < max(self._validators.in_force_from, self._open_height):\n",
        "                if header.height < self._validators.in_force_from:\n",
        "what the blocks have passed is no boundary any more",
    ),
    Mutant(
        "where the blocks end is not known after a restart",
        "engine",
        "        self._sync.opened(self.height, validators)\n        self._replay",
        "        self._replay",
        "no step is taken from below the store's end",
    ),
    Mutant(
        "steps ahead without end",
        "boundaries",
        " or len(self._steps) > STEPS_AHEAD_MAX:\n",
        ":\n",
        "what a retired set can make others keep is bounded",
    ),
    Mutant(
        "a boundary header certified by nobody",
        "boundaries",
        "    verify_certificate(chain_id, validators, finalization, verify)\n",
        "",
        "each step is proven by the set before it",
    ),
    Mutant(
        "a boundary certificate for another header",
        "boundaries",
        "    if said != (VoteKind.FINALIZE, header.height, block_hash(chain_id, boundary.header)):",
        "    if said[:2] != (VoteKind.FINALIZE, header.height):",
        "each step is proven by the set before it",
    ),
    Mutant(
        "a boundary header of another set",
        "boundaries",
        "    if header.validators_hash != current or header.height < validators.in_force_from:",
        "    if header.height < validators.in_force_from:",
        "each step begins where the last one ended",
    ),
    Mutant(
        "another next set than the header names",
        "boundaries",
        "    if header.next_validators_hash != validators_hash(header.chain_id, following):",
        "    if not header.next_validators_hash:",
        "each step leads to the set that was decided",
    ),
    Mutant(
        "a next set that cannot be in force there",
        "boundaries",
        "    if following.in_force_from != header.height + 1 or not 1 <= len(following.validators) <= VALIDATORS_MAX:",
        "    if not 1 <= len(following.validators) <= VALIDATORS_MAX:",
        "a step leads to the height above it",
    ),
    Mutant(
        "the end of a chain certified by nobody",
        "boundaries",
        "        header = check_final(self._chain_id, self._validators, boundary, self._verify)\n        self._target",
        "        header = decode_header(boundary.header)\n        self._target",
        "also the last header before a recovery is proven",
    ),
    Mutant(
        "walks nobody asked for",
        "boundaries",
        "        if walk is None:\n            return  # nobody asked\n",
        "        walk = walk or _Walk(now_ms, self._validators)\n",
        "only who was asked answers",
    ),
    Mutant(
        "who proves nothing is asked again at once",
        "boundaries",
        "            del self._claims[peer]\n            self._patience.failed(peer, now_ms)\n",
        "            del self._claims[peer]\n",
        "a lie costs its teller one request",
    ),
    Mutant(
        "a body nobody asked for",
        "body_fetch",
        "        if peer != self._asked or reply.block_hash != self._block_hash:",
        "        if reply.block_hash != self._block_hash:",
        "only who was asked answers",
    ),
    Mutant(
        "a body is asked of one peer only",
        "body_fetch",
        "            self._tries += 1  # its answer is late\n",
        "            pass  # its answer is late\n",
        "a silent peer costs one request",
    ),
    Mutant(
        "rests do not grow",
        "patience",
        "min(self._longest_ms, self._shortest_ms << min(failures, 16))",
        "min(self._longest_ms, self._shortest_ms)",
        "a liar costs less and less",
    ),
    Mutant(
        "rests grow without end",
        "patience",
        "min(self._longest_ms, self._shortest_ms << min(failures, 16))",
        "(self._shortest_ms << min(failures, 16))",
        "nobody is left alone for ever",
    ),
]

SHAPES = [
    Mutant(
        "nullifications not carried",
        "proposals",
        "        nullifications=_newest(held.nullifications(after=from_view, before=vote.view)),\n",
        "",
        "rule 1: the proof travels in the proposal",
    ),
    Mutant(
        "the notarization not carried",
        "proposals",
        "        notarization=held.notarization(from_view),\n",
        "",
        "rule 1: the proof travels in the proposal",
    ),
    Mutant(
        "the parent's finalization not carried",
        "proposals",
        "        parent_finalization=parent_finalization,\n",
        "",
        "rule 1: who is one height behind sees it decided",
    ),
    Mutant(
        "what is held is verified again",
        "proposals",
        "    return [certificate for certificate in certificates if not held.has(certificate)]",
        "    return list(certificates)",
        "deduplication comes before signatures",
    ),
    Mutant(
        "the lowest view carried is entered first",
        "proposals",
        "    certificates.sort(key=lambda certificate: certificate.view, reverse=True)",
        "    certificates.sort(key=lambda certificate: certificate.view)",
        "no view is entered only to be left",
    ),
    Mutant(
        "a proposal with another's vote",
        "messages",
        "    if (vote.kind, vote.height, vote.view) != (VoteKind.NOTARIZE, proposal.height, proposal.view):",
        "    if vote.kind != VoteKind.NOTARIZE:",
        "a proposal is its leader's notarize of that view",
    ),
    Mutant(
        "a proposal on the notarization of another block",
        "messages",
        "        if proposal.notarization.block_hash != vote.block_hash:",
        "        if not vote.block_hash:",
        "a block proposed again is the one that was notarized",
    ),
    Mutant(
        "a proposal with too many nullifications",
        "messages",
        "        if nullification.height != proposal.height or not last < nullification.view < proposal.view:",
        "        if nullification.height != proposal.height:",
        "each view between, once and ascending",
    ),
    Mutant(
        "a vote on no block",
        "messages",
        "    if len(vote.block_hash) != hash_bytes:",
        "    if len(vote.block_hash) > HASH_BYTES:",
        "a block hash exactly where the kind has one",
    ),
    Mutant(
        "answers of any length",
        "messages",
        "    if len(reply.blocks) > HEIGHTS_PER_REQUEST_MAX:",
        "    if len(reply.blocks) > 64 * HEIGHTS_PER_REQUEST_MAX:",
        "everything over a wire is bounded",
    ),
    Mutant(
        "one leader for all views",
        "quorum",
        "    return (height + view) % validators",
        "    return height % validators",
        "a dead leader costs a view and not the chain",
    ),
]

EVIDENCE = [
    Mutant(
        "evidence of two places",
        "evidence",
        "    places = {(vote.signer, vote.height, vote.view) for vote in (first, second)}",
        "    places = {vote.signer for vote in (first, second)}",
        "rule 9: one height and view",
    ),
    Mutant(
        "votes in harmony convict",
        "evidence",
        "    if not conflict(first, second):",
        "    if first == second:",
        "rule 9: only what no honest validator signs together",
    ),
    Mutant(
        "evidence unsigned",
        "evidence",
        "        if not hashes.verify_raw(key, signed_vote(chain_id, vote), vote.signature):",
        "        if not vote.signature:",
        "rule 9: both votes are the signer's",
    ),
    Mutant(
        "a fault recorded twice",
        "evidence",
        "    if context.overlay.get(at) is not None:",
        "    if context.overlay.get(at) == b'':",
        "once per validator, height and view",
    ),
    Mutant(
        "evidence of heights to come",
        "evidence",
        "    if validators is None or evidence.height > context.height:",
        "    if validators is None:",
        "the set that judges is the one that was in force",
    ),
]

MUTANTS = [*SAFETY, *DURABLE, *BELIEVED, *COUNTED, *VIEWS, *HEIGHTS, *FETCHED, *SHAPES, *EVIDENCE]
