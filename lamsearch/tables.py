"""What the fused trainer needs for one epoch, prepared on the host and sent to the device at once.

A lane is a fold with its members. Lanes come with the number of training images falling, so that the lanes that
have a batch at a given step are always the first ones, and no member needs a mask to sit a step out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lamsearch.batches import batch_order
from lamsearch.config import LossConfig, TrainingConfig
from lamsearch.loss import decoupled_decay
from lamsearch.optimiser import BETAS
from lamsearch.splits import Split
from lamsearch.stacked import Rates


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A fold: its split and seed, the learning rate and λ/m of each member."""

    split: Split
    seed: int
    rates: Sequence[float]
    lams: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class EpochTable:
    """S steps of F lanes, batches of B: ``index`` and ``weight`` (S, F, B), rates (S, M), ``number`` (S, F), ``lane``
    (M,).

    ``weight`` is 1/n for the n images of a lane's batch and 0 for padding (``index`` is then some image).
    """

    index: Tensor
    weight: Tensor
    step: Tensor
    root: Tensor
    shrink: Tensor
    number: Tensor
    lane: Tensor
    members: tuple[int, ...]
    lane_steps: tuple[int, ...]
    full_steps: tuple[int, ...]
    widths: tuple[int, ...]
    chunk: int

    @property
    def n_steps(self) -> int:
        """Steps of the longest lane."""
        return len(self.index)

    @property
    def steps_of_member(self) -> list[int]:
        """Steps that each member takes."""
        return [steps for steps, count in zip(self.lane_steps, self.members, strict=True) for _ in range(count)]

    def counts(self, step: int) -> list[int]:
        """Members of each lane that has a batch at this step."""
        return [count for count, steps in zip(self.members, self.lane_steps, strict=True) if step < steps]

    def rates(self, step: int) -> Rates:
        """The members' numbers for this step."""
        return Rates(step=self.step[step], root=self.root[step], shrink=self.shrink[step], number=self.number[step])

    def is_full(self, step: int) -> bool:
        """True if every lane has a whole batch, in one chunk: such steps are all alike."""
        batch = self.index.shape[2]
        return batch <= self.chunk and step < min(self.full_steps)

    def chunks(self, step: int) -> list[tuple[Tensor, Tensor]]:
        """(index, weight), each (F, ≤ chunk), of the lanes that have a batch; together they are the batch."""
        n, width = len(self.counts(step)), self.widths[step]
        index = torch.split(self.index[step, :n, :width], self.chunk, dim=1)
        weight = torch.split(self.weight[step, :n, :width], self.chunk, dim=1)
        return list(zip(index, weight, strict=True))

    def to(self, device: torch.device, dtype: torch.dtype) -> EpochTable:
        """All of it on the device, numbers in ``dtype``."""
        floats = {name: getattr(self, name).to(dtype).to(device) for name in ("weight", "step", "root", "shrink")}
        number = self.number.to(device)
        return replace(self, index=self.index.to(device), lane=self.lane.to(device), number=number, **floats)


def epoch_table(
    lanes: Sequence[Lane], epoch: int, loss: LossConfig, training: TrainingConfig, chunk: int
) -> EpochTable:
    """The table of one epoch, on the CPU in float64. ``chunk``: most images of a lane in one forward pass."""
    orders = [batch_order(lane.split.train, lane.seed, epoch) for lane in lanes]
    batch = max(len(order) for order in orders) if training.optimiser == "gd" else training.batch
    lane_steps = tuple(-(-len(order) // batch) for order in orders)
    n_steps = max(lane_steps)
    index = np.empty((n_steps, len(lanes), batch), dtype=np.int64)
    weight = np.zeros((n_steps, len(lanes), batch))
    for number, order in enumerate(orders):
        index[:, number] = np.resize(order, n_steps * batch).reshape(n_steps, batch)
        sizes = np.clip(len(order) - batch * np.arange(n_steps), 0, batch)
        real = np.arange(batch) < sizes[:, None]
        weight[:, number] = real / np.maximum(sizes, 1)[:, None]
    firsts = torch.tensor([epoch * steps + 1 for steps in lane_steps], dtype=torch.float32)
    rates = [
        _rates(lane, epoch * steps + 1, n_steps, loss, training) for lane, steps in zip(lanes, lane_steps, strict=True)
    ]
    step, root, shrink = (torch.from_numpy(np.concatenate(parts, axis=1)) for parts in zip(*rates, strict=True))
    members = tuple(len(lane.rates) for lane in lanes)
    return EpochTable(
        index=torch.from_numpy(index),
        weight=torch.from_numpy(weight),
        step=step,
        root=root,
        shrink=shrink,
        number=firsts + torch.arange(n_steps, dtype=torch.float32).unsqueeze(1),
        lane=torch.repeat_interleave(torch.arange(len(lanes)), torch.tensor(members)),
        members=members,
        lane_steps=lane_steps,
        full_steps=tuple(len(order) // batch for order in orders),
        widths=tuple(int(width) for width in (weight > 0).any(axis=1).sum(axis=1)),
        chunk=chunk,
    )


def _rates(
    lane: Lane, first: int, n_steps: int, loss: LossConfig, training: TrainingConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(step, root, shrink), each (S, members of the lane). ``first``: number of the lane's first step, from 1."""
    numbers = np.arange(first, first + n_steps)[:, None].astype(float)
    lr = np.broadcast_to(np.asarray(lane.rates, dtype=float), (n_steps, len(lane.rates)))
    decays = np.array([decoupled_decay(loss, lam) for lam in lane.lams])
    if training.optimiser not in ("adam", "adamw"):
        return lr, np.ones_like(lr), np.ones_like(lr)
    root = np.broadcast_to(np.sqrt(1 - BETAS[1] ** numbers), lr.shape)
    return lr / (1 - BETAS[0] ** numbers), root, 1 - lr * decays
