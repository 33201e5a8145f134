"""The reference trainer: the plain loop that anyone would write, one member at a time. The fast trainers' oracle.

It differentiates ``loss.regularised_loss`` as it stands, pools after ReLU as the article does, and leaves no
penalty to the optimiser (AdamW's decoupled decay is the optimiser's own). Nothing in it is tuned.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lamsearch import model as models
from lamsearch.batches import batch_order, seeded
from lamsearch.evidence import Ledger, Outcome
from lamsearch.loss import decoupled_decay, image_losses, regularised_loss
from lamsearch.problem import Member, Problem
from lamsearch.records import EpochScore, FoldResult


class ReferenceTrainer:
    """Trains members one after the other. ``stop`` is not looked at: see ``training.fit``."""

    def __init__(self, problem: Problem, members: Sequence[Member], *, stop: Callable[[], bool] | None = None) -> None:
        self.members: tuple[Member, ...] = tuple(members)
        self._runs = {member: _Run(problem, member) for member in members}

    def train_epoch(self) -> Mapping[Member, EpochScore]:
        """One epoch of every live member."""
        return {member: self._runs[member].train_epoch() for member in self.members}

    def drop(self, members: Collection[Member]) -> None:
        """Forget some members."""
        self.members = tuple(member for member in self.members if member not in members)

    def result(self, member: Member) -> FoldResult:
        """The finished fold fit of a member."""
        return self._runs[member].result()

    def parameters(self, member: Member) -> OrderedDict[str, Tensor]:
        """Name → value of a member's parameters, as they are now."""
        return OrderedDict((name, p.detach().clone()) for name, p in self._runs[member].model.named_parameters())


class _Run:
    def __init__(self, problem: Problem, member: Member) -> None:
        self.problem, self.member = problem, member
        self.seed, self.split = problem.fold_seed(member), problem.split(member)
        self.model = models.build(
            problem.model.kind, problem.shape, problem.n_classes, seed=self.seed, pool_first=False
        ).to(problem.device, problem.dtype)
        self.penalised = list(models.penalised(self.model, biases=problem.loss.penalise_biases).values())
        self.optimiser = self._optimiser()
        self.ledger = Ledger(
            train=problem.train_labels.cpu().numpy()[self.split.train],
            val=problem.labels.cpu().numpy()[self.split.val],
            n_classes=problem.n_classes,
            loss=problem.loss.data,
            metric=problem.metric,
            n_epochs=problem.training.epochs,
        )
        self.started_at, self.seconds = time.time(), 0.0
        self.grad_norms: dict[str, list[float]] = {}

    def _optimiser(self) -> torch.optim.Optimizer:
        training, parameters = self.problem.training, list(self.model.parameters())
        if training.optimiser == "adam":
            return torch.optim.Adam(parameters, lr=training.lr)
        if training.optimiser == "adamw":
            penalised = {id(value) for value in self.penalised}
            free = [value for value in parameters if id(value) not in penalised]
            decay = decoupled_decay(self.problem.loss, self.member.lam_over_m)
            groups = [{"params": self.penalised, "weight_decay": decay}, {"params": free, "weight_decay": 0.0}]
            return torch.optim.AdamW([group for group in groups if group["params"]], lr=training.lr)
        momentum = training.momentum if training.optimiser == "sgd" else 0.0
        return torch.optim.SGD(parameters, lr=training.lr, momentum=momentum)

    def train_epoch(self) -> EpochScore:
        if self.ledger.collapsed:
            return self.ledger.record_collapsed()
        begun = time.perf_counter()
        problem, epoch = self.problem, self.ledger.epoch
        order = torch.from_numpy(batch_order(self.split.train, self.seed, epoch)).to(problem.device)
        batch = len(order) if problem.training.optimiser == "gd" else problem.training.batch
        loss_sum, n_correct, n_steps = 0.0, 0, 0
        self.model.train()
        self.grad_norms = {}
        with seeded(problem.device, "noise", self.seed, epoch):
            for index in torch.split(order, batch):
                labels = problem.train_labels[index]
                outputs = self.model(problem.images[index])
                parts = regularised_loss(outputs, labels, self.penalised, self.member.lam_over_m, problem.loss)
                if self.ledger.wants_gradients:
                    self._note_gradients(parts.data)
                self.optimiser.zero_grad()
                parts.regularised.backward()  # type: ignore[no-untyped-call]
                self.optimiser.step()
                loss_sum += parts.data.item() * len(index)
                n_correct += int((outputs.argmax(1) == labels).sum())
                n_steps += 1
        score = self.ledger.record(
            train_loss=loss_sum / len(order),
            train_acc=n_correct / len(order),
            n_steps=n_steps,
            outcome=self._validate(),
        )
        self.seconds += time.perf_counter() - begun
        return score

    def _note_gradients(self, data: Tensor) -> None:
        named = models.weights(self.model)
        for name, gradient in zip(
            named, torch.autograd.grad(data, list(named.values()), retain_graph=True), strict=True
        ):
            self.grad_norms.setdefault(name, []).append(float(gradient.norm()))

    def _validate(self) -> Outcome:
        index = torch.from_numpy(self.split.val).to(self.problem.device)
        self.model.eval()
        with torch.no_grad():
            outputs = self.model(self.problem.images[index])
        losses = image_losses(outputs, self.problem.labels[index], self.problem.loss.data)
        return Outcome(losses=losses.cpu().numpy(), predicted=outputs.argmax(1).cpu().numpy())

    def result(self) -> FoldResult:
        grad_norms = {name: float(np.mean(values)) for name, values in self.grad_norms.items()}
        return self.ledger.result(
            key=self.member.key,
            lam_over_m=self.member.lam_over_m,
            norms=models.norms(models.weights(self.model), self.penalised, grad_norms),
            seconds=self.seconds,
            started_at=self.started_at,
        )
