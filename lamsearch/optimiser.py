"""Parameter updates of one model: torch's fused kernels, called directly.

``torch.optim`` would give the same numbers. It also imports its compiler when an optimiser is made, which takes
two seconds per process, and spends a tenth of a small model's step on bookkeeping.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lamsearch import loss as losses
from lamsearch.config import LossConfig, TrainingConfig

BETAS = (0.9, 0.999)
EPS = 1e-8


class Optimiser:
    """Adam, AdamW, SGD with momentum or plain gradient descent over (penalised, free) tensors with ``grad``.

    The coupled λ/m · w (exactly the kernels' ``weight_decay``), or AdamW's decoupled decay, acts on the
    penalised tensors only. Other penalties' share of the gradient must already be in ``grad``.
    """

    def __init__(
        self,
        penalised: Sequence[Tensor],
        free: Sequence[Tensor],
        lam_over_m: float,
        loss: LossConfig,
        training: TrainingConfig,
    ) -> None:
        self._training = training
        decay = losses.decoupled_decay(loss, lam_over_m) or losses.decay(loss, lam_over_m)
        groups = ((list(penalised), decay), (list(free), 0.0))
        self._groups = [
            (tensors, [_state(tensor) for tensor in tensors], decay) for tensors, decay in groups if tensors
        ]
        self._first = True

    def step(self) -> None:
        """One update from the tensors' ``grad``. Tensors without one are left alone."""
        for tensors, states, decay in self._groups:
            kept = [(tensor, *state) for tensor, state in zip(tensors, states, strict=True) if tensor.grad is not None]
            if kept:
                values, firsts, seconds, steps = (list(column) for column in zip(*kept, strict=True))
                self._update(values, firsts, seconds, steps, decay)
        self._first = False

    def _update(
        self,
        values: list[Tensor],
        firsts: list[Tensor],
        seconds: list[Tensor],
        steps: list[Tensor],
        decay: float,
    ) -> None:
        training, grads = self._training, [value.grad for value in values if value.grad is not None]
        if training.optimiser in ("adam", "adamw"):
            kernel = torch._fused_adam_ if training.optimiser == "adam" else torch._fused_adamw_
            torch._foreach_add_(steps, 1)
            kernel(
                values,
                grads,
                firsts,
                seconds,
                [],
                steps,
                lr=training.lr,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=decay,
                eps=EPS,
                amsgrad=False,
                maximize=False,
            )
            return
        momentum = training.momentum if training.optimiser == "sgd" else 0.0
        torch._fused_sgd_(
            values,
            grads,
            firsts if momentum else [],
            weight_decay=decay,
            momentum=momentum,
            lr=training.lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=self._first and bool(momentum),
        )


def _state(tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """First and second moment, and the number of steps."""
    zeros = torch.zeros_like(tensor, requires_grad=False)
    return zeros, torch.zeros_like(zeros), torch.zeros((), device=tensor.device)
