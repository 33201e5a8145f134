"""What runs one network forward and backward: by hand where that is fastest, by autograd everywhere else."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

import torch
from torch import Tensor, nn

from lamsearch import environment
from lamsearch import model as models
from lamsearch.chain import Chain
from lamsearch.problem import Problem


class Engine(Protocol):
    """A network with parameters and gradients, for one member."""

    def groups(self, *, biases: bool) -> tuple[list[Tensor], list[Tensor]]:
        """(penalised, free) tensors, each with its ``grad`` after ``backward``."""

    def clear(self) -> None:
        """Forget the gradients."""

    def forward(self, images: Tensor, *, training: bool) -> Tensor:
        """Outputs (N, classes) of images (N, C, H, W)."""

    def backward(self, gradient: Tensor) -> None:
        """Add to the gradients those of the last ``forward``, given the loss's gradient by its outputs."""

    def weights(self) -> OrderedDict[str, Tensor]:
        """Layer name → its weights."""

    def weight_gradients(self) -> list[Tensor]:
        """The gradients of ``weights``, in its order."""

    def parameters(self) -> OrderedDict[str, Tensor]:
        """Name → copy of the value."""


class Autograd:
    """Any ``nn.Module``, on any device."""

    def __init__(self, model: nn.Module, *, channels_last: bool) -> None:
        self._model = model
        # A user's model may reshape its activations in ways that only the default layout allows.
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        model.to(memory_format=self._layout)
        self._outputs: Tensor | None = None

    def groups(self, *, biases: bool) -> tuple[list[Tensor], list[Tensor]]:
        """(penalised, free) parameters."""
        penalised = list(models.penalised(self._model, biases=biases).values())
        ids = {id(value) for value in penalised}
        return penalised, [value for value in self._model.parameters() if id(value) not in ids]

    def clear(self) -> None:
        """Forget the gradients."""
        self._model.zero_grad(set_to_none=True)

    def forward(self, images: Tensor, *, training: bool) -> Tensor:
        """Outputs (N, classes)."""
        if self._model.training != training:
            self._model.train(training)
        with torch.set_grad_enabled(training):
            self._outputs = self._model(images.contiguous(memory_format=self._layout))
        return self._outputs.detach()

    def backward(self, gradient: Tensor) -> None:
        """Add to the gradients those of the last ``forward``."""
        assert self._outputs is not None
        self._outputs.backward(gradient)  # type: ignore[no-untyped-call]
        self._outputs = None

    def weights(self) -> OrderedDict[str, Tensor]:
        """Layer name → its weights."""
        return OrderedDict((name, value.detach()) for name, value in models.weights(self._model).items())

    def weight_gradients(self) -> list[Tensor]:
        """The gradients of ``weights``; zero where a layer takes no part in the outputs."""
        values = models.weights(self._model).values()
        return [torch.zeros_like(value) if value.grad is None else value.grad for value in values]

    def parameters(self) -> OrderedDict[str, Tensor]:
        """Name → copy of the value."""
        return OrderedDict((name, value.detach().clone()) for name, value in self._model.named_parameters())


LARGE_PIXELS = 24 * 24
"""Images of so many pixels and more are large: torch's AVX-512 convolutions then beat ``Chain`` on AMD's cores."""


def by_hand(problem: Problem) -> bool:
    """True where ``Chain`` is faster: the built-in networks on a CPU, except for large images on AMD's AVX-512 cores.

    A rule, not a measurement: a fold fit must give the same bits whenever it is repeated on the same type of CPU.
    """
    if problem.layers is None or problem.device.type != "cpu":
        return False
    large = problem.shape[1] * problem.shape[2] >= LARGE_PIXELS and problem.layers[0].kind == "conv"
    return not (large and "AVX512" in torch.backends.cpu.get_cpu_capability() and "AMD" in environment.cpu())


def engine_for(problem: Problem, seed: int) -> Engine:
    """The engine of a member whose fold has this seed."""
    model = models.build(problem.model.kind, problem.shape, problem.n_classes, seed=seed)
    model.to(problem.device, problem.dtype)
    if not by_hand(problem) or problem.layers is None:
        return Autograd(model, channels_last=problem.layers is not None)
    return Chain(problem.layers, models.seen(problem.layers, problem.shape), model.state_dict())
