"""Token passing (Young, Russell and Thornton 1989) through a graph of phones, on whole arrays.

A hypothesis stands in a state of the graph and has said one phone last. It costs one thing if the
frame was blank and another if the phone still lasts, as in prefix beam search (Hannun et al. 2014):
that pair is the CTC topology, which therefore never has to be composed with the graph. All
hypotheses of a frame go on together.

States of the graph take 24 bits of a key and tokens 6; a key, a cost and a place fit one integer,
so that finding the cheapest way to each key is one sort.

What is here in numpy is the specification; `_passing.c` does the same, to the last bit, in a
fraction of the time. Where it could not be compiled, numpy does the work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from asr.decoding.hypothesis import BLANK, STATE_BITS, TOKEN_BITS
from asr.decoding.packed import END
from asr.decoding.stored import Stored
from asr.errors import GraphError

try:
    from asr.decoding import _passing
except ImportError:  # there was no compiler when this was installed
    COMPILED = False
else:
    COMPILED = True

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from asr.decoding.graph import Graph

    Ints = NDArray[np.signedinteger[Any]]
    Floats = NDArray[np.float32]
    Given = tuple[tuple[int, int], ...]

COST_BITS = 18
PLACE_BITS = 63 - STATE_BITS - TOKEN_BITS - COST_BITS
TOKEN = (1 << TOKEN_BITS) - 1
NOWHERE = -1
"""The step before the first one."""
NO_STEPS = np.zeros(0, np.int32)
NEVER = np.float32(np.inf)
HYPOTHESIS = np.dtype(
    [
        ("key", np.uint32),
        ("blank", np.float32),
        ("phone", np.float32),
        ("after_blank", np.int32),
        ("after_phone", np.int32),
    ]
)
"""What `_passing` knows as one, too."""
MOST_WAYS = 1 << 20
"""A graph that leads to more candidates in a frame goes round in a circle."""


class History:
    """The steps of all hypotheses: each an arc that was taken, in a frame, after another step.

    Steps are only ever added. A history that has grown beyond what its owner knows of is copied
    before something else is added, so that old states stay valid.

    Attributes:
        table: [room, 3], of each step the step before, the arc and the frame.
        used: how many steps there are.
    """

    def __init__(self, room: int = 0) -> None:
        self.table = np.empty((room, 3), np.int32)
        self.used = 0

    @property
    def before(self) -> NDArray[np.int32]:
        """Of each step the one before it, [room]."""
        return self.table[:, 0]

    @property
    def arc(self) -> NDArray[np.int32]:
        """Of each step its arc, [room]."""
        return self.table[:, 1]

    @property
    def frame(self) -> NDArray[np.int32]:
        """Of each step its frame, [room]."""
        return self.table[:, 2]

    def extended(self, count: int, steps: NDArray[np.int32]) -> History:
        """A history with the first `count` steps of this one, and new ones [n, 3] behind them."""
        history = self
        total = count + len(steps)
        if self.used != count or total > len(self.table):
            history = History(total + total // 2)
            history.table[:count] = self.table[:count]
        history.table[count:total] = steps
        history.used = total
        return history

    def without_room(self) -> History:
        """A copy that is never added to in place: several threads may go on from it at once."""
        history = History(self.used)
        return history.extended(0, self.table[: self.used])

    def path(self, step: int, known: NDArray[np.int32] = NO_STEPS) -> tuple[int, list[int]]:
        """The steps that lead to `step`, itself the last.

        Args:
            step: of this history.
            known: the steps that lead to another one.

        Returns:
            how many steps the two have in common, and those that are left to `step`.
        """
        shared, new = known.tolist(), list[int]()
        while step != NOWHERE:
            while shared and shared[-1] > step:
                shared.pop()
            if shared and shared[-1] == step:
                return len(shared), new[::-1]
            new.append(step)
            step = int(self.before[step])
        return 0, new[::-1]

    def _back(self, steps: Ints, until: int) -> Ints:
        """Goes back from each step to its last predecessor that is not after `until`."""
        steps = steps.copy()
        while len(later := np.flatnonzero(steps > until)):
            steps[later] = self.before[steps[later]]
        return steps

    def shared(self, alive: Beam) -> int:
        """The last step that all hypotheses have come by; NOWHERE if there is none."""
        if COMPILED:
            return _passing.shared(self.table, alive.rows)
        steps = np.unique(alive.steps)
        while steps[0] != steps[-1]:
            steps = np.unique(self._back(steps, int(steps[0])))
        return int(steps[0])

    def compacted(
        self, count: int, alive: Beam, path: NDArray[np.int32]
    ) -> tuple[History, Beam, NDArray[np.int32]]:
        """Only what leads to hypotheses, and these and the path of one with its new numbers.

        Args:
            count: how many of the steps there are.
            alive: the hypotheses.
            path: the steps that lead to one of them.
        """
        if COMPILED:
            *found, hypotheses = _passing.compacted(self.table[:count], alive.rows, path)
            table, path = (np.frombuffer(each, np.int32) for each in found)
            rows = np.frombuffer(hypotheses, HYPOTHESIS)
        else:
            kept = self._leading_to(count, alive.steps)
            number = np.full(count + 1, NOWHERE, np.int32)  # the last is that of NOWHERE
            number[:-1][kept] = np.arange(kept.sum())
            table, rows, path = self.table[:count][kept], alive.rows.copy(), number[path]
            table[:, 0] = number[table[:, 0]]
            for name in ("after_blank", "after_phone"):
                rows[name] = number[rows[name]]
        table = table.reshape(-1, 3)
        return History(2 * len(table)).extended(0, table), Beam(rows), path

    def _leading_to(self, count: int, steps: Ints) -> NDArray[np.bool_]:
        kept = np.zeros(count, bool)
        new = np.unique(steps[steps != NOWHERE])
        while len(new):
            kept[new] = True
            new = np.unique(self.before[new])
            new = new[new != NOWHERE]
            new = new[~kept[new]]
        return kept


def table(before: Ints, arc: Ints, frame: Ints | int) -> NDArray[np.int32]:
    """Steps as a history has them, [n, 3]."""
    return np.stack(np.broadcast_arrays(before, arc, frame), 1).astype(np.int32)


@dataclass(frozen=True)
class Beam:
    """The n hypotheses that are alive, in the order of their keys.

    Attributes:
        rows: [n] of `HYPOTHESIS`.
    """

    rows: NDArray[np.void]

    @classmethod
    def of(
        cls, keys: Ints, blank: Floats, phone: Floats, after_blank: Ints, after_phone: Ints
    ) -> Beam:
        """Takes over columns."""
        rows = np.empty(len(keys), HYPOTHESIS)
        columns = keys, blank, phone, after_blank, after_phone
        for name, column in zip(HYPOTHESIS.names or (), columns, strict=True):
            rows[name] = column
        return cls(rows)

    @property
    def keys(self) -> NDArray[np.int64]:
        """State of the graph and last token of each, [n]."""
        return self.rows["key"].astype(np.int64)

    @property
    def blank(self) -> Floats:
        """What each costs if the frame was blank, above the best hypothesis, [n]."""
        return self.rows["blank"]

    @property
    def phone(self) -> Floats:
        """What each costs if its last token still lasts, [n]."""
        return self.rows["phone"]

    @property
    def after_blank(self) -> NDArray[np.int32]:
        """The last step of each, if the frame was blank, [n]."""
        return self.rows["after_blank"]

    @property
    def after_phone(self) -> NDArray[np.int32]:
        """The same if the last token still lasts."""
        return self.rows["after_phone"]

    @property
    def states(self) -> Ints:
        """The state of the graph that each is in, [n]."""
        return self.keys >> TOKEN_BITS

    @property
    def cost(self) -> Floats:
        """Of each, the better way, [n]."""
        return np.minimum(self.blank, self.phone)

    @property
    def last(self) -> NDArray[np.int32]:
        """The last step of each by the better way, [n]."""
        return np.where(self.blank <= self.phone, self.after_blank, self.after_phone)

    @property
    def steps(self) -> NDArray[np.int32]:
        """The last steps of all, both ways."""
        alive = (self.after_blank[self.blank < NEVER], self.after_phone[self.phone < NEVER])
        return np.concatenate(alive)


@dataclass(frozen=True)
class Candidates:
    """Ways to go on, n in all: first those by an arc with a phone, then those by what follows them.

    Attributes:
        keys: [n], where each leads.
        cost: [n].
        before: [n], the step that each follows; for later generations the candidate.
        arc: [n].
        sizes: how many each generation has; within a generation none follows another.
    """

    keys: Ints
    cost: Floats
    before: Ints
    arc: Ints
    sizes: tuple[int, ...]


def start(graph: Graph, beam: float, after: int | None = None) -> tuple[Beam, History]:
    """The hypotheses before the first frame.

    Args:
        graph: what they walk through.
        beam: what costs so much more than the best is given up.
        after: the state that earlier words have led to. They go on from there, or they have ended,
            for what that costs there. None if nothing was said.
    """
    states, costs = np.array([graph.start]), [0.0]
    if after is not None:
        states = np.array([graph.start, after])
        costs = [float(graph.finals(states)[1]), 0.0]
    key = states << TOKEN_BITS | BLANK
    no_cost, no_step = np.zeros(0, np.float32), np.zeros(0, np.int32)
    nobody = Beam.of(key[:0], no_cost, no_cost, no_step, no_step)
    nowhere = np.full(len(states), NOWHERE)
    first = follow(graph, key, np.array(costs, np.float32), nowhere, nowhere, beam)
    ways, history = recombine(nobody, first, History(), 0, 0, beam, len(first.keys))
    return Beam.of(ways.keys, ways.phone, ways.blank, ways.after_phone, ways.after_blank), history


def walk(
    graph: Graph, alive: Beam, history: History, steps: int, costs: Floats,
    frame: int, beam: float, most: int, known: NDArray[np.int32] = NO_STEPS, cap: float = math.inf,
) -> tuple[Beam, History, BestPath | None]:  # fmt: skip
    """Hypotheses go on by T frames.

    Args:
        graph: what they walk through.
        alive: the hypotheses.
        history: the first `steps` of its steps are those so far.
        steps: how many there are; of the history that is given back, all count.
        costs: [T, V] of each token in each frame; T may be 0.
        frame: number of the first frame.
        beam: what costs so much more than the best is given up.
        most: how many hypotheses a frame may leave; a few more, if they cost the same.
        known: steps that lead to some other one.
        cap: ending in a state costs what it costs there, and no more than this.

    Returns:
        the hypotheses, their steps, and the path of the one that is best if nothing follows; None
        if none can end.

    Raises:
        GraphError: the graph is damaged, or the costs are no numbers.
    """
    if COMPILED:
        rows, taken, path = compiled(
            "pass_tokens", graph, costs, alive, graph.places, history.table, known, steps, frame,
            beam, most, cap,
        )  # fmt: skip
        alive = Beam(np.frombuffer(rows, HYPOTHESIS))
        history = history.extended(steps, np.frombuffer(taken, np.int32).reshape(-1, 3))
        return alive, history, path and BestPath(path[0], np.frombuffer(path[1], np.int32), path[2])
    for number, each in enumerate(costs, frame):
        stay, new = advance(graph, alive, each, beam)
        alive, history = recombine(stay, new, history, steps, number, beam, most)
        steps = history.used
    return alive, history, _best(graph, alive, history, known, cap)


class BestPath(NamedTuple):
    """The steps of a hypothesis, beside those that lead to another one.

    Attributes:
        shared: how many it has in common with that.
        steps: those behind them.
        given: what these give.
    """

    shared: int
    steps: NDArray[np.int32]
    given: Sequence[tuple[int, int]]


def _best(
    graph: Graph, alive: Beam, history: History, known: NDArray[np.int32], cap: float
) -> BestPath | None:
    """The path of the hypothesis that is best if nothing follows; see `walk`."""
    cost = alive.cost + np.minimum(graph.finals(alive.states), np.float32(cap))
    best = int(np.argmin(cost))
    if not cost[best] < NEVER:
        return None
    shared, path = history.path(int(alive.last[best]), known)
    steps = np.array(path, np.int32)
    return BestPath(shared, steps, labelled(graph.words(history.arc[steps]), shared))


def labelled(labels: NDArray[np.uint32], begin: int = 0) -> Given:
    """The places in a path of steps that give something, counted from `begin` on, with its label.

    Args:
        labels: [n], what each step gives; 0 for nothing.
        begin: place of the first.
    """
    places = labels.nonzero()[0]
    return tuple(zip((begin + places).tolist(), labels[places].tolist(), strict=True))


def compiled(name: str, graph: Graph, costs: Floats, alive: Beam, *rest: Any) -> Any:
    """Has something compiled go through frames.

    Of arcs in the cache those that were read last are kept, some 5 MB. Threads that walk through
    the graph at the same time have theirs each.

    Args:
        name: of the function in `_passing`.
        graph: what hypotheses walk through.
        costs: [T, V] of each token in each frame.
        alive: the hypotheses.
        rest: what else it takes.

    Raises:
        GraphError: the graph is damaged, or the costs are no numbers.
    """
    function, arcs = getattr(_passing, name), graph.arcs
    arguments = (np.ascontiguousarray(costs, np.float32), alive.rows, *rest)
    try:
        if not isinstance(arcs, Stored):
            return function(arcs, *arguments)
        try:
            kept = graph.kept.pop()
        except IndexError:  # this thread is one more
            kept = _passing.keep(arcs.file.fileno(), arcs.begin, arcs.size)
        try:
            return function(kept, *arguments)
        finally:
            graph.kept.append(kept)
    except ValueError as error:
        raise GraphError(str(error)) from None


def advance(graph: Graph, alive: Beam, costs: Floats, beam: float) -> tuple[Beam, Candidates]:
    """What hypotheses become in the next frame.

    Args:
        graph: what they walk through.
        alive: the hypotheses.
        costs: [V] of each token in this frame.
        beam: what costs so much more than the best is given up.

    Returns:
        the hypotheses if they stay where they are, and what they can go on to.
    """
    held = alive.keys & TOKEN
    cost, last = alive.cost, alive.last
    stay = Beam.of(
        alive.keys,
        cost + costs[BLANK],
        alive.phone + costs[held],
        last,
        alive.after_phone,
    )
    limit = min(stay.blank.min(), stay.phone.min()) + beam
    going = (cost + costs[1:].min() < limit).nonzero()[0]
    states = alive.states[going]
    owner, arc = graph.arcs_of(states)
    keys = graph.keys(arc)
    label = keys & TOKEN
    spoken = ((label != BLANK) & (label != END)).nonzero()[0]
    owner, arc, keys, label = going[owner[spoken]], arc[spoken], keys[spoken], label[spoken]
    again = label == held[owner]  # after a blank only
    ways = np.where(again, alive.blank[owner], cost[owner]) + graph.costs(arc) + costs[label]
    limit = min(limit, ways.min(initial=NEVER) + beam)
    kept = (ways < limit).nonzero()[0]
    owner, arc, again, ways = owner[kept], arc[kept], again[kept], ways[kept]
    before = np.where(again, alive.after_blank[owner], last[owner])
    return stay, follow(graph, keys[kept], ways, before, arc, limit)


def follow(
    graph: Graph, keys: Ints, cost: Floats, before: Ints, arc: Ints, limit: float
) -> Candidates:
    """Adds where arcs without a phone lead to from some candidates, for less than `limit`."""
    generations = [(keys, cost, before, arc)]
    begin = 0
    while True:
        keys, cost, _, _ = generations[-1]
        states = keys >> TOKEN_BITS
        token = graph.keys(states) & TOKEN
        has = ((token == BLANK) | (token == END)).nonzero()[0]
        owner, arc = graph.arcs_of(states[has])
        owner, onward = has[owner], graph.keys(arc)
        ways = cost[owner] + graph.costs(arc)
        kept = ((onward & TOKEN == BLANK) & (ways < limit)).nonzero()[0]
        if not len(kept):
            break
        owner, arc = owner[kept], arc[kept]
        onward = onward[kept] | keys[owner] & TOKEN
        generations.append((onward, ways[kept], begin + owner, arc))
        begin += len(keys)
        if begin > MOST_WAYS or len(generations) > len(graph.arcs):
            raise GraphError("arcs without a phone lead on without end; build the graph again")
    keys, cost, before, arc = map(np.concatenate, zip(*generations, strict=True))
    return Candidates(keys, cost, before, arc, tuple(len(each) for each, *_ in generations))


def recombine(
    stay: Beam,
    new: Candidates,
    history: History,
    steps: int,
    frame: int,
    beam: float,
    most: int,
) -> tuple[Beam, History]:
    """Keeps the cheapest way to each key, of those within the beam.

    Args:
        stay: hypotheses that stay where they are.
        new: ways to go on.
        history: the first `steps` of its steps are those so far.
        steps: how many there are.
        frame: number of the frame.
        beam: what costs so much more than the best is given up.
        most: how many hypotheses may be left; a few more, if they cost the same.
    """
    costs = np.concatenate([stay.phone, new.cost])
    best = min(costs.min(), stay.blank.min(initial=NEVER))
    if not best < NEVER:
        raise GraphError("no hypothesis is left: the log-probabilities are no numbers")
    scale = ((1 << COST_BITS) - 1) / (2 * beam)
    ranks = (np.minimum(costs - best, 2 * beam) * scale).astype(np.int64)
    keys, places = _sorted(np.concatenate([stay.keys, new.keys]), ranks)
    first = np.append(True, keys[1:] != keys[:-1])
    keys, winners = keys[first], places[first]
    phone = costs[winners]
    blank = np.full(len(keys), NEVER)
    after_blank = np.full(len(keys), NOWHERE, np.int32)
    old = places < len(stay.keys)
    group = (np.cumsum(first) - 1)[old]
    blank[group] = stay.blank[places[old]]
    after_blank[group] = stay.after_blank[places[old]]

    cost = np.minimum(phone, blank)
    limit = best + beam
    if len(cost) > most:
        limit = min(limit, np.partition(cost, most - 1)[most - 1])
    kept = (cost <= limit).nonzero()[0]
    winners = winners[kept]
    won = winners >= len(stay.keys)
    history, place = _recorded(new, winners[won] - len(stay.keys), history, steps, frame)
    after_phone = np.empty(len(kept), np.int32)
    after_phone[won] = place
    after_phone[~won] = stay.after_phone[winners[~won]]
    above = blank[kept] - best, phone[kept] - best
    alive = Beam.of(keys[kept], *above, after_blank[kept], after_phone)
    return alive, history


def _sorted(keys: Ints, ranks: Ints) -> tuple[Ints, Ints]:
    """Keys in order, those that are equal by rank; and at which place each was."""
    if len(keys) > 1 << PLACE_BITS:  # the places do not fit an integer with the rest
        places = np.lexsort((ranks, keys))
        return keys[places], places
    packed = (keys << COST_BITS | ranks) << PLACE_BITS | np.arange(len(keys))
    packed.sort()
    return packed >> (COST_BITS + PLACE_BITS), packed & ((1 << PLACE_BITS) - 1)


def _recorded(
    new: Candidates, winners: Ints, history: History, steps: int, frame: int
) -> tuple[History, Ints]:
    """Adds the candidates that won, and what led to them, to the history; and says where."""
    needed = np.zeros(len(new.keys), bool)
    needed[winners] = True
    end = len(needed)
    for size in new.sizes[:0:-1]:
        follower = np.flatnonzero(needed[end - size : end]) + end - size
        needed[new.before[follower]] = True
        end -= size
    place = steps - 1 + np.cumsum(needed)
    kept = needed.nonzero()[0]
    before = new.before[kept]
    later = kept >= new.sizes[0]
    before[later] = place[before[later]]
    return history.extended(steps, table(before, new.arc[kept], frame)), place[winners]
