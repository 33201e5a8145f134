"""The networks: the article's CNN and the linear model from their ``Layer`` data, user models by import path.

Initial weights are torch's defaults (U(±1/√fan_in)), drawn on the CPU in float32 from the fold's seed: the
same for every λ, device and precision.
"""

from __future__ import annotations

import importlib
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from lamsearch import architecture
from lamsearch.architecture import Layer
from lamsearch.batches import seeded
from lamsearch.errors import InputError
from lamsearch.evidence import NEAR_ZERO, Norms

Shape = tuple[int, int, int]


class Network(nn.Module):
    """A chain of layers on images (N, C, H, W) → outputs (N, classes).

    ``pool_first`` puts max-pooling before ReLU. Both are monotone, so outputs and gradients are identical, and
    the ReLU then has a quarter of the work.
    """

    def __init__(self, layers: Sequence[Layer], *, pool_first: bool) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.pool_first = pool_first
        for layer in self.layers:
            conv = layer.kind == "conv"
            self.add_module(
                layer.name,
                nn.Conv2d(layer.n_in, layer.n_out, layer.kernel) if conv else nn.Linear(layer.n_in, layer.n_out),
            )

    def forward(self, images: Tensor) -> Tensor:
        """Outputs (N, classes) of images (N, C, H, W)."""
        hidden = images
        for layer in self.layers:
            if layer.kind == "dense" and hidden.dim() > 2:
                hidden = hidden.flatten(1)
            hidden = self.get_submodule(layer.name)(hidden)
            if layer.pool and self.pool_first:
                hidden = functional.max_pool2d(hidden, 2)
            if layer.relu:
                hidden = functional.relu(hidden)
            if layer.pool and not self.pool_first:
                hidden = functional.max_pool2d(hidden, 2)
        return hidden


def layers_of(kind: str, shape: Shape, n_classes: int) -> tuple[Layer, ...] | None:
    """The layers of a built-in network; None for a user model."""
    return architecture.layers(kind, shape, n_classes) if kind in architecture.KINDS else None


def build(kind: str, shape: Shape, n_classes: int, *, seed: int, pool_first: bool = True) -> nn.Module:
    """The network of ``ModelConfig.kind`` with the initial weights of a fold's seed (CPU, float32).

    Raises InputError for a user model that cannot be imported or does not return one output per class.
    """
    with seeded(torch.device("cpu"), "weights", seed):
        layers = layers_of(kind, shape, n_classes)
        if layers is not None:
            return Network(layers, pool_first=pool_first)
        return _user_model(kind, shape, n_classes)


def penalised(model: nn.Module, *, biases: bool) -> OrderedDict[str, Tensor]:
    """Name → tensor that λ multiplies: weights with two or more axes, and the biases too when asked.

    One-axis weights (the scales of normalisation layers) are never penalised.
    """
    return OrderedDict(
        (name, value)
        for name, value in model.named_parameters()
        if value.requires_grad and (biases if _is_bias(name) else value.dim() >= 2)
    )


def weights(model: nn.Module) -> OrderedDict[str, Tensor]:
    """Layer name → its weight tensor, without biases: what per-layer evidence is about."""
    return OrderedDict((name.removesuffix(".weight"), value) for name, value in penalised(model, biases=False).items())


def norms(weights: Mapping[str, Tensor], penalised: Sequence[Tensor], grad_norms: Mapping[str, float]) -> Norms:
    """Sizes of the weights (by layer) and of all that is penalised, as they are now; what is not finite becomes 0."""
    every = torch.cat([value.detach().flatten() for value in penalised])
    return Norms(
        weight_norm=_finite(float(every.norm())),
        near_zero=float((every.abs() < NEAR_ZERO).double().mean()),
        layer_norms={name: _finite(float(value.detach().norm())) for name, value in weights.items()},
        grad_norms={name: _finite(value) for name, value in grad_norms.items()},
    )


def seen(layers: Sequence[Layer], shape: Shape) -> Shape:
    """The part (C, H, W) of an image, from its upper left corner, that can reach the outputs.

    A 2×2 pool over an odd number of rows ignores the last one, so valid padding leaves borders without any
    effect: cutting them off first changes nothing and saves 13 % of the article's network at 32×32, 27 % at 28×28.
    """
    channels, *sides = shape
    cut = []
    for side in sides:
        sizes = [side]
        for layer in layers:
            if layer.kind == "conv":
                sizes.append((sizes[-1] - layer.kernel + 1) // (2 if layer.pool else 1))
        needed = sizes[-1]
        for layer in reversed(layers):
            if layer.kind == "conv":
                needed = needed * (2 if layer.pool else 1) + layer.kernel - 1
        cut.append(needed)
    return (channels, cut[0], cut[1])


def n_penalised(kind: str, shape: Shape, n_classes: int, *, biases: bool) -> int:
    """m: how many numbers λ multiplies. Builds the model only if it is a user's. Raises InputError."""
    layers = layers_of(kind, shape, n_classes)
    if layers is not None:
        return architecture.n_penalised(layers, biases=biases)
    m = sum(value.numel() for value in penalised(build(kind, shape, n_classes, seed=0), biases=biases).values())
    if not m:
        raise InputError(f"model {kind!r} has no trainable weights to penalise")
    return m


def _finite(value: float) -> float:
    return value if isfinite(value) else 0.0


def _is_bias(name: str) -> bool:
    return name.rpartition(".")[2].startswith("bias")


def _user_model(path: str, shape: Shape, n_classes: int) -> nn.Module:
    function = _import(path)
    try:
        model = function(shape, n_classes)
    except Exception as error:
        raise InputError(f"model {path!r} failed on shape {shape}, {n_classes} classes: {_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"model {path!r} must return a torch.nn.Module, got {type(model).__name__}")
    training = model.training
    try:
        with torch.no_grad():
            outputs = model.eval()(torch.zeros(2, *shape))
    except Exception as error:
        raise InputError(f"model {path!r} failed on two images of shape {shape}: {_line(error)}") from error
    model.train(training)
    if not isinstance(outputs, Tensor) or tuple(outputs.shape) != (2, n_classes):
        got = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(f"model {path!r} must map 2 images to outputs of shape (2, {n_classes}), got {got}")
    return model


def _import(path: str) -> Callable[[Shape, int], object]:
    module_name, colon, function_name = path.partition(":")
    if not (colon and module_name and function_name):
        raise InputError(f"model.kind = {path!r}: use 'cnn', 'linear' or 'module:function'")
    here = str(Path.cwd())
    sys.path.insert(0, here)  # as `python script.py` would: the user's module lies in the current folder
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise InputError(f"model {path!r} cannot be imported from {here}: {_line(error)}") from error
    finally:
        sys.path.remove(here)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise InputError(f"model {path!r}: module {module_name} has no function {function_name!r}")
    return function  # type: ignore[no-any-return]


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
