from consensus.presence import Presence
from tests.consensus import chain

SET = chain.validators(4)


def watcher():
    return Presence(chain.key(0), 3_000)


def view(presence, heard, length=1_000, members=SET):
    for index in heard:
        presence.heard(chain.key(index))
    presence.view_ended(members, length)


def dead(presence):
    return [i for i in range(4) if presence.dead(chain.key(i))]


def test_silent_while_a_quorum_speaks_is_dead_after_a_while():
    presence = watcher()
    for _ in range(2):
        view(presence, [1, 2])
        assert dead(presence) == []
    view(presence, [1, 2])
    assert dead(presence) == [3]
    presence.heard(chain.key(3))
    assert dead(presence) == []


def test_many_short_views_add_up():
    presence = watcher()
    for _ in range(300):
        view(presence, [1, 2], length=10)
    assert dead(presence) == [3]


def test_it_fails_open_without_a_quorum():
    presence = watcher()
    for _ in range(100):
        view(presence, [1])
    assert dead(presence) == []


def test_one_long_view_condemns_nobody():
    presence = watcher()
    view(presence, [1, 2], length=1_000_000)
    assert dead(presence) == []


def test_never_oneself():
    presence = watcher()
    for _ in range(10):
        view(presence, [1, 2, 3])
    assert dead(presence) == []


def test_who_leaves_the_set_is_forgotten():
    presence = watcher()
    for _ in range(3):
        view(presence, [1, 2])
    view(presence, [1, 2], members=chain.validators(3))
    assert dead(presence) == []
