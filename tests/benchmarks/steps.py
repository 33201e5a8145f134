"""A training step of each engine and of the plain loop, in turn on one core: why `engine.by_hand` is as it is.

    python -m tests.benchmarks.steps [--kinds digits fashion colour] [--rounds 7] [--compile]

`chain` is the written-out backward pass, `autograd` torch's modules under the same loop, `reference` the plain loop.
With `--compile` the network under autograd is compiled as well (a C++ compiler is needed), and the seconds until its
first step are told. What the machine's own choice is stands beside each kind.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lamsearch import datasets, model
from lamsearch.chain import Chain
from lamsearch.engine import Autograd, Engine, by_hand
from lamsearch.loss import with_gradient
from lamsearch.optimiser import Optimiser
from lamsearch.problem import Problem
from lamsearch.training import problem
from tests.benchmarks.common import save, shown, study, summary

STEPS = 12
"""Steps of one round: a moment, so that all see the same machine."""
LAM_OVER_M = 1e-4


def stepper(engine: Engine, ready: Problem, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """One step of training as the loop does it: forward, loss, backward, optimiser."""
    penalised, free = engine.groups(biases=False)
    optimiser = Optimiser(penalised, free, LAM_OVER_M, ready.loss, ready.training)

    def step() -> None:
        engine.clear()
        outputs = engine.forward(images, training=True)
        _, gradient = with_gradient(outputs, labels, ready.loss.data)
        engine.backward(gradient.div_(len(images)))
        optimiser.step()

    return step


def plain(ready: Problem, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """What everybody writes: the penalty added to the loss, torch's Adam, no layout asked for."""
    network = model.build(ready.model.kind, ready.shape, ready.n_classes, seed=0)
    weights = list(model.weights(network).values())
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)

    def step() -> None:
        adam.zero_grad()
        penalty = sum((weight.pow(2).sum() for weight in weights), torch.zeros(()))
        loss = torch.nn.functional.cross_entropy(network(images), labels) + LAM_OVER_M / 2 * penalty
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()

    return step


def steppers(kind: str, *, compiled: bool) -> tuple[dict[str, Callable[[], None]], str]:
    """Name → a step of 32 images; and which engine this machine would choose."""
    config = study(kind, 1000, epochs=1)
    ready = problem(config, datasets.load(config.data, seed=0))
    batch = torch.from_numpy(ready.search[: ready.training.batch])
    images, labels = ready.images.index_select(0, batch), ready.labels.index_select(0, batch)
    _, rows, columns = ready.seen
    cut = images[:, :, :rows, :columns]
    networks = [model.build(ready.model.kind, ready.shape, ready.n_classes, seed=0) for _ in range(3)]
    layers = ready.layers or ()
    chain = Chain(layers, model.seen(layers, ready.shape), networks[0].state_dict())
    found = {
        "chain": stepper(chain, ready, cut, labels),
        "autograd": stepper(Autograd(networks[1], channels_last=True), ready, cut, labels),
        "plain": plain(ready, images, labels),
    }
    if compiled:
        network = torch.compile(networks[2])
        found["compiled"] = stepper(Autograd(network, channels_last=True), ready, cut, labels)  # type: ignore[arg-type]
    return found, "chain" if by_hand(ready) else "autograd"


def run(kinds: list[str], *, rounds: int, compiled: bool = False) -> dict[str, Any]:
    """Milliseconds per step of each, and the seconds of the first one."""
    torch.set_num_threads(1)
    result: dict[str, Any] = {}
    for kind in kinds:
        steps, chosen = steppers(kind, compiled=compiled)
        first_s = {name: _timed(step, 1) / 1000 for name, step in steps.items()}
        found: dict[str, list[float]] = {name: [] for name in steps}
        for number in range(rounds + 1):
            for name, step in steps.items():
                milliseconds = _timed(step, STEPS)
                if number:  # the first round warms up
                    found[name].append(milliseconds)
        for name, values in found.items():
            first = f", the first {first_s[name]:.1f} s" if name == "compiled" else ""
            print(
                f"{kind} {name}: {shown(values, ' ms')}{first}{' (chosen here)' if name == chosen else ''}", flush=True
            )
        result[kind] = {
            "chosen": chosen,
            "first_s": first_s,
            **{name: summary(values) for name, values in found.items()},
        }
    return result


def _timed(step: Callable[[], None], n: int) -> float:
    """Milliseconds per step."""
    begun = time.perf_counter()
    for _ in range(n):
        step()
    return 1000 * (time.perf_counter() - begun) / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=["digits", "fashion", "colour"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    save("steps", **run(options.kinds, rounds=options.rounds, compiled=options.compile))


if __name__ == "__main__":
    main()
