"""The guards of custody over chains, each with the edit that removes it: rows of tests/bridge/guards.py.

Each must be found by the model, by seeds that nobody chose for it; where it cannot, the row says which test sees it. Two
guards that back each other are removed together: the second edit stands last in the row.
"""

MODEL = "tests/bridge/test_model.py::test_no_run_violates_anything"  # the seeds, until one objects
TRACES = "tests/bridge/test_custody_traces.py::test_"
CORRUPT = "tests/bridge/test_corrupt_contents.py::test_"
AMOUNTS = "tests/bridge/test_corrupt_amounts.py::test_"

RECEIPTS = (
    0,
    "a packet is received once",
    "bridge/handlers",
    "    ctx.overlay.put(received_key(packet), RECEIPT)\n",
    "",
    MODEL,
)
SEQUENCE = (
    0,
    "only its own packet ends a transit",
    "bridge/custody_transfer",
    (
        "        or part.sequence != packet.sequence\n    ):\n        raise Refused(\n"
        '            f"no part is in transit by packet'
    ),
    '    ):\n        raise Refused(\n            f"no part is in transit by packet',
    MODEL,
)
CUSTODY = [
    (
        0,
        "an arrival has a hop above ours",
        "bridge/senders",
        "    if hop <= departure.hop:\n",
        "    if hop < 0:\n",
        "tests/bridge/test_custody_transfer.py::test_an_equal_or_lower_hop_is_not_taken",
    ),
    (
        0,
        "a hop is never used again",
        "bridge/custody_transfer",
        "    elif part.arrived_offer:\n        # A return",
        "    elif setattr(part, 'hop', part.hop - 1) or part.arrived_offer:\n        # A return",
        "tests/bridge/test_custody_transfer.py::test_a_timeout_brings_the_part_back_with_its_hop_burnt",
    ),
    (
        0,
        "a child is shown as it was once its box had left",
        "bridge/arrivals",
        "    if message.header_height < arrival.proven_height:\n",
        "    if message.header_height < 0:\n",
        TRACES + "a_hop_is_burnt_by_a_timeout_with_everything_inside",
    ),
    (
        0,
        "a child is where its filling is, not where its box is",
        "ledger/containers",
        (
            "    waits = container.status == PartStatus.IN_TRANSIT and container.hop == generation.hop\n"
            "    return PartStatus.IN_TRANSIT if waits else PartStatus.DEPARTED\n"
        ),
        "    return container.status if generation else PartStatus.DEPARTED\n",
        MODEL,
    ),
    (
        0,
        "what left before does not leave again with its box",
        "ledger/containers",
        "    waits = container.status == PartStatus.IN_TRANSIT and container.hop == generation.hop\n",
        "    waits = container.status == PartStatus.IN_TRANSIT and container.generations == generation.generation\n",
        MODEL,
    ),
    (
        0,
        "a new filling for every arrival",
        "bridge/contents",
        "    record.generations = max(record.generations, contents.generation) + 1\n",
        "    record.generations = max(record.generations, contents.generation)\n",
        MODEL,
    ),
    (
        0,
        "what is nested is left behind, too",
        "bridge/contents",
        "    if not record.open:\n        return\n    if left is None:\n",
        "    if record:\n        return\n    if left is None:\n",
        MODEL,
    ),
    (
        0,
        "a filling closes when it is sent",
        "bridge/contents",
        "    filling.export(destination, container.history.n + 1, container.offers_ownership)\n",
        "",
        MODEL,
    ),
    (
        0,
        "a child comes out of a chain that may send it",
        "bridge/arrivals",
        "    known, departure = check_sender(ctx, client, theirs.id, theirs.origin_chain, arrival.hop, place)\n",
        "    known, departure = custody.load_part(ctx.overlay, theirs.id), None\n",
        MODEL,
    ),
    (
        0,
        "a part comes back from where it went",
        "bridge/senders",
        "    if departure.chain_id != client.chain_id:\n",
        "    if not departure.chain_id:\n",
        MODEL,
    ),
    (
        0,
        "what is new comes from its home",
        "bridge/senders",
        "    if grant is None or grant.home_chain != client.chain_id or origin != client.chain_id:\n",
        "    if grant is None:\n",
        MODEL,
    ),
    (
        0,
        "what is here does not arrive",
        "bridge/senders",
        "    return record, departed_to(",
        "    return record, departure_of(ctx.overlay, record) and departed_to(",
        MODEL,
    ),
    (
        0,
        "a timeout needs a state of its time",
        "bridge/handlers",
        "    if leaf.time_ms < packet.timeout_ms:\n",
        "    if leaf.time_ms < 0:\n",
        MODEL,
    ),
    (
        0,
        "a receipt is in time",
        "bridge/handlers",
        "    if ctx.time_ms >= packet.timeout_ms:\n",
        "    if ctx.time_ms < 0:\n",
        MODEL,
    ),
    RECEIPTS,
    (
        0,
        "a commitment is deleted, and only its packet ends a transit",
        "bridge/handlers",
        "    ctx.overlay.delete(sent_key(packet))\n    _application(packet).acknowledged(",
        "    _application(packet).acknowledged(",
        MODEL,
        SEQUENCE,
    ),
    (
        0,
        "a frozen client proves nothing",
        "bridge/clients",
        "    if record.frozen:\n        raise Refused(\n",
        "    if record.frozen and not record.id:\n        raise Refused(\n",
        MODEL,
    ),
    (
        0,
        "nothing is followed to here",
        "bridge/following",
        "    if chain_id == ctx.chain_id:\n",
        "    if not chain_id:\n",
        MODEL,
    ),
    (
        0,
        "what stayed somebody's here does not come as another's",
        "bridge/arrivals",
        '    if owner not in ("", arrival.owner):\n',
        "    if owner is None:\n",
        CORRUPT + "what_left_without_its_ownership_is_not_made_anothers_by_the_box_it_comes_home_in",
    ),
    (
        0,
        "what was sold in a box stays the buyer's",
        "ledger/containers",
        "generation)\n        record.owner = generation.owner_at_close or record.owner\n",
        "generation)\n",
        CORRUPT + "what_was_sold_in_a_box_and_comes_home_without_it_is_the_buyers",
    ),
    (
        0,
        "an amount leaves with what it is in",
        "bridge/amounts",
        "(left.container, left.generation) == (container, generation)\n    return row.place if inside ",
        "bool(left)\n    return row.place if inner ",
        AMOUNTS + "what_lies_in_a_container_here_does_not_leave_with_another_that_names_it",
    ),
    (
        0,
        "one arrival at a time has an amount under a name",
        "bridge/amounts",
        "        if place != container and amount_at(",
        "        if not place and amount_at(",
        AMOUNTS + "what_waits_under_a_name_came_with_one_container",
    ),
    (
        0,
        "what left again takes nothing of a later visit",
        "bridge/amounts",
        "    if standing(ctx.overlay, container).status == PartStatus.DEPARTED:\n",
        "    if standing(ctx.overlay, container).status == PartStatus.VOID:\n",
        AMOUNTS + "what_is_made_known_of_an_earlier_visit_takes_nothing_of_a_later_one",
    ),
    (
        0,
        "an amount is told of once in a container",
        "ledger/containers",
        "            if row[3] and (there is not None or row[3] == record.container):\n",
        "            if row[3] and row[3] == record.container:\n",
        AMOUNTS + "two_things_that_tell_of_one_amount_are_not_packed_together",
    ),
    (
        0,
        "nothing happens before the receiver has signed",
        "bridge/custody_transfer",
        "        part.status = OFFERED\n        part.offered_to = transfer.receiver\n",
        "        part.status = LIVE\n        part.offered_to = transfer.receiver\n",
        (
            "tests/bridge/test_custody_transfer.py::"
            "test_an_arrival_is_offered_and_nobody_acts_on_it_before_the_receiver_signs"
        ),
    ),
]
