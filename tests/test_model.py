import math
import textwrap

import pytest
import torch

from lamsearch import model as models
from lamsearch.errors import InputError
from lamsearch.model import Network, build, layers_of, n_penalised, penalised, weights

CIFAR = (3, 32, 32)


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    """Writes a module into the current folder and returns its import name."""
    monkeypatch.chdir(tmp_path)
    count = iter(range(100))

    def write(code: str) -> str:
        name = f"usermodel_{tmp_path.name.replace('-', '_')}_{next(count)}"
        (tmp_path / f"{name}.py").write_text("from torch import nn\n" + textwrap.dedent(code))
        return name

    return write


def test_m_of_the_articles_network_is_315488():
    network = build("cnn", CIFAR, 10, seed=0)
    assert sum(value.numel() for value in penalised(network, biases=False).values()) == 315_488
    assert sum(value.numel() for value in penalised(network, biases=True).values()) == 315_722
    assert sum(value.numel() for value in network.parameters()) == 315_722
    assert n_penalised("cnn", CIFAR, 10, biases=False) == 315_488
    assert n_penalised("cnn", CIFAR, 10, biases=True) == 315_722


def test_weights_are_named_after_layers():
    assert list(weights(build("cnn", CIFAR, 10, seed=0))) == ["conv1", "conv2", "dense1", "dense2"]
    assert list(weights(build("linear", CIFAR, 10, seed=0))) == ["dense"]


def test_pooling_before_relu_is_identical():
    images = torch.randn(8, *CIFAR, generator=torch.Generator().manual_seed(1))
    images[:, :, 8:20, 8:20] = 0.5  # flat areas: ties among the four pixels of a pool
    outputs, gradients = [], []
    for pool_first in (True, False):
        network = build("cnn", CIFAR, 10, seed=0, pool_first=pool_first).double()
        output = network(images.double())
        outputs.append(output)
        gradients.append(torch.autograd.grad(output.square().sum(), list(network.parameters())))
    assert torch.equal(*outputs)
    for left, right in zip(*gradients, strict=True):
        assert float((left - right).norm()) <= 1e-12 * float(right.norm())


def test_the_seed_alone_decides_the_initial_weights():
    torch.manual_seed(1)
    first = build("cnn", CIFAR, 10, seed=5)
    torch.manual_seed(2)
    again, other = build("cnn", CIFAR, 10, seed=5, pool_first=False), build("cnn", CIFAR, 10, seed=6)
    for left, right, different in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right)
        assert not torch.equal(left, different)


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build("cnn", CIFAR, 10, seed=5)
    assert torch.equal(torch.rand(1), expected)


def test_initial_weights_lie_within_one_over_root_fan_in():
    network = build("cnn", CIFAR, 10, seed=0)
    assert isinstance(network, Network)
    for layer, weight in zip(layers_of("cnn", CIFAR, 10) or (), weights(network).values(), strict=True):
        bound = 1 / math.sqrt(math.prod(layer.weight_shape[1:]))
        assert float(weight.abs().max()) <= bound
        assert float(weight.abs().max()) > 0.9 * bound


def test_a_user_model_is_imported_from_the_current_folder(user_module):
    name = user_module("""
        def net(shape, n_classes):
            c, h, w = shape
            return nn.Sequential(nn.Conv2d(c, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(n_classes))
    """)
    network = build(f"{name}:net", (1, 5, 5), 3, seed=0)
    assert network(torch.zeros(2, 1, 5, 5)).shape == (2, 3)
    # the scale of the normalisation has one axis and is not penalised; its bias only on request
    assert n_penalised(f"{name}:net", (1, 5, 5), 3, biases=False) == 4 * 9 + 3 * 36
    assert n_penalised(f"{name}:net", (1, 5, 5), 3, biases=True) == 4 * 9 + 3 * 36 + 4 + 4 + 3


@pytest.mark.parametrize(
    ("code", "function", "message"),
    [
        ("net = 3", "net", "has no function 'net'"),
        ("def net(shape, n_classes): return 1 / 0", "net", "failed on shape.*ZeroDivisionError"),
        ("def net(shape, n_classes): return 7", "net", "must return a torch.nn.Module, got int"),
        ("def net(shape, n_classes): return nn.Sequential(nn.Flatten(), nn.Linear(25, 4))", "net", r"\(2, 3\), got"),
        ("def net(shape, n_classes): return nn.Linear(7, 3)", "net", "failed on two images.*RuntimeError"),
        ("import nosuchmodule", "net", "cannot be imported.*nosuchmodule"),
    ],
)
def test_an_unusable_user_model_is_one_clear_line(user_module, code, function, message):
    with pytest.raises(InputError, match=message) as caught:
        build(f"{user_module(code)}:{function}", (1, 5, 5), 3, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["resnet", "nosuchmodule_here:net", ":net", "module:"])
def test_an_unknown_model_is_refused(kind):
    with pytest.raises(InputError, match=r"module:function|cannot be imported"):
        build(kind, (1, 5, 5), 3, seed=0)


def test_a_model_without_weights_is_refused(user_module):
    name = user_module("def net(shape, n_classes): return nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(n_classes))")
    with pytest.raises(InputError, match="no trainable weights"):
        n_penalised(f"{name}:net", (1, 5, 5), 3, biases=False)


def test_norms_are_finite_whatever_the_weights_are():
    network = build("linear", (1, 5, 5), 3, seed=0)
    with torch.no_grad():
        network.get_submodule("dense").weight[0, 0] = float("nan")
    found = models.norms(weights(network), list(network.parameters()), {"dense": float("inf")})
    assert (found.weight_norm, found.layer_norms["dense"], found.grad_norms["dense"]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("side", "seen"), [(32, 30), (28, 26), (16, 14), (30, 30), (10, 10)])
def test_pixels_beyond_what_is_seen_have_no_effect(side, seen):
    layers = layers_of("cnn", (1, side, side), 3)
    assert models.seen(layers, (1, side, side)) == (1, seen, seen)
    network = build("cnn", (1, side, side), 3, seed=0)
    images = torch.randn(2, 1, side, side)
    other = images.clone()
    other[:, :, seen:], other[:, :, :, seen:] = 7.0, -7.0
    assert torch.equal(network(images), network(other))
    if seen == side:
        other[:, :, -1, -1] += 100
        assert not torch.equal(network(images), network(other))


def test_the_linear_model_sees_every_pixel():
    assert models.seen(layers_of("linear", (3, 7, 8), 3), (3, 7, 8)) == (3, 7, 8)
