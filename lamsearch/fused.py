"""The fused trainer: all members in one stack, for devices on which a single small model is bound by launches.

The same protocol, random numbers and results as the loop. Per epoch the host prepares tables (indices, weights,
rates) and sends them once; losses and accuracies stay on the device until the epoch ends, so no step waits.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lamsearch import model as models
from lamsearch.errors import InputError
from lamsearch.evidence import Ledger, Outcome
from lamsearch.problem import Member, Problem
from lamsearch.records import EpochScore, FoldResult
from lamsearch.splits import Split
from lamsearch.stack import CHUNK, Stack
from lamsearch.stacked import StackedOptimiser
from lamsearch.tables import Lane, epoch_table


class FusedTrainer:
    """Trains all members at once. Raises InputError for a user model, whose layers it cannot stack.

    ``rates``: learning rate of each member (default: the study's). ``stop`` is asked about between steps.
    """

    def __init__(
        self,
        problem: Problem,
        members: Sequence[Member],
        *,
        stop: Callable[[], bool] | None = None,
        rates: Mapping[Member, float] | None = None,
    ) -> None:
        if problem.layers is None:
            raise InputError(f"model {problem.model.kind!r} cannot be stacked; use the loop trainer")
        self.members: tuple[Member, ...] = tuple(members)
        self._problem, self._layers, self._stop = problem, problem.layers, stop
        self._splits = {member.key.cell: problem.split(member) for member in members}
        # Folds with more training images first: those that have a batch left at the end of an epoch are then a prefix.
        rank = {cell: (-len(split.train), cell) for cell, split in self._splits.items()}
        self._rows = sorted(members, key=lambda member: rank[member.key.cell])
        self._ledgers = {member: self._ledger(self._splits[member.key.cell]) for member in members}
        self._rates = {member: (rates or {}).get(member, problem.training.lr) for member in members}
        self._stack = Stack(problem, problem.layers, self._initial())
        self._grad_norms: dict[Member, dict[str, float]] = {}
        self._final: dict[Member, OrderedDict[str, Tensor]] = {}
        self._epoch, self._started_at = 0, time.time()
        self._seconds = dict.fromkeys(members, 0.0)

    # -- the protocol ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def train_epoch(self) -> Mapping[Member, EpochScore]:
        """One epoch of every live member."""
        begun, rows = time.perf_counter(), list(self._rows)
        scores = {m: self._ledgers[m].record_collapsed() for m in self.members if self._ledgers[m].collapsed}
        if rows:
            table = epoch_table(self._lanes(), self._epoch, self._problem.loss, self._problem.training, CHUNK)
            self._stack.train(table.to(self._problem.device, self._problem.dtype), self._stop)
            outcomes = self._validate() if self._problem.validates(self._epoch) else [None] * len(rows)
            scores |= self._book(table.steps_of_member, outcomes)
        share = (time.perf_counter() - begun) / max(len(rows), 1)
        for member in rows:
            self._seconds[member] += share
        self._epoch += 1
        self._keep([member for member in rows if not self._ledgers[member].collapsed])
        return {member: scores[member] for member in self.members}

    def drop(self, members: Collection[Member]) -> None:
        """Give up some members; the rest close ranks."""
        self.members = tuple(member for member in self.members if member not in members)
        self._keep([member for member in self._rows if member not in members])

    def result(self, member: Member) -> FoldResult:
        """The finished fold fit of a member."""
        parameters = self.parameters(member)
        weights = {layer.name: parameters[f"{layer.name}.weight"] for layer in self._layers}
        penalised = [value for name, value in parameters.items() if name in self._penalised]
        return self._ledgers[member].result(
            key=member.key,
            lam_over_m=member.lam_over_m,
            norms=models.norms(weights, penalised, self._grad_norms[member]),
            seconds=self._seconds[member],
            started_at=self._started_at,
        )

    def parameters(self, member: Member) -> OrderedDict[str, Tensor]:
        """Name → copy of a member's parameters, as they are now (collapsed: as they were then)."""
        if member in self._final:
            return self._final[member]
        row = self._rows.index(member)
        return OrderedDict((name, value[row].clone()) for name, value in self._stack.optimiser.parameters.items())

    # -- set-up ------------------------------------------------------------------------------------------------

    def _ledger(self, split: Split) -> Ledger:
        problem = self._problem
        return Ledger(
            train=problem.train_labels.cpu().numpy()[split.train],
            val=problem.labels.cpu().numpy()[split.val],
            n_classes=problem.n_classes,
            loss=problem.loss.data,
            metric=problem.metric,
            n_epochs=problem.training.epochs,
        )

    @property
    def _penalised(self) -> list[str]:
        kinds = ("weight", "bias") if self._problem.loss.penalise_biases else ("weight",)
        return [f"{layer.name}.{kind}" for layer in self._layers for kind in kinds]

    def _initial(self) -> StackedOptimiser:
        problem = self._problem
        seeds = [problem.fold_seed(member) for member in self._rows]
        kind, shape, n_classes = problem.model.kind, problem.shape, problem.n_classes
        states = {seed: models.build(kind, shape, n_classes, seed=seed).state_dict() for seed in set(seeds)}
        stacked = OrderedDict(
            (name, torch.stack([states[seed][name] for seed in seeds]).to(problem.device, problem.dtype))
            for name in states[seeds[0]]
        )
        lam = torch.tensor([member.lam_over_m for member in self._rows], dtype=torch.float64)
        lam = lam.to(problem.dtype).to(problem.device)
        rates = set(self._rates.values())
        lr = rates.pop() if len(rates) == 1 else None
        return StackedOptimiser(stacked, self._penalised, lam, problem.loss, problem.training, lr)

    def _keep(self, members: Sequence[Member]) -> None:
        """Compact the stack to some of its rows."""
        if len(members) == len(self._rows):
            return
        for member in self._rows:
            if member not in members and member in self.members:
                self._final[member] = self.parameters(member)
        self._stack.keep([self._rows.index(member) for member in members])
        self._rows = list(members)

    # -- one epoch ---------------------------------------------------------------------------------------------

    def _lanes(self) -> list[Lane]:
        """One lane per fold that still has members, in the order of the rows."""
        lanes: OrderedDict[tuple[int, int], list[Member]] = OrderedDict()
        for member in self._rows:
            lanes.setdefault(member.key.cell, []).append(member)
        return [
            Lane(
                split=self._splits[cell],
                seed=self._problem.fold_seed(own[0]),
                rates=[self._rates[m] for m in own],
                lams=[m.lam_over_m for m in own],
            )
            for cell, own in lanes.items()
        ]

    def _validate(self) -> list[Outcome]:
        """The outcome of each row on its fold's validation images."""
        lanes = self._lanes()
        counts = [len(lane.rates) for lane in lanes]
        sizes = [len(lane.split.val) for lane in lanes]
        padded = np.stack([np.resize(lane.split.val, max(sizes)) for lane in lanes])
        index = torch.from_numpy(padded).to(self._problem.device)
        lane_of = torch.repeat_interleave(torch.arange(len(lanes)), torch.tensor(counts)).to(index.device)
        found, predicted = [], []
        for chunk in torch.split(index, CHUNK, dim=1):
            outputs, labels = self._stack.outputs(chunk, counts)
            found.append(self._stack.losses(outputs, labels[lane_of])[0])
            predicted.append(outputs.argmax(-1))
        all_losses, all_predicted = torch.cat(found, 1).cpu().numpy(), torch.cat(predicted, 1).cpu().numpy()
        own = [size for size, count in zip(sizes, counts, strict=True) for _ in range(count)]
        return [
            Outcome(losses=each[:size], predicted=guess[:size])
            for each, guess, size in zip(all_losses, all_predicted, own, strict=True)
        ]

    def _book(self, n_steps: Sequence[int], outcomes: Sequence[Outcome | None]) -> dict[Member, EpochScore]:
        loss, correct, norms = (sums.tolist() for sums in (self._stack.loss, self._stack.correct, self._stack.norms))
        scores = {}
        for row, member in enumerate(self._rows):
            n_train = len(self._splits[member.key.cell].train)
            self._grad_norms[member] = {
                layer.name: norm / n_steps[row] for layer, norm in zip(self._layers, norms[row], strict=True)
            }
            scores[member] = self._ledgers[member].record(
                train_loss=loss[row] / n_train,
                train_acc=correct[row] / n_train,
                n_steps=n_steps[row],
                outcome=outcomes[row],
            )
        return scores
