from consensus.patience import PEERS_MAX, Patience


def test_rests_double_from_a_sixteenth_to_sixteen_times_and_no_further():
    patience = Patience(160)
    rests = []
    for _ in range(12):
        patience.failed(b"peer", 0)
        rests.append(patience.rests_until_ms(b"peer"))
    assert rests == [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 2_560, 2_560, 2_560]


def test_a_good_answer_makes_good_for_all_failures():
    patience = Patience(160)
    patience.failed(b"peer", 0)
    patience.failed(b"peer", 0)
    patience.forgive(b"peer")
    assert (patience.failures(b"peer"), patience.rests_until_ms(b"peer")) == (0, 0)
    patience.failed(b"peer", 100)
    assert patience.rests_until_ms(b"peer") == 110


def test_a_new_line_ends_the_rest_and_forgives_nothing():
    patience = Patience(160)
    for _ in range(3):
        patience.failed(b"peer", 0)
    patience.wake(b"peer")
    assert (patience.failures(b"peer"), patience.rests_until_ms(b"peer")) == (3, 0)
    patience.failed(b"peer", 0)
    assert patience.rests_until_ms(b"peer") == 80


def test_no_rest_is_too_short_to_tell_and_none_grows_for_ever():
    patience = Patience(1)
    for _ in range(2_000):
        patience.failed(b"peer", 0)
    assert patience.rests_until_ms(b"peer") == 16
    patience.failed(b"other", 5)
    assert patience.rests_until_ms(b"other") == 6


def test_an_answer_is_late_before_it_is_given_up():
    patience = Patience(500)
    assert (patience.late_at_ms(7), patience.given_up_at_ms(7)) == (507, 8_007)


def test_peers_remembered_are_bounded():
    patience = Patience(160)
    for peer in range(3 * PEERS_MAX):
        patience.failed(b"%d" % peer, 0)
    assert sum(patience.failures(b"%d" % peer) for peer in range(3 * PEERS_MAX)) == PEERS_MAX
    assert patience.failures(b"%d" % (3 * PEERS_MAX - 1)) == 1
