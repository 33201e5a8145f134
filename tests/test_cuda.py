"""The trainers on an NVIDIA GPU do what the plain reference does on the CPU. Skipped where there is no such GPU."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from test_trainer_contract import COMBINATIONS, LOSSES, assert_same
from training_worlds import blobs, small_problem, study

from lamsearch import candidates, executor
from lamsearch.datasets import load
from lamsearch.executor import Executor, choose, fastest, place
from lamsearch.fused import FusedTrainer
from lamsearch.training import LoopTrainer, Member, fit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
TRAINERS = [LoopTrainer, FusedTrainer]
MEMBERS = [Member(slot, 0, fold, lam) for slot, lam in enumerate((1e-4, 1e-2)) for fold in (0, 1, 2)]


def both(world=None, **tables):
    """The same problem on the CPU and on the GPU."""
    return [small_problem(world, device=device, **tables) for device in ("cpu", "cuda")]


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("penalty", "optimiser"), COMBINATIONS)
@pytest.mark.parametrize("trainer", TRAINERS)
def test_agrees_with_the_reference_on_the_cpu(trainer, penalty, optimiser, loss, biases):
    # batches of 2, 13 or 14 images per fold: full steps enough to be captured and replayed, then a ragged one
    here, there = both(
        blobs(30, shape=(3, 11, 10)),
        loss={"data": loss, "penalty": penalty, "l1_ratio": 0.3, "penalise_biases": biases},
        training={"optimiser": optimiser, "batch": 2, "epochs": 2, "lr": 0.01},
        search={"folds": 2},
    )
    assert_same(here, trainer, there=there)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_linear_model_agrees(trainer):
    here, there = both(model={"kind": "linear"}, training={"batch": 4, "epochs": 2})
    assert_same(here, trainer, there=there)


def test_full_steps_are_replayed_from_a_graph():
    _, there = both(blobs(50), training={"batch": 4, "epochs": 2}, search={"folds": 3})
    stack = FusedTrainer(there, MEMBERS)
    stack.train_epoch()
    assert stack._stack._graph is not None
    assert stack._stack._capturable


def test_a_member_that_goes_nan_or_is_dropped_hurts_no_other():
    here, there = both(
        loss={"data": "mse"}, training={"optimiser": "sgd", "lr": 0.05, "batch": 4, "epochs": 4}, search={"folds": 3}
    )
    bad = Member(9, 0, 0, 1e9)
    company, alone = FusedTrainer(there, [*MEMBERS, bad]), LoopTrainer(here, MEMBERS[2:])
    for epoch in range(4):
        scores = company.train_epoch()
        alone.train_epoch()
        assert np.isfinite([score.val_loss for score in scores.values()]).all()
        if epoch == 1:
            company.drop(MEMBERS[:2])
    assert company.result(bad).collapsed
    for member in MEMBERS[2:]:
        for name, value in alone.parameters(member).items():
            torch.testing.assert_close(company.parameters(member)[name].cpu(), value, atol=1e-10, rtol=0)


def test_float32_accuracies_are_within_seed_noise_of_the_cpus():
    config = study(data={"source": "digits"}, training={"epochs": 3})
    data = load(config.data, seed=config.search.seed)
    here, there = (place(config, data, torch.device(device)) for device in ("cpu", "cuda"))
    members = [Member(slot, 0, fold, lam) for slot, lam in enumerate((1e-5, 1e-3)) for fold in range(5)]
    run = Executor(there, executor.Choice(candidate=candidates.Candidate(trainer="fused", members=len(members))))
    gpu = np.array([result.val_acc for result in run.train(members)])
    cpu = np.array([fit(here, member).val_acc for member in members])
    # the standard error of a difference of two accuracies over 10 folds of 300 images is 0.3 points or less
    assert abs(gpu.mean() - cpu.mean()) < 0.01
    assert abs(gpu - cpu).max() < 0.03


def test_the_fastest_trainer_is_chosen_by_measurement_and_remembered(tmp_path):
    config = study(data={"source": "digits", "n": 500})
    there = place(config, load(config.data, seed=0), torch.device("cuda"))
    choice = choose(there, cache=tmp_path, seconds=0.05)
    assert len(choice.timings) >= 3
    assert choice.candidate == min(choice.timings, key=lambda timing: timing.ms_per_model_step).candidate
    again = choose(there, cache=tmp_path, seconds=0.05)
    assert (again.candidate, again.timings) == (choice.candidate, ())


def test_running_out_of_memory_halves_the_members_and_goes_on():
    config = study(data={"source": "digits", "n": 500}, training={"epochs": 1})
    there = place(config, load(config.data, seed=0), torch.device("cuda"))
    members = [Member(slot, 0, 0, 1e-4) for slot in range(64)]
    plenty = Executor(there, executor.Choice(candidate=candidates.Candidate(trainer="fused", members=64)))
    expected = [result.val_loss for result in plenty.train(members)]
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    allowed = torch.cuda.memory_reserved() + 2**26  # 64 MiB to train in
    torch.cuda.set_per_process_memory_fraction(allowed / total)
    try:
        tight = Executor(there, executor.Choice(candidate=candidates.Candidate(trainer="fused", members=64)))
        found = [result.val_loss for result in tight.train(members)]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert 1 <= tight.members < 64
    assert found == pytest.approx(expected, rel=0.05)


def test_more_members_than_memory_are_not_tried():
    config = study(data={"source": "digits", "n": 500})
    there = place(config, load(config.data, seed=0), torch.device("cuda"))
    choice = fastest(there, (1, 8), seconds=0.05)
    assert {str(timing.candidate) for timing in choice.timings} <= {"loop", "fused", "fused × 8"}


def test_a_search_on_the_gpu_ends_in_an_answer(tmp_path):
    def lamsearch(*words):
        done = subprocess.run(
            [sys.executable, "-m", "lamsearch", *words],
            cwd=tmp_path,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    lamsearch("run", *["--trials", "8", "--device", "cuda", "--set", "data.n=600", "--set", "training.epochs=3"])
    assert 0.5 < json.loads(lamsearch("best", "--json"))["test"]["accuracy"] <= 1
    (path,) = tmp_path.glob("lamsearch-out/*/folds.csv")
    with path.open(encoding="utf-8") as file:
        executors = {row["executor"] for row in csv.DictReader(file)}
    assert executors
    assert all("on cuda" in name for name in executors)
