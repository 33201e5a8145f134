"""Data losses and penalties: the only place that says what λ multiplies.

The regularised loss of the article, with λ/m written as ``lam_over_m`` and w running over the penalised weights:

    L = data_loss + λ/(2m) Σ w²                            l2
    L = data_loss + λ/m Σ |w|                              l1
    L = data_loss + λ/m (ρ Σ |w| + (1 − ρ)/2 Σ w²)         elastic_net, ρ = ``l1_ratio``
    L = data_loss;  w ← w − lr · λ/m · w beside the step   decoupled (AdamW, Loshchilov & Hutter 2019)

The gradient of every coupled penalty is ``decay`` · w + ``sign_strength`` · sign(w). Trainers that do not
differentiate the penalty use those two numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lamsearch.config import LossConfig


@dataclass(frozen=True, kw_only=True)
class LossParts:
    """The parts of the loss, scalars. ``regularised`` is what is minimised."""

    data: Tensor
    penalty: Tensor

    @property
    def regularised(self) -> Tensor:
        """data + penalty."""
        return self.data + self.penalty


def image_losses(outputs: Tensor, labels: Tensor, kind: str) -> Tensor:
    """Data loss of each image, (N,). ``outputs`` (N, C): logits, or linear outputs for mse. ``labels`` (N,).

    cross_entropy: −log softmax(h)_y. mse: ½ ‖h − y‖², y one-hot: its mean is the article's 1/(2n) Σ ‖h − y‖².
    """
    if kind == "cross_entropy":
        return functional.cross_entropy(outputs, labels, reduction="none")
    return 0.5 * (outputs - functional.one_hot(labels, outputs.shape[-1]).to(outputs.dtype)).square().sum(dim=-1)


def data_loss(outputs: Tensor, labels: Tensor, kind: str) -> Tensor:
    """Mean of ``image_losses``: a scalar."""
    return image_losses(outputs, labels, kind).mean()


def with_gradient(outputs: Tensor, labels: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Data loss of each image, (N,), and the gradient of their sum by the outputs, (N, C).

    The gradient is p − e_y: p the softmax for cross_entropy, the outputs themselves for mse; e_y is one-hot.
    """
    rows = torch.arange(len(labels), device=labels.device)
    if kind == "cross_entropy":
        log_shares = functional.log_softmax(outputs, dim=1)
        gradient = log_shares.exp()
        gradient[rows, labels] -= 1
        return -log_shares[rows, labels], gradient
    gradient = outputs.clone()
    gradient[rows, labels] -= 1
    return 0.5 * gradient.square().sum(dim=1), gradient


def penalty(weights: Sequence[Tensor], lam_over_m: float, loss: LossConfig) -> Tensor:
    """The penalty term, a scalar; 0 for ``decoupled``, which is no part of the loss."""
    total = weights[0].new_zeros(())
    for weight in weights:
        total = total + sign_strength(loss, lam_over_m) * weight.abs().sum()
        total = total + decay(loss, lam_over_m) / 2 * weight.square().sum()
    return total


def regularised_loss(
    outputs: Tensor, labels: Tensor, weights: Sequence[Tensor], lam_over_m: float, loss: LossConfig
) -> LossParts:
    """Both parts for one batch. ``weights``: the penalised tensors (``model.penalised``)."""
    return LossParts(data=data_loss(outputs, labels, loss.data), penalty=penalty(weights, lam_over_m, loss))


def decay(loss: LossConfig, lam_over_m: float) -> float:
    """c in the penalty's gradient c · w: exactly the coupled ``weight_decay`` of torch's SGD and Adam."""
    share = {"l2": 1.0, "l1": 0.0, "elastic_net": 1.0 - loss.l1_ratio, "decoupled": 0.0}[loss.penalty]
    return share * lam_over_m


def sign_strength(loss: LossConfig, lam_over_m: float) -> float:
    """c in the penalty's (sub)gradient c · sign(w), with sign(0) = 0."""
    share = {"l2": 0.0, "l1": 1.0, "elastic_net": loss.l1_ratio, "decoupled": 0.0}[loss.penalty]
    return share * lam_over_m


def decoupled_decay(loss: LossConfig, lam_over_m: float) -> float:
    """c in the decoupled step w ← w − lr · c · w: AdamW's ``weight_decay``."""
    return lam_over_m if loss.penalty == "decoupled" else 0.0
