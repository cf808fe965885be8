"""The guards of serials of lots over chains, each with the edit that removes it: rows of tests/bridge/guards.py."""

SERIALS_TESTS = "tests/bridge/test_serials.py::test_"
TOLD = SERIALS_TESTS + "serials_that_never_came_are_told_of_without_harm"
RANGE = SERIALS_TESTS + "a_range_comes_after_serials_that_came_one_by_one"
ROOTS = "tests/bridge/test_roots.py::test_"

SERIALS = [
    (
        0,
        "of an interval of which nothing came, nothing is found",
        "ledger/corrections",
        "            if held and held[0].start >= start",
        "            if held[0].start >= start",
        TOLD,
    ),
    (
        0,
        "what came one by one keeps no range from coming",
        "bridge/serial_lots",
        "            add_range(ctx.overlay, lot.id, lot.serials, begins=False)\n",
        "            add_range(ctx.overlay, lot.id, lot.serials)\n",
        RANGE,
    ),
    (
        0,
        "what came is marked apart from what began here",
        "bridge/custody_transfer",
        "        note_single(ctx.overlay, canonical(part.id), begins=False)\n",
        "        note_single(ctx.overlay, canonical(part.id))\n",
        RANGE,
    ),
    (
        0,
        "what came in a box is marked apart, too",
        "bridge/arrivals",
        "        note_single(ctx.overlay, canonical(part.id), begins=False)\n",
        "        note_single(ctx.overlay, canonical(part.id))\n",
        RANGE,
    ),
    (
        0,
        "what is followed is marked apart, too",
        "bridge/following",
        "        note_single(ctx.overlay, identifier, begins=False)\n",
        "        note_single(ctx.overlay, identifier)\n",
        "tests/bridge/test_custody_traces.py::test_a_range_comes_after_a_serial_that_was_followed",
    ),
    (
        0,
        "no range begins over what came one by one",
        "ledger/ranges",
        "    if begins:\n        keys.append(",
        "    if not keys:\n        keys.append(",
        RANGE,
    ),
    (
        0,
        "a serial is followed to no chain that does not know its lot",
        "bridge/following",
        "        if theirs.lot:\n",
        "        if not message.part:\n",
        "tests/bridge/test_custody_traces.py::test_nobody_keeps_a_lot_away_by_following_one_of_its_serials",
    ),
    (
        0,
        "a serial that came home by its proof lies in no range",
        "bridge/serial_lots",
        "            _carve(ctx, part)\n            _note(ctx, part)\n",
        "            _carve(ctx, part)\n",
        ROOTS + "a_serial_that_came_home_by_its_proof_lies_in_no_range",
    ),
    (
        0,
        "only where a list began its serials are named",
        "bridge/serial_lots",
        "    elif not lot.serials.width and lot.origin_chain not in (ctx.chain_id, teller):\n",
        "    elif not lot.id:\n",
        ROOTS + "on_a_long_route_no_serial_of_a_list_is_named_by_a_chain_that_only_had_an_interval",
    ),
    (
        0,
        "an interval tells its lot",
        "bridge/arrivals",
        "        if canonical(theirs.id).interval is not None:\n",
        "        if not theirs.id:\n",
        "tests/bridge/test_corrupt_contents.py::test_an_interval_of_no_lot_does_not_come_out_of_a_container",
    ),
]
