"""The built-in networks with their backward pass written out: the loop trainer's engine on a CPU.

What this saves against autograd on torch's modules, all with identical results: the dispatch of some hundred
small operations per step, fresh memory (hence page faults) for every intermediate, and the slow corners of the
convolution library: weight gradients are matrix products with the unfolded input, which the forward pass needs anyway.

Axes: N image, Y X position, C channel, K = inputs of one output (kernel row, kernel column, channel), O output.
Activations are (N, Y, X, C) and are read as matrices (N·Y·X, C) without a copy; weights are stored as (K, O),
all in one flat tensor, so that the optimiser makes one pass.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lamsearch.architecture import Layer
from lamsearch.model import Shape

aten = torch.ops.aten
POOL: tuple[list[int], list[int], list[int], list[int], bool] = ([2, 2], [2, 2], [0, 0], [1, 1], False)
"""2×2 max-pooling in aten's words: kernel, stride, padding, dilation, ceil_mode."""


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """How a weight lies in memory: ``axes`` (its stored shape) and their ``order`` in torch's logical weight."""

    axes: tuple[int, ...]
    order: tuple[int, ...]

    def logical(self, matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
        return matrix.reshape(self.axes).permute(self.order).reshape(shape)

    def store(self, weight: Tensor, matrix: Tensor) -> None:
        matrix.view(self.axes).permute(self.order).copy_(weight.reshape([self.axes[axis] for axis in self.order]))


class Out(NamedTuple):
    """Where a layer's gradients go: overwritten if ``fresh``, else added to."""

    weights: Tensor
    biases: Tensor
    fresh: bool

    def weight(self, inputs: Tensor, gradient: Tensor, *, swapped: bool = False) -> None:
        """inputsᵀ · gradient, over their rows; or its transpose, if that is the faster product."""
        if swapped:
            (self.weights.copy_ if self.fresh else self.weights.add_)(torch.mm(gradient.t(), inputs).t())
        else:
            torch.addmm(self.weights, inputs.t(), gradient, beta=0 if self.fresh else 1, out=self.weights)

    def bias(self, gradient: Tensor) -> None:
        """Σ gradient, over its rows."""
        (self.biases.copy_ if self.fresh else self.biases.add_)(gradient.sum(0))


class _Conv:
    """Convolution, max-pooling, bias, ReLU. Input (N, C, Y, X) for the first layer of a network, else (N, Y, X, C).

    The bias is added after pooling: rounding is monotone, so max(x) + b and max(x + b) are the same number.
    """

    def __init__(self, layer: Layer, shape: Shape, *, first: bool) -> None:
        self.layer, self.first = layer, first
        self.rows, self.columns = (side - layer.kernel + 1 for side in shape[1:])
        pool = 2 if layer.pool else 1
        self.shape: Shape = (layer.n_out, self.rows // pool, self.columns // pool)
        k, c, o = layer.kernel, layer.n_in, layer.n_out
        # The first layer has few channels, so its windows are copied along rows of pixels instead.
        self.stored = (
            _Stored(axes=(c, k, k, o), order=(3, 0, 1, 2)) if first else _Stored(axes=(k, k, c, o), order=(3, 2, 0, 1))
        )
        self._memory: dict[int, dict[str, Tensor]] = {}

    def _buffers(self, like: Tensor) -> dict[str, Tensor]:
        n, (o, y, x) = len(like), self.shape
        if n not in self._memory:
            k, c = self.layer.kernel, self.layer.n_in
            positions = (n, self.rows, self.columns)
            unfolded = (c, k, k, *positions) if self.first else (*positions, k, k, c)
            made = {"unfolded": like.new_empty(unfolded), "sums": like.new_empty(*positions, o)}
            made["output"] = made["sums"]
            if self.layer.pool:
                made["output"] = like.new_empty(n, y, x, o)
                made["argmax"] = like.new_empty(n, y, x, o, dtype=torch.int64)
                made["sums_gradient"] = torch.empty_like(made["sums"])
            self._memory[n] = made
        return self._memory[n]

    def _kernel(self, weight: Tensor) -> Tensor:
        """The weights as torch's convolutions like them."""
        return self.stored.logical(weight, self.layer.weight_shape).contiguous(memory_format=torch.channels_last)

    def _unfolded(self, memory: dict[str, Tensor]) -> Tensor:
        """(N·Y·X, K)."""
        unfolded, k = memory["unfolded"], prod(self.stored.axes[:-1])
        return unfolded.view(k, -1).t() if self.first else unfolded.view(-1, k)

    def forward(self, images: Tensor, weight: Tensor, bias: Tensor, *, training: bool) -> Tensor:
        output = self._sums(images, weight) if training or self.first else self._sums_alone(images, weight)
        output += bias
        return output.clamp_(min=0) if self.layer.relu else output

    def _sums_alone(self, images: Tensor, weight: Tensor) -> Tensor:
        """``_sums`` without what ``backward`` needs."""
        sums = functional.conv2d(_nchw(images), self._kernel(weight))
        return (functional.max_pool2d(sums, 2) if self.layer.pool else sums).permute(0, 2, 3, 1)

    def _sums(self, images: Tensor, weight: Tensor) -> Tensor:
        memory = self._buffers(images)
        k, y = self.layer.kernel, 2 if self.first else 1
        windows = images.unfold(y, k, 1).unfold(y + 1, k, 1)  # (N, C, Y, X, k, k) or (N, Y, X, C, k, k)
        memory["unfolded"].copy_(windows.permute((1, 4, 5, 0, 2, 3) if self.first else (0, 1, 2, 4, 5, 3)))
        sums, output = memory["sums"], memory["output"]
        torch.mm(self._unfolded(memory), weight, out=sums.view(-1, self.layer.n_out))
        if self.layer.pool:
            aten.max_pool2d_with_indices.out(_nchw(sums), *POOL, out=_nchw(output), indices=_nchw(memory["argmax"]))
        return output

    def backward(self, gradient: Tensor, images: Tensor, weight: Tensor, out: Out) -> Tensor | None:
        memory = self._buffers(images)
        gradient = gradient.view(memory["output"].shape)
        if self.layer.relu:
            aten.threshold_backward.grad_input(gradient, memory["output"], 0, grad_input=gradient)
        out.bias(gradient.view(-1, self.layer.n_out))
        if self.layer.pool:
            pooled, gradient = gradient, memory["sums_gradient"]
            aten.max_pool2d_with_indices_backward.grad_input(
                _nchw(pooled), _nchw(memory["sums"]), *POOL, _nchw(memory["argmax"]), grad_input=_nchw(gradient)
            )
        out.weight(self._unfolded(memory), gradient.view(-1, self.layer.n_out), swapped=not self.first)
        if self.first:
            return None
        return functional.conv_transpose2d(_nchw(gradient), self._kernel(weight)).permute(0, 2, 3, 1).contiguous()


class _Dense:
    """Matrix product, bias, ReLU. Input: any (N, …), read as (N, K). ``shape`` of a convolution's output before it."""

    shape: Shape | None = None

    def __init__(self, layer: Layer, shape: Shape | None) -> None:
        self.layer = layer
        axes = (layer.n_in, layer.n_out) if shape is None else (*shape[1:], shape[0], layer.n_out)
        self.stored = _Stored(axes=axes, order=(1, 0) if shape is None else (3, 2, 0, 1))
        self._output: Tensor

    def forward(self, inputs: Tensor, weight: Tensor, bias: Tensor, *, training: bool) -> Tensor:
        self._output = torch.addmm(bias, inputs.reshape(len(inputs), -1), weight)
        return self._output.clamp_(min=0) if self.layer.relu else self._output

    def backward(self, gradient: Tensor, inputs: Tensor, weight: Tensor, out: Out) -> Tensor | None:
        if self.layer.relu:
            aten.threshold_backward.grad_input(gradient, self._output, 0, grad_input=gradient)
        out.bias(gradient)
        out.weight(inputs.reshape(len(inputs), -1), gradient)
        return torch.mm(gradient, weight.t())


class Chain:
    """A built-in network on the CPU: an ``engine.Engine`` without autograd. Images come as (N, C, Y, X)."""

    def __init__(self, layers: Sequence[Layer], shape: Shape, initial: Mapping[str, Tensor]) -> None:
        self._layers = tuple(layers)
        self._steps: list[_Conv | _Dense] = []
        here: Shape | None = shape
        for layer in layers:
            first = not self._steps
            if layer.kind == "conv" and here is not None:
                self._steps.append(_Conv(layer, here, first=first))
            else:
                self._steps.append(_Dense(layer, None if first else here))
            here = self._steps[-1].shape
        dtype = next(iter(initial.values())).dtype
        matrices = [(prod(step.stored.axes[:-1]), step.layer.n_out) for step in self._steps]
        self._weights, self._matrices, self._matrix_gradients = _flat(matrices, dtype)
        self._biases, self._rows, self._row_gradients = _flat([layer.bias_shape for layer in layers], dtype)
        for step, matrix, row in self._zipped():
            step.stored.store(initial[f"{step.layer.name}.weight"], matrix)
            row.copy_(initial[f"{step.layer.name}.bias"])
        self._inputs: list[Tensor] = []
        self._fresh = True

    def _zipped(self) -> Iterator[tuple[_Conv | _Dense, Tensor, Tensor]]:
        return zip(self._steps, self._matrices, self._rows, strict=True)

    def groups(self, *, biases: bool) -> tuple[list[Tensor], list[Tensor]]:
        """(penalised, free) tensors, each with its ``grad``."""
        return ([self._weights, self._biases], []) if biases else ([self._weights], [self._biases])

    def clear(self) -> None:
        """Forget the gradients: the next ``backward`` overwrites them."""
        self._fresh = True

    def forward(self, images: Tensor, *, training: bool) -> Tensor:
        """Outputs (N, classes)."""
        self._inputs = [images]
        for step, matrix, row in self._zipped():
            self._inputs.append(step.forward(self._inputs[-1], matrix, row, training=training))
        return self._inputs[-1]

    def backward(self, gradient: Tensor) -> None:
        """Add to the gradients those of the last ``forward``. ``gradient`` (N, classes) is overwritten."""
        into: Tensor | None = gradient
        for number in reversed(range(len(self._steps))):
            assert into is not None
            out = Out(self._matrix_gradients[number], self._row_gradients[number], fresh=self._fresh)
            into = self._steps[number].backward(into, self._inputs[number], self._matrices[number], out)
        self._fresh = False

    def weights(self) -> OrderedDict[str, Tensor]:
        """Layer name → its weights, in the order in which they are stored."""
        return OrderedDict((step.layer.name, matrix) for step, matrix, _ in self._zipped())

    def weight_gradients(self) -> list[Tensor]:
        """The gradients of ``weights``, in its order."""
        return self._matrix_gradients

    def parameters(self) -> OrderedDict[str, Tensor]:
        """Name → copy of the value, in torch's shapes and order."""
        found: OrderedDict[str, Tensor] = OrderedDict()
        for step, matrix, row in self._zipped():
            found[f"{step.layer.name}.weight"] = step.stored.logical(matrix, step.layer.weight_shape).clone()
            found[f"{step.layer.name}.bias"] = row.clone()
        return found


def _nchw(activations: Tensor) -> Tensor:
    """(N, Y, X, C) as the channels_last (N, C, Y, X) that torch's image operations expect."""
    return activations.permute(0, 3, 1, 2)


def _flat(shapes: Sequence[tuple[int, ...]], dtype: torch.dtype) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """One flat tensor with its ``grad``, and both cut into views of the shapes."""
    sizes = [prod(shape) for shape in shapes]
    flat = torch.zeros(sum(sizes), dtype=dtype)
    flat.grad = torch.zeros_like(flat)
    cut = [
        [part.view(shape) for part, shape in zip(torch.split(tensor, sizes), shapes, strict=True)]
        for tensor in (flat, flat.grad)
    ]
    return flat, cut[0], cut[1]
