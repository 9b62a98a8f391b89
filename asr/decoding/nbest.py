"""Other words that could have been said: the n best hypotheses of a segment.

The search keeps only one way to each hypothesis, so what else was possible takes a second pass over
the segment. It goes through the frames once more and keeps all ways to the hypotheses that are left
in each frame, then walks back from the last one. By then it is known what each hypothesis has cost,
so only those ways are followed that end up near the best, as in A* (Soong and Huang 1991). Of ways
back that stand at the same place and have said the same words the best goes on. So the result is
exact: of what the beams have left nothing is missed or out of order.

What is here in numpy is the specification; `_trellis.c` does the same, to the last bit, in a
fraction of the time, where it could be compiled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.decoding import passing
from asr.decoding.fst import ranges
from asr.decoding.hashes import BASE
from asr.decoding.hypothesis import BLANK
from asr.decoding.passing import NOWHERE, TOKEN, Beam, History, advance, labelled, recombine, table
from asr.decoding.phone_graph import BREAK_OFF
from asr.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from asr.decoding.graph import Graph
    from asr.decoding.hypothesis import Words
    from asr.decoding.passing import Candidates
    from asr.decoding.search import GraphSearch, GraphState, SearchOptions

    Ints = NDArray[np.signedinteger[Any]]
    Floats = NDArray[np.floating[Any]]

WITHIN = 12.0
"""Hypotheses that cost so much more than the best are not given, in nats."""
MOST = 5000
"""So many ways back are followed at once, at most."""


@dataclass(frozen=True)
class Hypothesis:
    """Words that could have been said.

    Attributes:
        words: with their times.
        labels: of the graph along the path: those of the words and those of tags.
        score: log-probability of the path as the search weighs it, but for a constant.
    """

    words: Words
    labels: tuple[int, ...]
    score: float


@dataclass(frozen=True)
class Way:
    """A path of n steps through a segment.

    Attributes:
        arcs: [n], of the graph.
        labels: [n], which each gives; 0 for none.
        frames: [n], in which each was taken.
        score: log-probability as the search weighs it, but for a constant.
    """

    arcs: Ints
    labels: NDArray[np.uint32]
    frames: Ints
    score: float

    def state(self, reached: GraphState) -> GraphState:
        """The state of the search as if this were its best hypothesis."""
        steps = np.arange(len(self.arcs), dtype=np.int32)
        history = History().extended(0, table(steps - 1, self.arcs, self.frames))
        return replace(reached, history=history, path=steps, given=labelled(self.labels))

    def hypothesis(self, search: GraphSearch, reached: GraphState) -> Hypothesis:
        """The same with times, for which the path has to be read."""
        state = self.state(reached)
        return Hypothesis(search.words(state), search.labels(state), self.score)

    def hashes(self, graph: Graph) -> NDArray[np.uint64]:
        """The hashes of the words that it says."""
        return graph.vocabulary.hashes[self.labels[graph.vocabulary.has(self.labels)]]


def alternatives(search: GraphSearch, state: GraphState, n: int) -> list[Hypothesis]:
    """The n best hypotheses, no two with the same words.

    Args:
        search: the search that made the state.
        state: where it stands; nothing follows.
        n: how many. There are fewer when not so many are within the beams.

    Returns:
        the best first, with the words of `search.finish(state)`.

    Raises:
        UsageError: n is not positive.
    """
    return [way.hypothesis(search, state) for way in ways(search, state, n)]


def ways(
    search: GraphSearch, state: GraphState, n: int, within: float = WITHIN, *, over: bool = True
) -> list[Way]:
    """The n best paths, no two with the same words.

    Args:
        search: see `alternatives`.
        state: see `alternatives`.
        n: see `alternatives`.
        within: hypotheses that cost so much more than the best are left out, in nats.
        over: nothing follows; otherwise they may end anywhere, in the middle of a word too.

    Returns:
        the best first.

    Raises:
        UsageError: n is not positive.
    """
    if n < 1:
        raise UsageError(f"expected a positive number of alternatives, got {n}")
    costs = search.costs(state.log_probs)
    cap = search.graph.break_off if over else BREAK_OFF
    score, found = best_paths(search, state.after, costs, cap, n, within)
    path = (search.finished(state) if over else state).path
    arcs = state.history.arc[path]
    best = Way(arcs, search.graph.words(arcs), state.history.frame[path], score)
    said = best.hashes(search.graph)
    others = [way for way in found if not np.array_equal(way.hashes(search.graph), said)]
    return [best, *others][:n]


def best_paths(
    search: GraphSearch, after: int | None, costs: NDArray[np.float32],
    cap: float, n: int, within: float,
) -> tuple[float, list[Way]]:  # fmt: skip
    """The best paths with different words.

    Args:
        search: with the graph that they lead through, and the beams.
        after: see `GraphSearch.start`.
        costs: [T, V] of each token in each frame.
        cap: to end costs no more than this in any state.
        n: how many.
        within: how much more than the best they may cost.

    Returns:
        the score of the best; and all, the best first.

    Raises:
        GraphError: the graph is damaged, or the costs are no numbers.
    """
    graph, options, begun = search.graph, search.options, search.start(after)
    alive, history = begun.alive, begun.history
    if not passing.COMPILED:
        trellis = Trellis.of(graph, alive, history, costs, options, cap)
        return trellis.score, list(trellis.paths(n, within))
    score, *columns = passing.compiled(
        "best_paths", graph, costs, alive, graph.places, graph.vocabulary.hashes, history.table,
        options.beam, options.max_active, cap, n, within, MOST,
    )  # fmt: skip
    types = np.int64, np.float64, np.int32, np.int32, np.uint32
    ends, scores, arcs, frames, labels = map(np.frombuffer, columns, types)
    bounds = pairwise([0, *ends.tolist()])
    return score, [
        Way(arcs[begin:end], labels[begin:end], frames[begin:end], min(each, score))
        for (begin, end), each in zip(bounds, scores.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class _Frame:
    """How the N hypotheses of a frame came about.

    A hypothesis has two places, for it costs one thing if the frame was blank and another if the
    token still lasts: twice its number, and one more.

    Attributes:
        stayed: [N], which hypothesis of the frame before it was; NOWHERE for none.
        blank: what a blank cost, above the best way.
        held: [N], what it cost that the token lasts, above the best way.
        first: [N + 1], the first arrival at each.
        source: [A] of each arrival, the place in the frame before.
        price: [A], what it cost, above the best way.
        way: [A], which of the candidates it was.
        new: the candidates.
        spoken: of each candidate, whether it says a word.
    """

    stayed: Ints
    blank: float
    held: Floats
    first: Ints
    source: Ints
    price: Floats
    way: Ints
    new: Candidates
    spoken: NDArray[np.bool_]

    def arcs(self, way: int) -> list[int]:
        """The arcs of a candidate, first to last."""
        arcs = [int(self.new.arc[way])]
        while way >= self.new.sizes[0]:
            way = int(self.new.before[way])
            arcs.append(int(self.new.arc[way]))
        return arcs[::-1]


@dataclass(frozen=True)
class _Ways:
    """Ways back from the last frame to an earlier one, n in all.

    Attributes:
        place: [n], where they are.
        said: [n], hash of the words from there on.
        cost: [n], from there on, above the best way.
        step: [n], the last step that was taken.
    """

    place: Ints
    said: NDArray[np.uint64]
    cost: Floats
    step: Ints

    def __getitem__(self, which: Any) -> _Ways:
        return _Ways(self.place[which], self.said[which], self.cost[which], self.step[which])

    def best(self, total: Floats, n: int) -> NDArray[np.int64]:
        """Of those at one place that have said the same the cheapest, and of each place n."""
        order = np.lexsort((total, self.said, self.place))
        place, said = self.place[order], self.said[order]
        new = np.ones(len(order), bool)
        new[1:] = (place[1:] != place[:-1]) | (said[1:] != said[:-1])
        order = order[new]
        order = order[np.lexsort((total[order], self.place[order]))]
        place = self.place[order]
        rank = np.arange(len(place)) - np.searchsorted(place, place)
        order = np.asarray(order[rank < n], np.int64)
        return order[np.sort(np.argsort(total[order], kind="stable")[:MOST])]


@dataclass(frozen=True)
class Trellis:
    """All ways through a segment of T frames by hypotheses that the beams have left.

    Attributes:
        graph: what they lead through.
        history: of the hypotheses before the first frame.
        begun: their last steps.
        costs: T + 1 of what each place costs above the best, before the first frame and after each.
        frames: T, how the hypotheses came about.
        final: what each of the last places costs to end in.
        spent: what the best of the last places has cost.
    """

    graph: Graph
    history: History
    begun: Ints
    costs: list[Floats]
    frames: list[_Frame]
    final: Floats
    spent: float

    @classmethod
    def of(
        cls, graph: Graph, alive: Beam, history: History, costs: NDArray[np.float32],
        options: SearchOptions, cap: float,
    ) -> Trellis:  # fmt: skip
        """Goes through the frames of a segment from some hypotheses on; see `best_paths`."""
        begun = np.stack([alive.after_blank, alive.after_phone], 1).ravel()
        places, frames, spent = [_places(alive)], list[_Frame](), 0.0
        for frame in costs:
            alive, best, arrived = _next(graph, alive, frame, options.beam, options.max_active)
            places.append(_places(alive))
            frames.append(arrived)
            spent += best
        final = np.repeat(np.minimum(graph.finals(alive.states), np.float32(cap)), 2)
        return cls(graph, history, begun, places, frames, final, spent)

    @property
    def score(self) -> float:
        """Of the best path."""
        return -self.spent - float((self.costs[-1] + self.final).min())

    def paths(self, n: int, within: float) -> Iterator[Way]:
        """The best paths with different words; see `best_paths`."""
        total = (self.costs[-1] + self.final).astype(float)
        limit = float(total.min()) + within
        place = np.flatnonzero((total <= limit) & (total < np.inf))
        nothing = np.zeros(len(place), np.uint64)
        ways = _Ways(place, nothing, self.final[place].astype(float), np.full(len(place), NOWHERE))
        steps = History()
        for number in reversed(range(len(self.frames))):
            ways, steps = self._back(number, ways, steps, limit, n)
        total = ways.cost + self.costs[0][ways.place]
        order = np.argsort(total, kind="stable")
        _, first = np.unique(ways.said[order], return_index=True)
        for one in order[np.sort(first)[:n]].tolist():
            taken = steps.path(int(ways.step[one]))[1][::-1]
            arcs, frames = self._steps(int(ways.place[one]), steps, taken)
            labels = self.graph.words(arcs)
            yield Way(arcs, labels, frames, min(-self.spent - float(total[one]), self.score))

    def _back(
        self, number: int, ways: _Ways, steps: History, limit: float, n: int
    ) -> tuple[_Ways, History]:
        """Ways back go on over a frame; those end that cost more than `limit` in all."""
        frame = self.frames[number]
        row, held = np.divmod(ways.place, 2)
        stayed = frame.stayed[row]
        blank = np.flatnonzero((stayed != NOWHERE) & (held == 0))
        phone = np.flatnonzero((stayed != NOWHERE) & (held == 1))
        many = np.where(held == 1, frame.first[row + 1] - frame.first[row], 0)
        new, arrival = ranges(frame.first[row], many)
        after = np.concatenate([blank, blank, phone, new])
        stays = [2 * stayed[blank], 2 * stayed[blank] + 1, 2 * stayed[phone] + 1]
        place = np.concatenate([*stays, frame.source[arrival]])
        price = [np.full(2 * len(blank), frame.blank), frame.held[row[phone]], frame.price[arrival]]
        cost = ways.cost[after] + np.concatenate(price)
        way = np.full(len(after), NOWHERE)
        way[len(after) - len(new) :] = frame.way[arrival]

        total = cost + self.costs[number][place]
        kept = np.flatnonzero(total <= limit)
        after, way = after[kept], way[kept]
        said = self._said(frame, way, ways.said[after])
        ways = _Ways(place[kept], said, cost[kept], ways.step[after])
        best = ways.best(total[kept], n)
        ways, way = ways[best], way[best]
        gone = np.flatnonzero(way != NOWHERE)
        used = steps.used
        steps = steps.extended(used, table(ways.step[gone], way[gone], number))
        ways.step[gone] = np.arange(used, steps.used)
        return ways, steps

    def _said(self, frame: _Frame, way: Ints, said: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Puts the words of candidates before what was said."""
        hashes = self.graph.vocabulary.hashes
        spoken = np.unique(way[way != NOWHERE])
        for one in spoken[frame.spoken[spoken]].tolist():
            which = way == one
            for label in reversed(self.graph.words(np.array(frame.arcs(one))).tolist()):
                if 0 < label < len(hashes):
                    said[which] = said[which] * BASE + hashes[label]
        return said

    def _steps(self, place: int, steps: History, taken: list[int]) -> tuple[Ints, Ints]:
        """All arcs of a path that begins at a place, and their frames."""
        _, first = self.history.path(int(self.begun[place]))
        arcs, when = self.history.arc[first].tolist(), self.history.frame[first].tolist()
        for number, way in zip(steps.frame[taken].tolist(), steps.arc[taken].tolist(), strict=True):
            more = self.frames[number].arcs(way)
            arcs += more
            when += [number] * len(more)
        return np.array(arcs, np.int32), np.array(when, np.int32)


def _places(alive: Beam) -> Floats:
    return np.stack([alive.blank, alive.phone], 1).ravel()


def _next(
    graph: Graph, before: Beam, costs: NDArray[np.float32], beam: float, most: int
) -> tuple[Beam, float, _Frame]:
    """Hypotheses go on by a frame.

    Returns:
        those that are left; what the best of them has cost in this frame; how they came about.
    """
    rows = np.arange(len(before.keys), dtype=np.int32)
    begun = Beam.of(before.keys, before.blank, before.phone, rows, rows)
    stay, new = advance(graph, begun, costs, beam)
    alive, _ = recombine(stay, new, History(), 0, 0, beam, most)
    held = (before.phone + costs[before.keys & TOKEN]).min()
    best = min(before.cost.min() + costs[BLANK], held, new.cost.min(initial=np.inf))
    stayed = _found(before.keys, alive.keys)

    owner, spoken = new.before.copy(), graph.gives(new.arc)
    begin = new.sizes[0]
    for size in new.sizes[1:]:
        later = slice(begin, begin + size)
        spoken[later] |= spoken[owner[later]]
        owner[later] = owner[owner[later]]
        begin += size
    again = new.keys & TOKEN == before.keys[owner] & TOKEN
    price = new.cost - np.where(again, before.blank[owner], before.cost[owner]) - best

    target = _found(alive.keys, new.keys)
    blank = np.flatnonzero(target != NOWHERE)
    phone = blank[~again[blank]]
    way = np.concatenate([blank, phone])
    source = np.concatenate([2 * owner[blank], 2 * owner[phone] + 1])
    order = np.argsort(target[way], kind="stable")
    way, source = way[order], source[order]
    first = np.searchsorted(target[way], np.arange(len(alive.keys) + 1))
    arrived = _Frame(
        stayed,
        float(costs[BLANK] - best),
        costs[alive.keys & TOKEN] - best,
        first,
        source,
        price[way],
        way,
        new,
        spoken,
    )
    return alive, float(best), arrived


def _found(keys: Ints, wanted: Ints) -> Ints:
    """The places at which wanted keys are among others, which are in order; NOWHERE if not."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, place, NOWHERE)
