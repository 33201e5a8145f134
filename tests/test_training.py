"""What a fold fit must be, whichever trainer makes it (the fast loop here; see test_trainer_contract)."""

import contextlib
import io
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from training_worlds import blobs, small_problem

from lamsearch import architecture
from lamsearch.fused import FusedTrainer
from lamsearch.records import FitKey
from lamsearch.training import Interrupted, LoopTrainer, Member, ReferenceTrainer, fit, refit

LINEAR = {"kind": "linear"}


def trained(problem, member):
    trainer = LoopTrainer(problem, [member])
    for _ in range(problem.training.epochs):
        trainer.train_epoch()
    return {name: value.numpy() for name, value in trainer.parameters(member).items()}


def linear_problem(world, *, epochs=500, lr=0.03, loss="cross_entropy"):
    return small_problem(
        world,
        model=LINEAR,
        loss={"data": loss},
        # full batches with momentum converge fastest
        training={"optimiser": "sgd", "batch": 1000, "lr": lr, "epochs": epochs},
        search={"folds": 3},
    )


@pytest.mark.parametrize("lam_over_m", [0.03, 0.3])
def test_a_linear_model_reaches_closed_form_ridge(lam_over_m):
    data = blobs(66, shape=(1, 3, 3))
    problem, member = linear_problem(data, loss="mse"), Member(0, 0, 0, lam_over_m)
    train = problem.split(member).train
    ridge = Ridge(alpha=len(train) * lam_over_m)
    ridge.fit(data.images[train].reshape(len(train), -1).astype(float), np.eye(3)[data.labels[train]])
    found = trained(problem, member)
    np.testing.assert_allclose(found["dense.weight"], ridge.coef_, atol=1e-8)
    np.testing.assert_allclose(found["dense.bias"], ridge.intercept_, atol=1e-8)


def test_a_linear_model_reaches_logistic_regression():
    data, lam_over_m = blobs(66, shape=(1, 3, 3)), 0.05
    problem, member = linear_problem(data, lr=0.2, epochs=1500), Member(0, 0, 0, lam_over_m)
    train = problem.split(member).train
    by_sklearn = LogisticRegression(C=1 / (len(train) * lam_over_m), tol=1e-14, max_iter=10_000)
    by_sklearn.fit(data.images[train].reshape(len(train), -1).astype(float), data.labels[train])
    found = trained(problem, member)
    np.testing.assert_allclose(found["dense.weight"], by_sklearn.coef_, atol=1e-6)
    # softmax leaves a common constant of the intercepts free
    intercepts = by_sklearn.intercept_ - by_sklearn.intercept_.mean()
    np.testing.assert_allclose(found["dense.bias"] - found["dense.bias"].mean(), intercepts, atol=1e-5)


def test_duplicating_every_sample_leaves_the_minimiser_unchanged():
    data, member = blobs(44, shape=(1, 3, 3)), Member(0, 0, 0, 0.1)
    split = linear_problem(data, loss="mse").split(member)
    both = np.concatenate([split.train, split.val])
    twice = replace(
        data,
        images=np.concatenate([data.images[both]] * 2),
        labels=np.concatenate([data.labels[both]] * 2),
    )
    results = []
    for source, train, val in (
        (data, split.train, split.val),
        (
            twice,
            np.r_[: len(split.train), len(both) : len(both) + len(split.train)],
            np.r_[len(split.train) : len(both)],
        ),
    ):
        results.append(refit(linear_problem(source, loss="mse"), 0.1, train, val, seed=1))
    assert results[0].loss == pytest.approx(results[1].loss, abs=1e-8)
    assert results[0].accuracy == results[1].accuracy


@pytest.mark.parametrize(("loss", "constant"), [("cross_entropy", math.log(10)), ("mse", 0.45)])
def test_the_articles_cnn_collapses_at_a_large_penalty_and_scores_a_constant_predictor(loss, constant):
    data = blobs(1100, shape=(1, 10, 10), n_classes=10)
    data = replace(data, images=data.images * 0.3)
    problem = small_problem(
        data, dtype=torch.float32, loss={"data": loss}, training={"epochs": 20}, search={"metric": "log_loss"}
    )
    result = fit(problem, Member(3, 0, 1, 1.0))
    assert result.collapsed
    assert len(result.epochs) < 20
    assert result.val_loss == pytest.approx(constant, abs=2e-3)
    assert result.val_acc == pytest.approx(0.1, abs=0.02)
    assert result.score == -result.val_loss
    assert not fit(problem, Member(3, 0, 1, 1e-4)).collapsed


def test_a_slow_start_is_no_collapse():
    data = blobs(120, n_classes=3)
    problem = small_problem(data, training={"optimiser": "gd", "lr": 1e-5, "epochs": 6})
    result = fit(problem, Member(0, 0, 0, 1e-4))
    assert not result.collapsed
    assert len(result.epochs) == 6


def test_nan_scores_chance_and_everything_stays_finite():
    data = blobs(60, n_classes=3)
    data.images[data.search[::7]] = 1e30
    problem = small_problem(data, dtype=torch.float32, training={"epochs": 3, "lr": 0.1, "optimiser": "sgd"})
    result = fit(problem, Member(0, 0, 0, 1e-4))
    assert result.collapsed
    numbers = [result.score, result.val_loss, result.train_loss, result.weight_norm, result.near_zero]
    numbers += [*result.grad_norms.values(), *result.layer_norms.values()]
    numbers += [value for epoch in result.epochs for value in (epoch.train_loss, epoch.val_loss)]
    assert np.isfinite(numbers).all()
    assert np.isfinite(np.frombuffer(result.image_loss, dtype=np.float16)).all()
    assert result.val_acc == pytest.approx(1 / 3, abs=0.05)


def test_evidence_describes_the_model_at_the_end():
    problem, member = small_problem(blobs(100), training={"epochs": 4, "batch": 16}), Member(2, 0, 1, 1e-3)
    trainer = LoopTrainer(problem, [member])
    for _ in range(4):
        last = trainer.train_epoch()[member]
    result, weights = trainer.result(member), trainer.parameters(member)
    val = problem.split(member).val
    assert result.key == FitKey(2, 0, 1)
    assert (result.n_val, len(result.epochs), result.epochs[-1]) == (len(val), 4, last)
    assert [epoch.epoch for epoch in result.epochs] == [1, 2, 3, 4]
    correct = np.unpackbits(np.frombuffer(result.correct, dtype=np.uint8), count=len(val))
    assert correct.mean() == pytest.approx(result.val_acc)
    assert result.score == result.val_acc
    losses = np.frombuffer(result.image_loss, dtype=np.float16)
    assert losses.astype(float).mean() == pytest.approx(result.val_loss, rel=1e-2)
    every = torch.cat([weights[f"{layer.name}.weight"].flatten() for layer in problem.layers])
    assert result.weight_norm == pytest.approx(float(every.norm()))
    assert result.near_zero == pytest.approx(float((every.abs() < 1e-3).double().mean()))
    assert len(every) == architecture.n_penalised(problem.layers, biases=False)
    assert list(result.layer_norms) == list(result.grad_norms) == [layer.name for layer in problem.layers]
    assert all(value > 0 for value in result.grad_norms.values())
    assert result.seconds > 0


def test_validation_uses_true_labels_and_training_noisy_ones():
    data = blobs(400, shape=(1, 5, 5), n_classes=2)
    clean, noisy = (
        small_problem(data, data={"label_noise": share}, model=LINEAR, training={"epochs": 30, "lr": 0.01})
        for share in (0.0, 0.2)
    )
    member = Member(0, 0, 0, 1e-3)
    assert np.mean(noisy.train_labels.numpy()[data.search] != data.labels[data.search]) == pytest.approx(0.2, abs=0.01)
    assert torch.equal(noisy.labels, torch.from_numpy(data.labels))
    assert fit(clean, member).train_acc > 0.95
    result = fit(noisy, member)
    assert result.train_acc < 0.85 < result.val_acc


def test_the_same_fold_fit_is_bitwise_the_same_alone_in_company_and_in_any_order():
    torch.set_num_threads(1)
    problem = small_problem(dtype=torch.float32, training={"epochs": 2, "batch": 8})
    members = [Member(slot, 0, fold, lam) for slot, lam in ((0, 1e-4), (1, 1e-2)) for fold in (0, 1)]

    def strip(result):
        return replace(result, seconds=0.0, started_at=0.0)

    alone = {member: strip(fit(problem, member)) for member in members}
    lockstep = LoopTrainer(problem, members[::-1])
    lockstep.train_epoch()
    torch.rand(7)
    lockstep.train_epoch()
    for member in members:
        assert strip(lockstep.result(member)) == alone[member]
    assert alone[members[0]].epochs != alone[members[1]].epochs


def test_every_lam_of_a_fold_starts_from_the_same_weights_and_folds_differ():
    problem = small_problem()
    start = LoopTrainer(problem, members := [Member(0, 0, 0, 1e-4), Member(1, 0, 0, 1.0), Member(1, 0, 1, 1.0)])
    first, same, other = (start.parameters(member)["conv1.weight"] for member in members)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_l1_sparsifies():
    shares = {}
    for penalty in ("l1", "l2"):
        problem = small_problem(
            blobs(200), dtype=torch.float32, loss={"penalty": penalty}, training={"epochs": 15, "batch": 8}
        )
        shares[penalty] = fit(problem, Member(0, 0, 0, 3e-3)).near_zero
    assert shares["l1"] > 0.5
    assert shares["l1"] > 3 * shares["l2"]


@pytest.mark.parametrize("after", [0, 1])
def test_stop_interrupts_the_fit(after):
    problem = small_problem(training={"epochs": 3})
    asked = iter([False] * after + [True] * 100)
    with pytest.raises(Interrupted):
        fit(problem, Member(0, 0, 0, 1e-3), stop=lambda: next(asked))


def test_stop_interrupts_within_an_epoch(monkeypatch):
    monkeypatch.setattr("lamsearch.loop.STOP_CHECK_S", 0.0)
    trainer = LoopTrainer(small_problem(), [Member(0, 0, 0, 1e-3)], stop=lambda: True)
    with pytest.raises(Interrupted):
        trainer.train_epoch()


def test_the_refit_scores_the_test_images_with_true_labels():
    data = blobs(200, shape=(1, 4, 4), n_classes=2)
    problem = small_problem(data, model=LINEAR, training={"epochs": 30, "lr": 0.01})
    score = refit(problem, 1e-3, data.search, data.test, seed=1)
    assert score.n == len(data.test)
    assert score.accuracy > 0.9
    assert not score.collapsed
    assert score == replace(refit(problem, 1e-3, data.search, data.test, seed=1), seconds=score.seconds)


@pytest.mark.parametrize("trainer", [FusedTrainer, ReferenceTrainer])
def test_every_trainer_gives_the_same_refit(trainer):
    data = blobs(100)
    problem = small_problem(data, training={"epochs": 3, "batch": 8})
    by_loop = refit(problem, 1e-3, data.search, data.test, seed=1)
    found = refit(problem, 1e-3, data.search, data.test, seed=1, trainer=trainer)
    assert (found.accuracy, found.n) == (by_loop.accuracy, by_loop.n)
    assert found.loss == pytest.approx(by_loop.loss, abs=1e-10)


@pytest.mark.parametrize("trainer", [LoopTrainer, FusedTrainer])
def test_the_refit_looks_at_the_test_images_once(trainer, monkeypatch):
    looks = []
    monkeypatch.setattr(trainer, "train_epoch", counted(trainer.train_epoch, looks))
    data = blobs(100)
    refit(small_problem(data, training={"epochs": 3, "batch": 8}), 1e-3, data.search, data.test, 1, trainer=trainer)
    (first, second, last) = [next(iter(scores.values())).val_loss for scores in looks]
    assert first == second  # the constant predictor's: nothing was looked at
    assert last != first


def counted(train_epoch, looks):
    def epoch(self):
        looks.append(train_epoch(self))
        return looks[-1]

    return epoch


def test_stochastic_layers_of_a_user_model_are_seeded_per_fold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dropout_net.py").write_text(
        "from torch import nn\n"
        "def net(shape, n_classes):\n"
        "    layers = nn.Dropout(0.5), nn.Linear(100, 16), nn.ReLU(), nn.Linear(16, n_classes)\n"
        "    return nn.Sequential(nn.Flatten(), *layers)\n"
    )
    problem = small_problem(model={"kind": "dropout_net:net"}, training={"epochs": 2, "batch": 8})
    member = Member(0, 0, 0, 1e-3)
    torch.manual_seed(1)
    first = fit(problem, member)
    torch.manual_seed(2)
    again = LoopTrainer(problem, [Member(1, 0, 1, 0.1), member])
    again.train_epoch()
    again.train_epoch()
    assert again.result(member).epochs == first.epochs
    assert set(first.layer_norms) == {"2", "4"}


def test_the_same_fold_fit_is_bitwise_the_same_in_another_process():
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from training_worlds import blobs, small_problem\n"
        "from lamsearch.training import Member, fit\n"
        "world = blobs(120, shape=(3, 12, 13))\n"
        "problem = small_problem(world, dtype=torch.float32, training={'epochs': 3, 'batch': 16})\n"
        "result = fit(problem, Member(0, 0, 1, 1e-3))\n"
        "print(result.epochs, result.weight_norm, result.grad_norms, result.image_loss)\n"
    )
    here, threads = io.StringIO(), torch.get_num_threads()
    with contextlib.redirect_stdout(here):
        exec(code, {})
    torch.set_num_threads(threads)
    # Another environment, other addresses.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PADDING": "x" * 5000}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert here.getvalue() == done.stdout != ""
