"""What is particular to the stack; that it equals the reference is test_trainer_contract's."""

import pytest
import torch
from training_worlds import blobs, small_problem

from lamsearch.errors import InputError
from lamsearch.fused import FusedTrainer
from lamsearch.training import Interrupted, LoopTrainer, Member

MEMBERS = [Member(slot, 0, fold, lam) for slot, lam in enumerate((1e-4, 1e-2)) for fold in (0, 1, 2)]


def test_members_may_have_learning_rates_of_their_own():
    problem, slow = small_problem(training={"batch": 8, "lr": 1e-3}), small_problem(training={"batch": 8, "lr": 1e-4})
    first, second = MEMBERS[0], MEMBERS[3]
    stack = FusedTrainer(problem, [first, second], rates={second: 1e-4})
    stack.train_epoch()
    for member, alone in ((first, LoopTrainer(problem, [first])), (second, LoopTrainer(slow, [second]))):
        alone.train_epoch()
        for name, value in alone.parameters(member).items():
            torch.testing.assert_close(stack.parameters(member)[name], value, atol=1e-10, rtol=0)


@pytest.mark.parametrize("n", [30, 33, 34, 37])
@pytest.mark.parametrize("batch", [1, 4, 8, 100])
def test_folds_with_another_number_of_steps_agree_with_the_loop(n, batch):
    # 27…34 search images in 3 folds: some folds have one image, and with it one batch, more than others
    problem = small_problem(blobs(n), training={"batch": batch, "epochs": 2}, search={"folds": 3})
    stack, loop = FusedTrainer(problem, MEMBERS), LoopTrainer(problem, MEMBERS)
    for _ in range(2):
        found, expected = stack.train_epoch(), loop.train_epoch()
    for member in MEMBERS:
        assert found[member].train_loss == pytest.approx(expected[member].train_loss, abs=1e-10)
        assert found[member].val_loss == pytest.approx(expected[member].val_loss, abs=1e-10)


def test_replicates_are_folds_of_their_own():
    problem = small_problem(training={"batch": 8, "epochs": 1})
    members = [Member(0, 0, 0, 1e-3), Member(0, 1, 0, 1e-3), Member(1, 1, 0, 1e-2)]
    stack, loop = FusedTrainer(problem, members), LoopTrainer(problem, members)
    found, expected = stack.train_epoch(), loop.train_epoch()
    for member in members:
        assert found[member].val_loss == pytest.approx(expected[member].val_loss, abs=1e-10)
    assert found[members[0]] != found[members[1]]


def test_dropping_compacts_the_stack():
    problem = small_problem(training={"batch": 8, "epochs": 2})
    stack = FusedTrainer(problem, MEMBERS)
    stack.train_epoch()
    stack.drop(MEMBERS[::2])
    assert stack.members == tuple(MEMBERS[1::2])
    assert {len(value) for value in stack._stack.optimiser.parameters.values()} == {3}
    assert set(stack.train_epoch()) == set(MEMBERS[1::2])


def test_a_collapsed_member_leaves_the_stack_but_keeps_its_result():
    problem = small_problem(loss={"data": "mse"}, training={"optimiser": "sgd", "lr": 0.05, "batch": 8, "epochs": 3})
    bad = Member(9, 0, 0, 1e9)
    stack = FusedTrainer(problem, [*MEMBERS, bad])
    for epoch in (1, 2, 3):
        assert stack.train_epoch()[bad].epoch == epoch
    assert bad in stack.members
    assert len(stack._stack.optimiser.parameters["conv1.weight"]) == len(MEMBERS)
    result = stack.result(bad)
    assert result.collapsed
    assert len(result.epochs) == 1


def test_a_user_model_cannot_be_stacked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "from torch import nn\ndef net(s, n): return nn.Sequential(nn.Flatten(), nn.Linear(100, n))\n"
    (tmp_path / "unstackable.py").write_text(code)
    with pytest.raises(InputError, match=r"unstackable:net.*loop trainer"):
        FusedTrainer(small_problem(model={"kind": "unstackable:net"}), MEMBERS)


def test_stop_interrupts():
    with pytest.raises(Interrupted):
        FusedTrainer(small_problem(), MEMBERS, stop=lambda: True).train_epoch()


class Recorder:
    """Stands in for a CUDA graph on a machine without one: it records a call and repeats it on its own inputs.

    A graph remembers addresses and keeps nothing alive, so a tensor that the call merely closes over is an error.
    """

    made = 0

    def __init__(self, function, inputs):
        Recorder.made += 1
        assert not [cell for cell in function.__closure__ or () if isinstance(cell.cell_contents, torch.Tensor)]
        self.function, self.inputs = function, [tensor.clone() for tensor in inputs]

    def __call__(self, inputs):
        for own, tensor in zip(self.inputs, inputs, strict=True):
            own.copy_(tensor)
        self.function(*self.inputs)


def on_graphs(stack):
    stack._stack._capturable = True
    return stack


@pytest.mark.parametrize("drop", [False, True])
def test_replayed_steps_agree_with_plain_ones(monkeypatch, drop):
    # 45 search images in 3 folds: 15 + 15 validation images, 30 to train on: 7 full batches of 4 and a ragged one
    monkeypatch.setattr("lamsearch.stack._Graph", Recorder)
    Recorder.made = 0
    problem = small_problem(blobs(50), training={"batch": 4, "epochs": 3}, search={"folds": 3})
    plain, replayed = FusedTrainer(problem, MEMBERS), on_graphs(FusedTrainer(problem, MEMBERS))
    for _ in range(3):
        plain.train_epoch()
        replayed.train_epoch()
        if drop and len(replayed.members) == len(MEMBERS):
            plain.drop(MEMBERS[:2])
            replayed.drop(MEMBERS[:2])
            on_graphs(replayed)
    assert Recorder.made == (2 if drop else 1)  # captured anew for another number of members
    for member in replayed.members:
        assert replayed.result(member).epochs == plain.result(member).epochs
        for name, value in plain.parameters(member).items():
            assert torch.equal(replayed.parameters(member)[name], value)


def test_a_step_that_cannot_be_captured_stays_plain(monkeypatch):
    def refuse(function, inputs):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr("lamsearch.stack._Graph", refuse)
    problem = small_problem(blobs(50), training={"batch": 4, "epochs": 1}, search={"folds": 3})
    plain, refused = FusedTrainer(problem, MEMBERS), on_graphs(FusedTrainer(problem, MEMBERS))
    assert refused.train_epoch() == plain.train_epoch()
