"""The article's network as data."""

from __future__ import annotations

import pytest

from lamsearch.architecture import SMALLEST, layers, n_penalised
from lamsearch.errors import InputError


def test_m_of_the_article() -> None:
    network = layers("cnn", (3, 32, 32), 10)
    assert n_penalised(network, biases=False) == 315_488
    assert n_penalised(network, biases=True) == 315_722


def test_m_of_the_digits() -> None:
    assert n_penalised(layers("cnn", (1, 16, 16), 10), biases=False) == 52_768


def test_shapes_follow_each_other() -> None:
    conv1, conv2, dense1, dense2 = layers("cnn", (3, 32, 32), 10)
    assert conv1.weight_shape == (32, 3, 3, 3)
    assert conv2.weight_shape == (64, 32, 3, 3)
    assert dense1.weight_shape == (128, 64 * 6 * 6)
    assert dense2.weight_shape == (10, 128)
    assert [layer.bias_shape for layer in (conv1, dense2)] == [(32,), (10,)]
    assert [layer.relu for layer in (conv1, conv2, dense1, dense2)] == [True, True, True, False]
    assert [layer.pool for layer in (conv1, conv2, dense1, dense2)] == [True, True, False, False]


def test_parameters_equal_those_of_the_plain_torch_network() -> None:
    from torch import nn

    plain = nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.LazyLinear(128), nn.ReLU(), nn.Linear(128, 7)),
    )
    import torch

    plain(torch.zeros(1, 1, 21, 30))  # odd sides: the border that a pool cuts off must agree
    shapes = [tuple(parameter.shape) for parameter in plain.parameters()]
    own = [shape for layer in layers("cnn", (1, 21, 30), 7) for shape in (layer.weight_shape, layer.bias_shape)]
    assert own == shapes


def test_linear_is_one_dense_layer() -> None:
    (dense,) = layers("linear", (3, 4, 5), 2)
    assert dense.weight_shape == (2, 60)
    assert not dense.relu
    assert n_penalised([dense], biases=True) == 122


def test_images_too_small_for_the_cnn() -> None:
    assert layers("cnn", (1, SMALLEST, SMALLEST), 2)[2].n_in == 64
    with pytest.raises(InputError, match=r"at least 10×10 pixels, got 9×32; .*linear"):
        layers("cnn", (1, 9, 32), 2)


def test_unknown_network() -> None:
    with pytest.raises(InputError, match=r"model\.kind = 'resnet'.*cnn, linear"):
        layers("resnet", (3, 32, 32), 10)
