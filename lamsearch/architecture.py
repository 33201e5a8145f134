"""The network as data: layers, their shapes and m, known without torch.

Both trainers build their networks from these records, so they cannot disagree about the architecture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Literal

from lamsearch.errors import InputError

KERNEL = 3
POOL = 2
KINDS = ("cnn", "linear")
SMALLEST = 10
"""Smallest image side that the cnn takes: ((10 − 2) / 2 − 2) / 2 = 1 pixel is left after both pools."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer with weights. ``relu`` and ``pool`` (2×2 max, stride 2, odd borders cut) follow it in that order.

    conv: ``n_in`` and ``n_out`` are channels, ``kernel`` the side of the square kernel, stride 1, valid padding.
    dense: ``n_in`` counts the flattened input in (channel, row, column) order; ``kernel`` is 0.
    """

    name: str
    kind: Literal["conv", "dense"]
    n_in: int
    n_out: int
    kernel: int = 0
    relu: bool
    pool: bool

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(out, in, row, column) for conv, (out, in) for dense: torch's order."""
        if self.kind == "conv":
            return (self.n_out, self.n_in, self.kernel, self.kernel)
        return (self.n_out, self.n_in)

    @property
    def bias_shape(self) -> tuple[int]:
        """(out,)."""
        return (self.n_out,)


def layers(kind: str, shape: tuple[int, int, int], n_classes: int) -> tuple[Layer, ...]:
    """The layers of a built-in network for images of ``shape`` (channel, row, column).

    ``cnn``: Conv 32 3×3 – ReLU – MaxPool 2 – Conv 64 3×3 – ReLU – MaxPool 2 – Flatten – Dense 128 – ReLU – Dense
    classes. ``linear``: one dense layer. Raises InputError for another kind or an image too small for the cnn.
    """
    if kind == "linear":
        return (Layer(name="dense", kind="dense", n_in=prod(shape), n_out=n_classes, relu=False, pool=False),)
    if kind != "cnn":
        raise InputError(f"model.kind = {kind!r}: no such built-in network; use one of {', '.join(KINDS)}")
    channels, rows, columns = shape
    if min(rows, columns) < SMALLEST:
        raise InputError(
            f"model.kind = 'cnn' needs images of at least {SMALLEST}×{SMALLEST} pixels, got {rows}×{columns}; "
            "enlarge the images or use model.kind = 'linear'"
        )
    for _ in range(2):
        rows, columns = (rows - KERNEL + 1) // POOL, (columns - KERNEL + 1) // POOL
    return (
        Layer(name="conv1", kind="conv", n_in=channels, n_out=32, kernel=KERNEL, relu=True, pool=True),
        Layer(name="conv2", kind="conv", n_in=32, n_out=64, kernel=KERNEL, relu=True, pool=True),
        Layer(name="dense1", kind="dense", n_in=64 * rows * columns, n_out=128, relu=True, pool=False),
        Layer(name="dense2", kind="dense", n_in=128, n_out=n_classes, relu=False, pool=False),
    )


def n_penalised(layers: Iterable[Layer], *, biases: bool) -> int:
    """m: how many parameters the penalty counts. Weights, and biases only where the study asks for it."""
    return sum(prod(layer.weight_shape) + (layer.n_out if biases else 0) for layer in layers)
