"""The stack at work: gather, forward, backward and update for all members, and the sums of an epoch.

On CUDA a full step is captured once as a graph and replayed (torch.cuda.CUDAGraph), which takes the launches of
some hundred small kernels off the host. Where capturing fails, and everywhere else, the same step runs plainly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lamsearch import loss as losses
from lamsearch.architecture import Layer
from lamsearch.problem import Interrupted, Problem
from lamsearch.stacked import Rates, StackedOptimiser, stacked_forward
from lamsearch.tables import EpochTable

CHUNK = 256
"""Most images per fold in one forward pass where the batch is not the study's."""
STOP_CHECK_STEPS = 50
WARM_UP_STEPS = 3
"""Plain steps before a capture: libraries choose their kernels and workspaces meanwhile."""


class Stack:
    """M members in training. ``loss`` and ``correct`` (M,) and ``norms`` (M, layers) sum over the current epoch."""

    def __init__(self, problem: Problem, layers: Sequence[Layer], optimiser: StackedOptimiser) -> None:
        self.optimiser = optimiser
        self._problem, self._layers = problem, layers
        self._fresh()

    def _fresh(self) -> None:
        """Sums for the present number of members; graphs of another number are void."""
        n = len(next(iter(self.optimiser.parameters.values())))
        zeros = torch.zeros(n, dtype=self._problem.dtype, device=self._problem.device)
        self.loss, self.correct, self.norms = zeros, zeros.clone(), zeros.new_zeros(n, len(self._layers))
        self._graph: _Graph | None = None
        self._plain_steps = 0
        self._capturable = self._problem.device.type == "cuda"

    def keep(self, rows: Sequence[int]) -> None:
        """Compact to some members."""
        self.optimiser.keep(torch.tensor(list(rows), dtype=torch.int64, device=self._problem.device))
        self._fresh()

    def train(self, table: EpochTable, stop: Callable[[], bool] | None) -> None:
        """All steps of an epoch. Raises Interrupted once ``stop()`` is true."""
        for sums in (self.loss, self.correct, self.norms):
            sums.zero_()
        for number in range(table.n_steps):
            if stop is not None and number % STOP_CHECK_STEPS == 0 and stop():
                raise Interrupted
            if self._capturable and table.is_full(number):
                self._replay(table, number)
            else:
                self._step(table.chunks(number), table.rates(number), table.lane, table.counts(number))

    def outputs(self, index: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Outputs (M, B, classes) for the images at ``index`` (F, B) and their true labels (F, B)."""
        images, labels = self._gather(index, self._problem.labels)
        return stacked_forward(self._layers, self.optimiser.parameters, images, counts), labels

    def losses(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Data losses (M, B) and their gradients (M, B, classes) for ``labels`` (M, B)."""
        each, gradient = losses.with_gradient(outputs.flatten(0, 1), labels.flatten(), self._problem.loss.data)
        return each.view(labels.shape), gradient.view(outputs.shape)

    def _step(
        self, chunks: Sequence[tuple[Tensor, Tensor]], rates: Rates, lanes: Tensor, counts: Sequence[int]
    ) -> None:
        gradients: dict[str, Tensor] = {}
        n = sum(counts)
        lane = lanes[:n]
        leaves = {name: value[:n].detach().requires_grad_() for name, value in self.optimiser.parameters.items()}
        for index, weight in chunks:
            images, labels = self._gather(index, self._problem.train_labels)
            with torch.enable_grad():
                outputs = stacked_forward(self._layers, leaves, images, counts)
            each, gradient = self.losses(outputs.detach(), labels[lane])
            weights = weight[lane]  # (M, B): 1/n for the images of a member's batch, 0 for padding
            found = torch.autograd.grad(outputs, list(leaves.values()), gradient * weights.unsqueeze(-1))
            for name, part in zip(leaves, found, strict=True):
                gradients[name] = gradients[name] + part if name in gradients else part
            real = (weights > 0).to(each.dtype)
            self.loss[:n] += (each * real).sum(1)
            self.correct[:n] += ((outputs.detach().argmax(-1) == labels[lane]) * real).sum(1)
        norms = [gradients[f"{layer.name}.weight"].flatten(1).norm(dim=1) for layer in self._layers]
        self.norms[:n] += torch.stack(norms, dim=1)
        self.optimiser.step(gradients, rates, counts)

    def _replay(self, table: EpochTable, number: int) -> None:
        (index, weight), rates = table.chunks(number)[0], table.rates(number)
        # Everything that the step reads and this stack does not own goes in as an input: a graph remembers addresses.
        inputs = [index, weight, table.lane, rates.step, rates.root, rates.shrink, rates.number]
        counts = table.counts(number)

        def step(index: Tensor, weight: Tensor, lanes: Tensor, *numbers: Tensor) -> None:
            rates = Rates(step=numbers[0], root=numbers[1], shrink=numbers[2], number=numbers[3])
            self._step([(index, weight)], rates, lanes, counts)

        if self._graph is None:
            step(*inputs)
            self._plain_steps += 1
            if self._plain_steps >= WARM_UP_STEPS:
                try:
                    self._graph = _Graph(step, inputs)
                except RuntimeError:  # an operation that cannot be captured: the plain step stays
                    self._capturable = False
        else:
            self._graph(inputs)

    def _gather(self, index: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images (F, B, C, Y, X) and labels (F, B) of ``index`` (F, B)."""
        _, rows, columns = self._problem.seen
        images = self._problem.images.index_select(0, index.flatten())[:, :, :rows, :columns]
        return images.view(*index.shape, *images.shape[1:]), labels.index_select(0, index.flatten()).view(index.shape)


class _Graph:
    """A captured call of ``function``: inputs are copied into the memory that it was captured with."""

    def __init__(self, function: Callable[..., None], inputs: Sequence[Tensor]) -> None:
        self._inputs = [tensor.clone() for tensor in inputs]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):  # records, runs nothing
            function(*self._inputs)

    def __call__(self, inputs: Sequence[Tensor]) -> None:
        for own, tensor in zip(self._inputs, inputs, strict=True):
            own.copy_(tensor, non_blocking=True)
        self._graph.replay()
