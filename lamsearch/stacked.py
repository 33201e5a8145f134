"""M networks as one: parameters stacked on a leading axis, forward, and one optimiser step for all.

Axes: M member, F fold, B image of a batch, C channel, Y X position, K input, O output. Members of a fold are
adjacent and share its batch, so the first layer is one dense convolution per fold; later ones are grouped
convolutions and batched matrix products (the ops of HFTA, Wang et al. 2021). λ/m and the learning rate are
tensors (M,); nothing here waits for the device.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lamsearch import loss as losses
from lamsearch.architecture import Layer
from lamsearch.config import LossConfig, TrainingConfig
from lamsearch.optimiser import BETAS, EPS


def stacked_forward(
    layers: Sequence[Layer], parameters: Mapping[str, Tensor], images: Tensor, counts: Sequence[int]
) -> Tensor:
    """Outputs (M, B, classes). ``images`` (F, B, C, Y, X); ``counts``: members of each fold; parameters (M, …)."""
    n_members, hidden = sum(counts), images
    shared = True  # until the first layer has run, members of a fold share their activations
    for layer in layers:
        weight, bias = parameters[f"{layer.name}.weight"], parameters[f"{layer.name}.bias"]
        if layer.kind == "conv":
            hidden = _first_conv(hidden, weight, counts) if shared else _conv(hidden, weight)
            # The bias comes after pooling: rounding is monotone, so the result is the same, for a quarter of the work.
            hidden = _Pool.apply(hidden) if layer.pool else hidden
            hidden = hidden + bias.view(-1, 1, 1)
        else:  # hidden (M, K, B): the weights' gradients then come in their own layout
            if shared:
                folds = zip(hidden.flatten(2), counts, strict=True)
                hidden = torch.cat([fold.t().expand(count, -1, -1) for fold, count in folds])
            elif hidden.dim() == 4:  # (B, M·C, Y, X)
                hidden = hidden.reshape(len(hidden), n_members, -1).permute(1, 2, 0)
            hidden = torch.baddbmm(bias.unsqueeze(2), weight, hidden)
        shared = False
        hidden = functional.relu(hidden) if layer.relu else hidden
    return hidden.transpose(1, 2)


class _Pool(torch.autograd.Function):
    """2×2 max-pooling. Windows do not overlap, so the backward pass is a scatter: torch's own, made for windows
    that do, takes a fifth of a step on a GPU."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor) -> Tensor:
        pooled, winners = functional.max_pool2d_with_indices(hidden, [2, 2])
        ctx.save_for_backward(winners)
        ctx.shape = hidden.shape
        return pooled

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (winners,) = ctx.saved_tensors
        found = gradient.new_zeros(ctx.shape)
        found.flatten(2).scatter_(2, winners.flatten(2), gradient.flatten(2))
        return found


def _first_conv(images: Tensor, weight: Tensor, counts: Sequence[int]) -> Tensor:
    """(F, B, C, Y, X) → (B, M·O, Y, X): each fold's images once, whatever the number of its members."""
    if len(set(counts)) == 1:
        together = images.transpose(0, 1).flatten(1, 2)
        return functional.conv2d(together, weight.flatten(0, 1), groups=len(counts))
    folds = zip(images, torch.split(weight, list(counts)), strict=True)
    return torch.cat([functional.conv2d(fold, own.flatten(0, 1)) for fold, own in folds], dim=1)


def _conv(hidden: Tensor, weight: Tensor) -> Tensor:
    """(B, M·C, Y, X) → (B, M·O, Y, X), each member its own group."""
    return functional.conv2d(hidden, weight.flatten(0, 1), groups=len(weight))


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Numbers of one step. Per member, (M,): ``step`` = lr (over Adam's first bias correction), ``root`` = the root
    of its second, ``shrink`` = 1 − lr · decoupled decay. Per fold, (F,): ``number`` of the step, from 1."""

    step: Tensor
    root: Tensor
    shrink: Tensor
    number: Tensor


class StackedOptimiser:
    """Adam, AdamW, SGD or plain descent on stacked parameters, the penalty's gradient included.

    ``lr``: the learning rate that all members share, for torch's fused Adam; None if they have rates of their own.
    """

    def __init__(
        self,
        parameters: OrderedDict[str, Tensor],
        penalised: Sequence[str],
        lam_over_m: Tensor,
        loss: LossConfig,
        training: TrainingConfig,
        lr: float | None,
    ) -> None:
        self.parameters, self._penalised, self._training = parameters, frozenset(penalised), training
        self._decay = lam_over_m * losses.decay(loss, 1.0)
        self._signs = lam_over_m * losses.sign_strength(loss, 1.0)
        self._has = (losses.decay(loss, 1.0) > 0, losses.sign_strength(loss, 1.0) > 0)
        self._firsts = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self._seconds = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self._fused_lr = lr if training.optimiser in ("adam", "adamw") else None

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], rates: Rates, counts: Sequence[int]) -> None:
        """Update the first rows, as many as the gradients of the data loss have; later members rest."""
        complete = {name: self._penalty(name, gradient, rates).contiguous() for name, gradient in gradients.items()}
        if self._fused_lr is not None:
            self._fused_adam(complete, self._fused_lr, rates.number, counts)
            return
        for name, gradient in complete.items():
            n = len(gradient)
            value, first, second = (tensors[name][:n] for tensors in (self.parameters, self._firsts, self._seconds))
            value.sub_(_column(rates.step[:n], value) * self._direction(gradient, first, second, rates.root[:n]))

    def _penalty(self, name: str, gradient: Tensor, rates: Rates) -> Tensor:
        """The gradient with the penalty's; a decoupled one acts on the weights at once."""
        if name not in self._penalised:
            return gradient
        n, value = len(gradient), self.parameters[name][: len(gradient)]
        if self._has[0]:
            gradient = torch.addcmul(gradient, _column(self._decay[:n], value), value)
        if self._has[1]:
            gradient = torch.addcmul(gradient, _column(self._signs[:n], value), value.sign())
        if self._training.optimiser == "adamw":
            value.mul_(_column(rates.shrink[:n], value))
        return gradient

    def _fused_adam(self, gradients: Mapping[str, Tensor], lr: float, number: Tensor, counts: Sequence[int]) -> None:
        """torch's kernel, with which a step reads and writes everything once. Folds differ in the number of steps."""
        values, grads, firsts, seconds = (
            [part for name in gradients for part in torch.split(tensors[name][: sum(counts)], list(counts))]
            for tensors in (self.parameters, gradients, self._firsts, self._seconds)
        )
        numbers = [number[fold] for _ in gradients for fold in range(len(counts))]
        torch._fused_adam_(
            values,
            grads,
            firsts,
            seconds,
            [],
            numbers,
            lr=lr,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=0.0,
            eps=EPS,
            amsgrad=False,
            maximize=False,
        )

    def _direction(self, gradient: Tensor, first: Tensor, second: Tensor, root: Tensor) -> Tensor:
        if self._training.optimiser == "gd":
            return gradient
        if self._training.optimiser == "sgd":
            return first.mul_(self._training.momentum).add_(gradient)
        first.lerp_(gradient, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        return first / (second.sqrt() / _column(root, second) + EPS)

    def keep(self, rows: Tensor) -> None:
        """Compact everything to some rows, in their order."""
        for tensors in (self.parameters, self._firsts, self._seconds):
            for name in list(tensors):
                tensors[name] = tensors[name].index_select(0, rows)
        self._decay, self._signs = self._decay.index_select(0, rows), self._signs.index_select(0, rows)


def _column(numbers: Tensor, like: Tensor) -> Tensor:
    return numbers.view(-1, *(1,) * (like.dim() - 1))
