"""Passports of parts of chains in one process, and who verifies them."""

from client.audit import Audit
from client.locate import locate
from client.passport_making import keep_answers, make
from client.passport_verify import verify
from client.trust import Trust
from tests.client.direct import verified


def told(world, part, *, stubs=None, chains=None, shown=None, begin="", **options):
    """The report of an audit, and the passport of the answers to it, whatever the verdict. `begin`: on this chain, without
    asking where the part is."""
    world.settle()
    views = {
        chain.chain_id: verified(chain, (stubs or {}).get(chain.name))
        for chain in world.chains.values()
        if chains is None or chain.name in chains
    }
    lines = keep_answers(views)
    where = world[begin].chain_id if begin else locate(views, part, shown or {})
    report = Audit(views, shown=shown or {}, **options).run(part, where, lambda: 0)
    return report, make(part, lines, (shown or {}).values())


def trusting(world, *names):
    """The trust file of somebody who knows these chains, or all."""
    chains = [chain for chain in world.chains.values() if not names or chain.name in names]
    return Trust(tuple(verified(chain).trust for chain in chains), ())


def checked(world, passport, *names, late_ms=0, **options):
    """The report of who verifies it, her clock so late after the newest header of all."""
    now_ms = max(chain.info.time_ms for chain in world.chains.values()) + late_ms
    return verify(passport, trusting(world, *names), lambda: now_ms, **options)


def content(report):
    """What a report says, whoever answered."""
    said = report.as_json()
    heads = [{key: value for key, value in head.items() if key != "age_ms"} for head in said["as_of"]]
    return said["verdict"], said["findings"], said["subject"], said["subjects"], heads
