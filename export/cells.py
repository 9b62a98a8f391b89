"""One step of each recurrent cell over streams [N, H], its matrix products in 8-bit integers.

Where units stand in groups there is an axis more: streams [N, groups, H], weights [groups, ...].
`asr.nn.cells` has the equations. Rows of the weights are PyTorch's gates: r z n; i f g o.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .builder import GraphBuilder


@dataclass(frozen=True)
class Step:
    """Where a step is written to, and what it multiplies the state before it with.

    Attributes:
        graph: the body of a Scan.
        name: of the layer.
        size: H.
        product: writes `U h + c` for some rows of U [gates H, H]: from h, to an output.
    """

    graph: GraphBuilder
    name: str
    size: int
    product: Callable[[str, str, slice], str]

    def op(self, operator: str, *inputs: str, to: str) -> str:
        """An operator with one output."""
        return self.graph.add(operator, inputs, f"{self.name}.{to}")

    def of_state(self, h: str, to: str, rows: slice = slice(None)) -> str:
        """`U h + c` for some rows of U."""
        return self.product(h, f"{self.name}.{to}", rows)

    def gates(self, x: str, *counts: int) -> list[str]:
        """The last axis in parts of so many gates."""
        return self.graph.divided(x, [count * self.size for count in counts])

    def mixed(self, h: str, z: str, n: str) -> str:
        """`(1 - z) n + z h`, the next state of a GRU."""
        kept = self.op("Mul", z, self.op("Sub", h, n, to="change"), to="kept")
        return self.op("Add", n, kept, to="hidden.after")


def gru(step: Step, gates: str, candidate: str, h: str) -> list[str]:
    """Reset behind the product, as PyTorch and cuDNN have it."""
    product = step.of_state(h, "product")
    of_gates, of_candidate = step.gates(product, 2, 1)
    rz = step.op("Sigmoid", step.op("Add", gates, of_gates, to="gates.sum"), to="gates")
    r, z = step.gates(rz, 1, 1)
    reset = step.op("Mul", r, of_candidate, to="reset")
    n = step.op("Tanh", step.op("Add", candidate, reset, to="candidate.sum"), to="candidate")
    return [step.mixed(h, z, n)]


def gru_reset_before(step: Step, gates: str, candidate: str, h: str) -> list[str]:
    """Reset before the product (Cho et al. 2014)."""
    of_gates = step.of_state(h, "gates.product", slice(2 * step.size))
    rz = step.op("Sigmoid", step.op("Add", gates, of_gates, to="gates.sum"), to="gates")
    r, z = step.gates(rz, 1, 1)
    reset = step.op("Mul", r, h, to="reset")
    of_candidate = step.of_state(reset, "candidate.product", slice(2 * step.size, None))
    total = step.op("Add", candidate, of_candidate, to="candidate.sum")
    return [step.mixed(h, z, step.op("Tanh", total, to="candidate"))]


def lstm(step: Step, inputs: str, h: str, c: str) -> list[str]:
    """With a forget gate and without peepholes."""
    total = step.op("Add", inputs, step.of_state(h, "product"), to="sum")
    if_, g, o = step.gates(total, 2, 1, 1)
    i, f = step.gates(step.op("Sigmoid", if_, to="gates"), 1, 1)
    new = step.op("Mul", i, step.op("Tanh", g, to="candidate"), to="new")
    c = step.op("Add", step.op("Mul", f, c, to="kept"), new, to="cell.after")
    o = step.op("Sigmoid", o, to="output.gate")
    return [step.op("Mul", o, step.op("Tanh", c, to="cell.tanh"), to="hidden.after"), c]


def rnn(step: Step, inputs: str, h: str) -> list[str]:
    """Elman's."""
    total = step.op("Add", inputs, step.of_state(h, "product"), to="sum")
    return [step.op("Tanh", total, to="hidden.after")]


STEPS: dict[str, tuple[tuple[int, ...], Callable[..., list[str]]]] = {
    "gru": ((2, 1), gru),
    "gru_reset_before": ((2, 1), gru_reset_before),
    "lstm": ((4,), lstm),
    "rnn": ((1,), rnn),
}
"""How a step wants the products of its inputs divided, in gates; and the step."""
