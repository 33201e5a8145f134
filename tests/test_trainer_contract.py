"""Every fast trainer does what the plain reference does: each loss, penalty and optimiser, in float64."""

import itertools

import numpy as np
import pytest
import torch
from training_worlds import blobs, small_problem

from lamsearch import engine
from lamsearch.fused import FusedTrainer
from lamsearch.training import LoopTrainer, Member, ReferenceTrainer


class LoopByAutograd(LoopTrainer):
    """The loop as it is for large images on a CPU with AVX-512."""

    def __init__(self, *given, **more):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "by_hand", lambda problem: False)
            super().__init__(*given, **more)


TRAINERS = [LoopTrainer, LoopByAutograd, FusedTrainer]
LOSSES = ["cross_entropy", "mse"]
COMBINATIONS = [
    (penalty, optimiser)
    for penalty, optimiser in itertools.product(
        ["l2", "l1", "elastic_net", "decoupled"], ["adam", "sgd", "gd", "adamw"]
    )
    if (penalty == "decoupled") == (optimiser == "adamw")
]
MEMBERS = (Member(0, 0, 0, 1e-4), Member(1, 0, 0, 3e-2), Member(-1, 0, 1, 0.0), Member(1, 0, 1, 3e-2))


def assert_same(problem, trainer_type, members=MEMBERS, *, epochs=2, atol=1e-10, there=None):
    """``there``: the same problem on the trainer's device, if that is another one."""
    reference, trainer = ReferenceTrainer(problem, members), trainer_type(there or problem, members)
    for _ in range(epochs):
        expected, found = reference.train_epoch(), trainer.train_epoch()
        for member in members:
            assert vars_of(found[member]) == pytest.approx(vars_of(expected[member]), abs=atol)
    for member in members:
        for name, value in reference.parameters(member).items():
            torch.testing.assert_close(trainer.parameters(member)[name].cpu(), value, atol=atol, rtol=0)
        expected, found = reference.result(member), trainer.result(member)
        assert found.grad_norms == pytest.approx(expected.grad_norms, abs=atol)
        assert found.layer_norms == pytest.approx(expected.layer_norms, abs=atol)
        assert found.weight_norm == pytest.approx(expected.weight_norm, abs=atol)
        assert found.near_zero == pytest.approx(expected.near_zero, abs=1e-12)
        assert (found.key, found.correct) == (expected.key, expected.correct)
        assert (found.score, found.n_val) == (pytest.approx(expected.score, abs=atol), expected.n_val)


def vars_of(score):
    return [score.epoch, score.train_loss, score.train_acc, score.val_loss, score.val_acc]


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("penalty", "optimiser"), COMBINATIONS)
@pytest.mark.parametrize("trainer", TRAINERS)
def test_agrees_with_the_reference(trainer, penalty, optimiser, loss, biases):
    # 27 search images in 2 folds: uneven folds (14, 13); batches of 4: ragged last batches
    problem = small_problem(
        blobs(30, shape=(3, 11, 10)),
        loss={"data": loss, "penalty": penalty, "l1_ratio": 0.3, "penalise_biases": biases},
        training={"optimiser": optimiser, "batch": 4, "epochs": 2, "lr": 0.01},
        search={"folds": 2},
    )
    assert_same(problem, trainer)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_agrees_on_the_linear_model(trainer):
    assert_same(small_problem(model={"kind": "linear"}, training={"batch": 7, "epochs": 2}), trainer)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_full_batches_larger_than_a_chunk_agree(trainer, monkeypatch):
    monkeypatch.setattr("lamsearch.loop.CHUNK", 5)
    monkeypatch.setattr("lamsearch.fused.CHUNK", 5)
    problem = small_problem(training={"optimiser": "gd", "epochs": 3, "lr": 0.1})
    assert_same(problem, trainer, epochs=3)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_dropped_member_leaves_the_others_alone(trainer):
    problem = small_problem(training={"batch": 8, "epochs": 3})
    alone, company = trainer(problem, MEMBERS[1:]), trainer(problem, MEMBERS)
    alone.train_epoch()
    assert set(company.train_epoch()) == set(MEMBERS)
    company.drop([MEMBERS[0]])
    for _ in range(2):
        alone.train_epoch()
        assert set(company.train_epoch()) == set(MEMBERS[1:])
    assert company.members == MEMBERS[1:]
    for member in MEMBERS[1:]:
        for name, value in alone.parameters(member).items():
            torch.testing.assert_close(company.parameters(member)[name], value, atol=1e-10, rtol=0)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_member_that_goes_nan_hurts_no_other(trainer):
    problem = small_problem(loss={"data": "mse"}, training={"optimiser": "sgd", "lr": 0.05, "batch": 8, "epochs": 4})
    bad, good = Member(0, 0, 0, 1e9), Member(1, 0, 0, 1e-4)
    company, alone = trainer(problem, [bad, good]), trainer(problem, [good])
    for _ in range(4):
        scores = company.train_epoch()
        alone.train_epoch()
        assert np.isfinite([value for score in scores.values() for value in vars_of(score)]).all()
    assert company.result(bad).collapsed
    assert not company.result(good).collapsed
    for name, value in alone.parameters(good).items():
        torch.testing.assert_close(company.parameters(good)[name], value, atol=1e-10, rtol=0)
