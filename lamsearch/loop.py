"""The loop trainer: one model at a time, as fast as a CPU core allows. The trainer of every CPU.

Against the plain loop: images stay in memory and are gathered by index (no DataLoader), borders that no output
depends on are cut off, pooling comes before ReLU, optimisers are fused, the backward pass of the built-in
networks is written out (``chain``), and the penalty is never differentiated: its gradient is the optimiser's
``weight_decay`` where that is exactly λ/m · w, and is added to the gradient otherwise.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from lamsearch import loss as losses
from lamsearch.batches import batch_order, seeded
from lamsearch.engine import engine_for
from lamsearch.evidence import Ledger, Outcome
from lamsearch.model import norms
from lamsearch.optimiser import Optimiser
from lamsearch.problem import Interrupted, Member, Problem
from lamsearch.records import EpochScore, FoldResult

CHUNK = 64
"""Most images in one forward pass. Larger batches are gradient sums over chunks: activations stay in the cache."""
STOP_CHECK_S = 0.5


class LoopTrainer:
    """Trains members one after the other within each epoch. ``stop`` is asked about twice a second.

    Raises Interrupted (from ``train_epoch``) once ``stop()`` is true.
    """

    def __init__(self, problem: Problem, members: Sequence[Member], *, stop: Callable[[], bool] | None = None) -> None:
        self.members: tuple[Member, ...] = tuple(members)
        self._runs = {member: _Run(problem, member, stop) for member in members}

    def train_epoch(self) -> Mapping[Member, EpochScore]:
        """One epoch of every live member."""
        return {member: self._runs[member].train_epoch() for member in self.members}

    def drop(self, members: Collection[Member]) -> None:
        """Forget some members and free their memory."""
        self.members = tuple(member for member in self.members if member not in members)
        self._runs = {member: self._runs[member] for member in self.members}

    def result(self, member: Member) -> FoldResult:
        """The finished fold fit of a member."""
        return self._runs[member].result()

    def parameters(self, member: Member) -> OrderedDict[str, Tensor]:
        """Name → value of a member's parameters, as they are now."""
        return self._runs[member].parameters()


class _Run:
    def __init__(self, problem: Problem, member: Member, stop: Callable[[], bool] | None) -> None:
        self._problem, self._member, self._stop = problem, member, stop
        self._split, self._seed, lam_over_m = problem.split(member), problem.fold_seed(member), member.lam_over_m
        self._engine = engine_for(problem, self._seed)
        _, self._rows, self._columns = problem.seen
        self._penalised, free = self._engine.groups(biases=problem.loss.penalise_biases)
        self._signs = losses.sign_strength(problem.loss, lam_over_m)
        self._optimiser = Optimiser(self._penalised, free, lam_over_m, problem.loss, problem.training)
        self._val = torch.from_numpy(self._split.val).to(problem.device)
        self.ledger = Ledger(
            train=problem.train_labels.cpu().numpy()[self._split.train],
            val=problem.labels.cpu().numpy()[self._split.val],
            n_classes=problem.n_classes,
            loss=problem.loss.data,
            metric=problem.metric,
            n_epochs=problem.training.epochs,
        )
        self._grad_norms: dict[str, float] = {}
        self.started_at, self.seconds = time.time(), 0.0
        self._asked = time.monotonic()

    @torch.no_grad()
    def train_epoch(self) -> EpochScore:
        """One pass over the training images, then validation."""
        if self.ledger.collapsed:
            return self.ledger.record_collapsed()
        begun = time.perf_counter()
        problem, epoch = self._problem, self.ledger.epoch
        order = torch.from_numpy(batch_order(self._split.train, self._seed, epoch)).to(problem.device)
        batch = len(order) if problem.training.optimiser == "gd" else problem.training.batch
        with seeded(problem.device, "noise", self._seed, epoch):
            loss_sum, n_correct, n_steps = self._pass(torch.split(order, batch))
        score = self.ledger.record(
            train_loss=loss_sum / len(order),
            train_acc=n_correct / len(order),
            n_steps=n_steps,
            outcome=self._validate() if problem.validates(epoch) else None,
        )
        self.seconds += time.perf_counter() - begun
        return score

    def result(self) -> FoldResult:
        """The books closed."""
        return self.ledger.result(
            key=self._member.key,
            lam_over_m=self._member.lam_over_m,
            norms=norms(self._engine.weights(), self._penalised, self._grad_norms),
            seconds=self.seconds,
            started_at=self.started_at,
        )

    def parameters(self) -> OrderedDict[str, Tensor]:
        """Name → value, as they are now."""
        return self._engine.parameters()

    def _pass(self, batches: Sequence[Tensor]) -> tuple[float, int, int]:
        """Train on each batch: (sum of data losses, correct predictions, steps). The sums stay on the device."""
        problem, engine, note = self._problem, self._engine, self.ledger.wants_gradients
        wide = torch.float32 if problem.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        loss_sum = torch.zeros((), dtype=wide, device=problem.device)
        n_correct = torch.zeros((), dtype=torch.int64, device=problem.device)
        norm_sums = torch.zeros(len(engine.weights()), dtype=problem.dtype, device=problem.device)
        for batch in batches:
            engine.clear()
            for chunk in torch.split(batch, CHUNK):
                self._check_stop()
                images, labels = self._gather(chunk, problem.train_labels)
                outputs = engine.forward(images, training=True)
                each, gradient = losses.with_gradient(outputs, labels, problem.loss.data)
                loss_sum += each.sum()
                n_correct += (outputs.argmax(1) == labels).sum()
                engine.backward(gradient.div_(len(batch)))
            if note:
                norm_sums += torch.stack(torch._foreach_norm(engine.weight_gradients()))
            if self._signs:
                gradients = [weight.grad for weight in self._penalised if weight.grad is not None]
                torch._foreach_add_(gradients, torch._foreach_sign(self._penalised), alpha=self._signs)
            self._optimiser.step()
        if note:
            self._grad_norms = dict(zip(engine.weights(), (norm_sums / len(batches)).tolist(), strict=True))
        return float(loss_sum), int(n_correct), len(batches)

    def _gather(self, index: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        images = self._problem.images.index_select(0, index)
        return images[:, :, : self._rows, : self._columns], labels.index_select(0, index)

    def _validate(self) -> Outcome:
        found: list[Tensor] = []
        predicted: list[Tensor] = []
        for chunk in torch.split(self._val, CHUNK):
            self._check_stop()
            images, labels = self._gather(chunk, self._problem.labels)
            outputs = self._engine.forward(images, training=False)
            found.append(losses.image_losses(outputs, labels, self._problem.loss.data))
            predicted.append(outputs.argmax(1))
        return Outcome(losses=torch.cat(found).cpu().numpy(), predicted=torch.cat(predicted).cpu().numpy())

    def _check_stop(self) -> None:
        now = time.monotonic()
        if self._stop is not None and now - self._asked > STOP_CHECK_S:
            self._asked = now
            if self._stop():
                raise Interrupted
