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

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    from numpy.typing import NDArray

    from asr.decoding.graph import Graph

    Ints = NDArray[np.signedinteger[Any]]
    Floats = NDArray[np.float32]

COST_BITS = 18
PLACE_BITS = 63 - STATE_BITS - TOKEN_BITS - COST_BITS
TOKEN = (1 << TOKEN_BITS) - 1
NOWHERE = -1
"""The step before the first one."""
NO_STEPS = np.zeros(0, np.int32)
NEVER = np.float32(np.inf)
_TABLE = ("before", "arc", "frame")
"""Columns of a history."""
MOST_WAYS = 1 << 20
"""A graph that leads to more candidates in a frame goes round in a circle."""


class History:
    """The steps of all hypotheses: each an arc that was taken, in a frame, after another step.

    Steps are only ever added. A history that has grown beyond what its owner knows of is copied
    before something else is added, so that old states stay valid.
    """

    def __init__(self, room: int = 0) -> None:
        self.before = np.empty(room, np.int32)
        self.arc = np.empty(room, np.int32)
        self.frame = np.empty(room, np.int32)
        self.used = 0

    def extended(self, count: int, before: Ints, arc: Ints, frame: Ints | int) -> History:
        """A history with the first `count` steps of this one, and new ones behind them."""
        history = self
        total = count + len(before)
        if self.used != count or total > len(self.before):
            history = History(total + total // 2)
            for name in _TABLE:
                getattr(history, name)[:count] = getattr(self, name)[:count]
        history.before[count:total] = before
        history.arc[count:total] = arc
        history.frame[count:total] = frame
        history.used = total
        return history

    def without_room(self) -> History:
        """A copy that is never added to in place: several threads may go on from it at once."""
        history = History(self.used)
        return history.extended(0, *(getattr(self, name)[: self.used] for name in _TABLE))

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

    def shared(self, steps: Ints) -> int:
        """The last step that all of some steps have come by; NOWHERE if there is none."""
        if COMPILED:
            return _passing.shared(self.before, steps.astype(np.int32, copy=False))
        steps = np.unique(steps)
        while steps[0] != steps[-1]:
            steps = np.unique(self._back(steps, int(steps[0])))
        return int(steps[0])

    def compacted(self, count: int, steps: Ints) -> tuple[History, NDArray[np.int32]]:
        """Only what leads to some steps; and the new number of each of the first `count` steps."""
        if COMPILED:
            table = self.before[:count], self.arc[:count], self.frame[:count]
            columns = _passing.compacted(*table, steps.astype(np.int32, copy=False))
            before, arc, frame, number = (np.frombuffer(column, np.int32) for column in columns)
        else:
            kept = self._leading_to(count, steps)
            number = np.full(count + 1, NOWHERE, np.int32)  # the last is that of NOWHERE
            number[:-1][kept] = np.arange(kept.sum())
            before = number[self.before[:count][kept]]
            arc, frame = self.arc[:count][kept], self.frame[:count][kept]
        return History(2 * len(before)).extended(0, before, arc, frame), number

    def _leading_to(self, count: int, steps: Ints) -> NDArray[np.bool_]:
        kept = np.zeros(count, bool)
        new = np.unique(steps[steps != NOWHERE])
        while len(new):
            kept[new] = True
            new = np.unique(self.before[new])
            new = new[new != NOWHERE]
            new = new[~kept[new]]
        return kept


@dataclass(frozen=True)
class Beam:
    """The n hypotheses that are alive, in the order of their keys.

    Attributes:
        keys: [n], state of the graph and last token.
        blank: [n], cost if the frame was blank, above the best hypothesis.
        phone: [n], cost if the last token still lasts.
        after_blank: [n], the last step of the hypothesis, if the frame was blank.
        after_phone: [n], the same if the last token still lasts.
    """

    keys: Ints
    blank: Floats
    phone: Floats
    after_blank: NDArray[np.int32]
    after_phone: NDArray[np.int32]

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

    def renumbered(self, number: NDArray[np.int32]) -> Beam:
        """The same with its steps under other numbers."""
        return Beam(
            self.keys, self.blank, self.phone, number[self.after_blank], number[self.after_phone]
        )


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
    nobody = Beam(key[:0], no_cost, no_cost, no_step, no_step)
    nowhere = np.full(len(states), NOWHERE)
    first = follow(graph, key, np.array(costs, np.float32), nowhere, nowhere, beam)
    ways, history = recombine(nobody, first, History(), 0, 0, beam, len(first.keys))
    return Beam(ways.keys, ways.phone, ways.blank, ways.after_phone, ways.after_blank), history


def walk(
    graph: Graph, alive: Beam, history: History, steps: int, costs: Floats,
    frame: int, beam: float, most: int,
) -> tuple[Beam, History]:  # fmt: skip
    """Hypotheses go on by T frames.

    Args:
        graph: what they walk through.
        alive: the hypotheses.
        history: the first `steps` of its steps are those so far.
        steps: how many there are; of the history that is given back, all count.
        costs: [T, V] of each token in each frame.
        frame: number of the first frame.
        beam: what costs so much more than the best is given up.
        most: how many hypotheses a frame may leave; a few more, if they cost the same.

    Raises:
        GraphError: the graph is damaged, or the costs are no numbers.
    """
    if COMPILED:
        return _walk_compiled(graph, alive, history, steps, costs, frame, beam, most)
    for number, each in enumerate(costs, frame):
        stay, new = advance(graph, alive, each, beam)
        alive, history = recombine(stay, new, history, steps, number, beam, most)
        steps = history.used
    return alive, history


def _walk_compiled(
    graph: Graph, alive: Beam, history: History, steps: int, costs: Floats,
    frame: int, beam: float, most: int,
) -> tuple[Beam, History]:  # fmt: skip
    columns = call("pass_tokens", graph, alive, costs, steps, frame, beam, most)
    *beams, before, arc, when = map(np.frombuffer, columns, _COLUMNS)
    return Beam(*beams), history.extended(steps, before, arc, when)


_COLUMNS = (np.int64, np.float32, np.float32, *5 * [np.int32])
"""Types of the arrays in what `_passing.pass_tokens` gives back: hypotheses, steps."""


def best_path(
    graph: Graph, alive: Beam, history: History, known: NDArray[np.int32], cap: float
) -> tuple[int, NDArray[np.int32], NDArray[np.uint32]] | None:
    """The steps of the hypothesis that is best if nothing follows.

    Args:
        graph: what they walked through.
        alive: the hypotheses.
        history: their steps.
        known: steps that lead to another one.
        cap: ending in a state costs what it costs there, and no more than this.

    Returns:
        how many steps it shares with `known`, those behind them, and the labels of these; None if
        no hypothesis can end.

    Raises:
        GraphError: the graph is damaged.
    """
    if COMPILED:
        found = compiled(
            "best_path", graph, graph.places, _columns(alive), (history.before, history.arc),
            known, cap,
        )  # fmt: skip
        if found is None:
            return None
        shared, new, labels = found
        return shared, np.frombuffer(new, np.int32), np.frombuffer(labels, np.uint32)
    cost = alive.cost + np.minimum(graph.finals(alive.states), np.float32(cap))
    best = int(np.argmin(cost))
    if not cost[best] < NEVER:
        return None
    shared, path = history.path(int(alive.last[best]), known)
    steps = np.array(path, np.int32)
    return shared, steps, graph.words(history.arc[steps])


def call(name: str, graph: Graph, alive: Beam, costs: Floats, *rest: Any) -> tuple[Any, ...]:
    """Has something compiled go through frames.

    Args:
        name: of the function in `_passing`.
        graph: what hypotheses walk through.
        alive: the hypotheses.
        costs: [T, V] of each token in each frame.
        rest: what else it takes.

    Raises:
        GraphError: the graph is damaged, or the costs are no numbers.
    """
    costs = np.ascontiguousarray(costs, np.float32)
    columns: tuple[Any, ...] = compiled(name, graph, costs, _columns(alive), *rest)
    return columns


def _columns(alive: Beam) -> tuple[Ints, Floats, Floats, Ints, Ints]:
    return alive.keys, alive.blank, alive.phone, alive.after_blank, alive.after_phone


def compiled(name: str, graph: Graph, *arguments: Any) -> Any:
    """What a function of `_passing` answers about a graph.

    Of arcs in the cache those that were read last are kept, some 3 MB. Threads that walk through
    the graph at the same time have theirs each.

    Raises:
        GraphError: the function complains.
    """
    function, arcs = getattr(_passing, name), graph.arcs
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
    stay = Beam(
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
    alive = Beam(keys[kept], blank[kept] - best, phone[kept] - best, after_blank[kept], after_phone)
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
    return history.extended(steps, before, new.arc[kept], frame), place[winners]
