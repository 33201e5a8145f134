import json
from dataclasses import replace

import pytest
import torch
from training_worlds import blobs, small_problem, study

from lamsearch import candidates, engine, executor
from lamsearch.bench import bench, step_flops
from lamsearch.candidates import Candidate, measure
from lamsearch.errors import InputError
from lamsearch.executor import LOOP, Choice, Executor, choose, devices, fastest, place, resident
from lamsearch.fused import FusedTrainer
from lamsearch.loop import LoopTrainer
from lamsearch.model import layers_of, seen
from lamsearch.training import Interrupted, Member, fit

MEMBERS = [Member(slot, 0, slot % 2, 1e-3) for slot in range(8)]


def stub_of(trainer, largest):
    """A trainer that needs more memory than there is for more than ``largest`` members."""
    calls = []

    def make(problem, members, *, stop=None):
        calls.append(len(members))
        if len(members) > largest:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return trainer(problem, members, stop=stop)

    return make, calls


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:1", ""])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(InputError, match="use auto, cpu, cuda"):
        devices(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:7", "mps"])
def test_an_absent_device_is_one_clear_line(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=f"--device {name}: torch .* sees no GPU here; use --device cpu or auto"):
        devices(name)
    assert devices("auto") == devices("cpu") == [torch.device("cpu")]


def test_all_gpus_are_found(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(device) for device in devices("auto")] == ["cuda:0", "cuda:1"]
    assert [str(device) for device in devices("cuda:1")] == ["cuda:1"]
    with pytest.raises(InputError, match="sees cuda:0, cuda:1 here"):
        devices("cuda:2")


def test_images_that_do_not_fit_are_refused_with_advice(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20_000, 80_000))
    with pytest.raises(InputError, match=r"cuda has 0.0 GiB free: search a subset with --set data.n=N, or use --dev"):
        place(study(), blobs(100), torch.device("cuda"))


@pytest.mark.parametrize("trainer", [LoopTrainer, FusedTrainer])
def test_a_gpu_gets_only_the_images_that_a_study_uses_and_results_are_the_same(trainer):
    data = blobs(100)
    part = replace(data, search=data.search[1::3])
    small = resident(part, torch.device("cuda"))
    assert len(small.images) == len(small.labels) == len(part.search) + len(part.test) < len(data.images)
    assert resident(part, torch.device("cpu")) is part
    assert resident(data, torch.device("cuda")) is data
    assert (small.images[small.test] == part.images[part.test]).all()
    made = [small_problem(world, data={"label_noise": 0.2}, training={"epochs": 2}) for world in (part, small)]
    whole, compacted = ([one_fit(trainer, problem, member) for member in MEMBERS[:2]] for problem in made)
    assert whole == compacted


def one_fit(trainer, problem, member):
    found = trainer(problem, [member])
    for _ in range(problem.training.epochs):
        found.train_epoch()
    return replace(found.result(member), seconds=0.0, started_at=0.0)


def test_on_a_cpu_the_choice_is_fixed():
    assert choose(small_problem()) == Choice(candidate=LOOP)


def test_the_fastest_candidate_is_chosen_and_remembered(tmp_path, monkeypatch):
    speeds = {("loop", 1): 4.0, ("fused", 1): 6.0, ("fused", 4): 2.0, ("fused", 8): 1.0, ("fused", 16): 1.5}
    asked = []

    def stub(problem, candidate, *, seconds):
        asked.append(candidate.members)
        ms = speeds.get((candidate.trainer, candidate.members))
        return ms and candidates.Timing(candidate=candidate, ms_per_model_step=ms, ms_worst=ms, n=3, memory_bytes=0)

    monkeypatch.setattr(executor, "measure", stub)
    choice = fastest(small_problem(), executor.COUNTS, seconds=0.1)
    assert choice.candidate == Candidate(trainer="fused", members=8)
    assert asked == [1, 1, 4, 8, 16]  # 32 and 64 cannot be better any more
    path = tmp_path / "executor.json"
    executor._write(path, choice.candidate)
    assert executor._read(path) == choice.candidate
    path.write_text("{}")
    assert executor._read(path) is None


def test_the_cache_file_depends_on_the_shape(tmp_path):
    small, large = small_problem(), small_problem(blobs(30, shape=(1, 12, 12)))
    assert executor._cache_file(small, tmp_path) == executor._cache_file(small_problem(), tmp_path)
    assert executor._cache_file(small, tmp_path) != executor._cache_file(large, tmp_path)


@pytest.mark.parametrize("candidate", [LOOP, Candidate(trainer="fused", members=3)])
def test_a_measurement_is_a_moment_of_training(candidate):
    timing = measure(small_problem(), candidate, seconds=0.0)
    assert timing.candidate == candidate
    assert 0 < timing.ms_per_model_step <= timing.ms_worst


@pytest.mark.parametrize(
    ("training", "batch"),
    [
        ({"batch": 1}, 1),
        ({"batch": 2}, 2),
        ({"batch": 3}, 3),
        ({"batch": 27}, 27),
        ({"batch": 100_000}, 27),
        ({"batch": 2, "optimiser": "gd"}, 27),
    ],
)
@pytest.mark.parametrize("candidate", [LOOP, Candidate(trainer="fused", members=2)])
def test_whatever_the_batch_a_step_as_the_study_takes_it_is_timed(training, batch, candidate):
    problem = small_problem(training=training, search={"folds": 2})
    assert len(problem.search) == 54
    assert candidates.batch_of(problem) == batch
    cut, steps = candidates._cut(problem)
    split = cut.split(MEMBERS[0])
    assert abs(len(split.train) - steps * batch) <= 3 * steps
    assert measure(problem, candidate, seconds=0.0).ms_per_model_step > 0


def test_the_executor_trains_in_groups_with_the_same_results():
    problem = small_problem(training={"epochs": 2, "batch": 8})
    run = Executor(problem, Choice(candidate=Candidate(trainer="fused", members=3)))
    found = run.train(MEMBERS)
    assert [result.key for result in found] == [member.key for member in MEMBERS]
    for member, result in zip(MEMBERS, found, strict=True):
        assert result.val_loss == pytest.approx(fit(problem, member).val_loss, abs=1e-10)
    assert run.description.startswith("fused × 3 on cpu")


def test_running_out_of_memory_halves_the_members_and_goes_on(monkeypatch):
    make, calls = stub_of(FusedTrainer, largest=2)
    monkeypatch.setitem(candidates.TRAINERS, "fused", make)
    problem = small_problem(training={"epochs": 1, "batch": 8})
    run = Executor(problem, Choice(candidate=Candidate(trainer="fused", members=8)))
    assert [result.key for result in run.train(MEMBERS)] == [member.key for member in MEMBERS]
    assert calls == [8, 4, 2, 2, 2, 2]
    assert run.members == 2


def test_a_model_too_large_for_the_device_is_refused(monkeypatch):
    for name, trainer in (("fused", FusedTrainer), ("loop", LoopTrainer)):
        monkeypatch.setitem(candidates.TRAINERS, name, stub_of(trainer, largest=0)[0])
    run = Executor(small_problem(), Choice(candidate=Candidate(trainer="fused", members=4)))
    with pytest.raises(InputError, match="not enough memory for one model"):
        run.train(MEMBERS)


def test_other_errors_pass(monkeypatch):
    def broken(problem, members, *, stop=None):
        raise RuntimeError("shapes do not match")

    run = Executor(small_problem(), Choice(candidate=LOOP))
    monkeypatch.setitem(candidates.TRAINERS, "loop", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run.train(MEMBERS)


def test_stop_passes_through():
    run = Executor(small_problem(), Choice(candidate=Candidate(trainer="fused", members=8)))
    with pytest.raises(Interrupted):
        run.train(MEMBERS, stop=lambda: True)


def test_the_work_of_a_step_is_counted_layer_by_layer():
    layers = layers_of("cnn", (3, 32, 32), 10)
    forward = [900 * 27 * 32, 169 * 288 * 64, 2304 * 128, 128 * 10]
    assert step_flops(layers, (3, 32, 32), 32) == 32 * 2 * (2 * forward[0] + 3 * sum(forward[1:]))
    needed = [784 * 27 * 32, 144 * 288 * 64, 2304 * 128, 128 * 10]
    assert step_flops(layers, seen(layers, (3, 32, 32)), 32) == 32 * 2 * (2 * needed[0] + 3 * sum(needed[1:]))


def test_the_bench_prints_a_row_per_trainer():
    found = bench(study(data={"source": "digits", "n": 200}, training={"batch": 4}), "cpu", seconds=0.0)
    assert [row.trainer for row in found.rows] == [
        "reference",
        "loop",
        "fused",
        "fused × 4",
        "fused × 16",
    ]
    assert all(0 < row.of_peak < 1.5 and row.gflops > 0 and row.fits_per_hour > 0 for row in found.rows)
    assert len(found.lines()) == 3 + len(found.rows) + 1, "title, hardware, heads; on a CPU what memory means"
    assert json.loads(json.dumps(found.to_json()))["shape"] == [1, 16, 16]
    assert found.peak_gflops > 1


@pytest.mark.parametrize(
    ("cpu", "capability", "shape", "expected"),
    [
        ("AMD EPYC (x86_64), 2 cores", "AVX2", (3, 32, 32), True),
        ("AMD EPYC (x86_64), 2 cores", "AVX512", (3, 32, 32), False),
        ("AMD EPYC (x86_64), 2 cores", "AVX512", (1, 16, 16), True),
        ("Intel(R) Xeon(R) (x86_64), 2 cores", "AVX512", (3, 32, 32), True),
    ],
)
def test_the_engine_on_a_cpu_follows_from_its_type_and_the_images(cpu, capability, shape, expected, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(engine.environment, "cpu", lambda: cpu)
    ready = small_problem(blobs(30, shape=shape))
    assert engine.by_hand(ready) is expected
    assert isinstance(engine.engine_for(ready, 1), engine.Chain if expected else engine.Autograd)
    assert ("by hand" in Executor(ready, Choice(candidate=LOOP)).description) is expected
