"""Who is concerned by a recall, by somebody who was there: every event in one list, every place in one table."""

from dataclasses import dataclass, field


@dataclass(eq=False)
class Making:
    """A transformation. Inputs and outputs are names of parts and lots."""

    inputs: list[str]
    outputs: list[str]
    run: str = ""
    perhaps: list[str] = field(default_factory=list)


class NaiveReach:
    """Parts by name: [status, holder, container]. Amounts by (lot, place)."""

    def __init__(self):
        self.parts: dict[str, list[str]] = {}
        self.amounts: dict[tuple[str, str], int] = {}
        self.makings: list[Making] = []
        self.added: set[str] = set()  # lots of which some was commissioned outright
        self.abroad: dict[str, str] = {}

    # ---- what happens

    def add(self, name, holder):
        self.parts[name] = ["LIVE", holder, ""]

    def put(self, lot, place, amount):
        self.amounts[lot, place] = self.amounts.get((lot, place), 0) + amount
        assert self.amounts[lot, place] >= 0

    def top(self, name):
        while self.parts[name][2]:
            name = self.parts[name][2]
        return name

    def holder(self, name):
        return self.parts[self.top(name)][1]

    def status(self, name):
        own = self.parts[name][0]
        return own if own != "LIVE" else self.parts[self.top(name)][0]

    def children(self, name):
        return [child for child, (_, _, box) in self.parts.items() if box == name]

    def free(self, member, *, empty=False):
        """Live parts that a member has, in nothing."""
        return sorted(
            name
            for name, (status, holder, box) in self.parts.items()
            if (status, holder, box) == ("LIVE", member, "") and not (empty and self.holds(name))
        )

    def holds(self, name):
        return bool(self.children(name)) or any(n for (_, place), n in self.amounts.items() if place == name)

    # ---- who is concerned

    def of_run(self, making):
        return [m for m in self.makings if m is making or (making.run and m.run == making.run)]

    def leads(self, name):
        """(what came of it, in which event, whether for certain)"""
        for making in self.makings:
            if name not in (*making.inputs, *making.perhaps):
                continue
            together = self.of_run(making)
            alone = all(name in m.inputs for m in together if m.inputs)
            for other in together:
                for output in other.outputs:
                    if output not in other.inputs:
                        sure = name not in making.perhaps and (other is making or alone)
                        yield output, other, sure

    def inside(self, name):
        """A container asked for is meant with all that is in it; what was destroyed with it, too."""
        found = {name}
        for child in self.children(name):
            found |= self.inside(child)
        return found

    def reach(self, asked):
        """(concerned, of these certain, what only holds something of it)"""
        concerned = set(self.inside(asked)) if asked in self.parts else {asked}
        ways = []
        waiting = sorted(concerned)
        while waiting:
            name = waiting.pop()
            for output, making, sure in self.leads(name):
                ways.append((name, output, making, sure))
                if output not in concerned:
                    concerned.add(output)
                    waiting.append(output)
        certain = set(self.inside(asked)) if asked in self.parts else {asked}
        grew = True
        while grew:
            more = {
                output
                for name, output, _, sure in ways
                if name in certain and sure and output not in certain and not self.mixed(output, ways)
            }
            certain |= more
            grew = bool(more)
        return concerned, certain, self.around(concerned) - concerned

    def around(self, names):
        """What these are in: boxes in boxes, as far as nothing ended with them."""
        found = set()
        for name in names:
            if name in self.parts:
                around = (
                    [self.parts[name][2]]
                    if self.status(name) not in ("CONSUMED", "DESTROYED", "VOID")
                    else []
                )
            else:
                around = [
                    place
                    for (lot, place), n in self.amounts.items()
                    if lot == name and n and place in self.parts
                ]
            for place in filter(None, around):
                found |= {place} | self.around([place])
        return found

    def mixed(self, name, ways):
        if name in self.parts:
            return False
        made = [making for making in self.makings if name in making.outputs]
        by = [making for _, output, making, _ in ways if output == name]
        return name in self.added or any(all(making is not one for one in by) for making in made)
