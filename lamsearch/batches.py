"""Batch orders and seeded generators. Everything random is drawn on the CPU, outside the step.

An order is a function of (seed, epoch) alone, so it never depends on worker, device, λ or what ran before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from lamsearch.splits import Indices, derived_seed


def batch_order(indices: Indices, seed: int, epoch: int) -> Indices:
    """``indices`` in the random order of one epoch: sorted by raw bits, whose stream numpy keeps stable (NEP 19)."""
    bits = np.random.PCG64(derived_seed("order", seed, epoch)).random_raw(len(indices))
    return indices[np.argsort(bits, kind="stable")]


@contextmanager
def seeded(device: torch.device, purpose: str, *numbers: int) -> Iterator[None]:
    """Torch's global generators seeded inside, and as before outside: for weights and for stochastic layers."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(derived_seed(purpose, *numbers))
        yield
