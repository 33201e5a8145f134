import math

import pytest
import torch

from lamsearch.config import LossConfig
from lamsearch.loss import data_loss, decay, decoupled_decay, image_losses, penalty, regularised_loss, sign_strength

OUTPUTS = torch.tensor([[1.0, 0.0, -1.0], [0.2, 0.3, 0.5]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])
WEIGHTS = [torch.tensor([[1.0, -2.0]], dtype=torch.float64), torch.tensor([0.0, 3.0], dtype=torch.float64)]
PENALTIES = ["l2", "l1", "elastic_net", "decoupled"]


def loss_of(name: str) -> LossConfig:
    return LossConfig(penalty=name, l1_ratio=0.25)


def test_mse_is_the_articles_half_mean_squared_distance_to_the_one_hot_label():
    one_hot = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])
    by_hand = ((OUTPUTS - one_hot) ** 2).sum() / (2 * 2)
    assert float(data_loss(OUTPUTS, LABELS, "mse")) == pytest.approx(float(by_hand), abs=1e-15)


def test_cross_entropy_is_minus_log_softmax():
    by_hand = -math.log(math.e / (math.e + 1 + 1 / math.e))
    assert float(image_losses(OUTPUTS, LABELS, "cross_entropy")[0]) == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "value"),
    [("l2", 0.5 * 14), ("l1", 6), ("elastic_net", 0.25 * 6 + 0.75 * 0.5 * 14), ("decoupled", 0)],
)
def test_penalties_multiply_lam_over_m(name, value):
    assert float(penalty(WEIGHTS, 0.1, loss_of(name))) == pytest.approx(0.1 * value, abs=1e-15)


@pytest.mark.parametrize("name", PENALTIES)
def test_the_two_strengths_are_the_gradient_of_the_penalty(name):
    weights = [weight.clone().requires_grad_() for weight in WEIGHTS]
    total = penalty(weights, 0.1, loss_of(name))
    gradients = torch.autograd.grad(total, weights)
    for weight, gradient in zip(WEIGHTS, gradients, strict=True):
        by_rule = decay(loss_of(name), 0.1) * weight + sign_strength(loss_of(name), 0.1) * weight.sign()
        assert torch.equal(gradient, by_rule)


def test_decoupled_decay_is_no_part_of_the_loss():
    parts = regularised_loss(OUTPUTS, LABELS, WEIGHTS, 0.1, loss_of("decoupled"))
    assert float(parts.penalty) == 0
    assert float(parts.regularised) == float(parts.data)
    assert decoupled_decay(loss_of("decoupled"), 0.1) == 0.1
    assert decoupled_decay(loss_of("l2"), 0.1) == 0


def test_regularised_is_data_plus_penalty():
    parts = regularised_loss(OUTPUTS, LABELS, WEIGHTS, 0.1, loss_of("l2"))
    assert float(parts.regularised) == pytest.approx(float(data_loss(OUTPUTS, LABELS, "cross_entropy")) + 0.7)
