"""`submit` and `worker`: every sampler, pruner, penalty, optimiser and loss, through one database and one worker."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import Programs

SMALL = "--trials 4 --folds 2 --epochs 2 --set data.n=150"
STUDIES = {
    "a": "--sampler qmc --pruner wilcoxon --set loss.penalty=l1 --set training.optimiser=sgd "
    "--set search.metric=log_loss",
    "b": "--sampler random --pruner median --set loss.data=mse --set loss.penalise_biases=true",
    "c": "--sampler tpe --pruner percentile --set model.kind=linear --set training.optimiser=gd --set training.lr=0.1",
    "d": "--sampler gp --pruner halving --set loss.penalty=elastic_net --set loss.l1_ratio=0.2 --seed 7",
    "e": "--sampler grid --pruner hyperband --set loss.penalty=decoupled --set data.label_noise=0.1",
    "f": "--pruner none --until sure --replicates 2 --set training.batch=16 --set search.low=1e-4",
}
FILE = """name = "from-file"
[data]
n = 150
[model]
kind = "linear"
[search]
trials = 3
folds = 2
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> Path:
    """All studies submitted at once to a database that does not exist yet, then served by one worker."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "mine.toml").write_text(FILE, encoding="utf-8")
    lines = [f"submit {SMALL} --name {name} {flags}" for name, flags in STUDIES.items()]
    lines.append("submit mine.toml --epochs 2")
    environ = {"LAMSEARCH_STORAGE_FILE": str(folder / "url")}
    (folder / "url").write_text(f"sqlite:///{folder}/service.db\n", encoding="utf-8")
    started = [programs.start(line, folder, **environ) for line in lines]
    for program, line in zip(started, lines, strict=True):
        assert program.wait(100) == 0, f"{line}: {program.said}"
    work = "worker --exit-when-done --device cpu --set service.poll_s=0.1"
    done = programs.completed(work, folder, within_s=200, **environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


Asked = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def asked(programs: Programs, served: Path) -> Asked:
    """``lamsearch`` with these arguments, about what has been served."""
    return lambda arguments: programs.completed(f"{arguments} --storage service.db", served)


def test_one_worker_serves_all_open_studies_to_their_answers(asked: Asked) -> None:
    status = json.loads(asked("status --json").stdout)
    assert {study["study"]: study["state"] for study in status["studies"]} == dict.fromkeys(
        [*STUDIES, "from-file"], "done"
    )
    assert status["workers"] == []


@pytest.mark.parametrize("name", [*STUDIES, "from-file"])
def test_every_budget_is_kept_and_every_answer_is_whole(asked: Asked, name: str) -> None:
    answer = json.loads(asked(f"best {name} --json").stdout)
    spent = answer["budget"]
    assert spent["trials"] == spent["complete"] + spent["pruned"] + spent["failed"] == (3 if name == "from-file" else 4)
    assert spent["failed"] == 0
    assert answer["status"] == "final"
    assert answer["test"]["n"] > 0
    if name == "f":
        assert min(point["lam_over_m"] for point in answer["curve"] if point["slot"] >= 0) >= 0.999e-4


def test_csv_of_trials_holds_plain_numbers_only(asked: Asked) -> None:
    rows = list(csv.DictReader(asked("trials f --csv").stdout.splitlines()))
    replicated = [row for row in rows if row["replicate_scores"]]
    assert replicated
    for row in replicated:
        assert len([float(score) for score in row["replicate_scores"].split()]) == 2
        assert len([float(score) for score in row["fold_scores"].split()]) == 2


def test_a_study_is_stopped_resumed_extended_and_deleted(asked: Asked) -> None:
    assert "is done" in asked("resume a").stdout
    assert asked("extend from-file 0.05 0.1").returncode == 0
    assert asked("stop from-file").returncode == 0
    rows = json.loads(asked("trials from-file --json").stdout)
    assert [row["state"] for row in rows].count("waiting") == 2
    assert "from-file is open" in asked("resume from-file").stdout
    assert "say --yes" in asked("delete from-file").stderr
    assert asked("delete from-file --yes").returncode == 0
    gone = asked("best from-file")
    assert (gone.returncode, gone.stdout) == (2, "")
    assert "studies there: a, b, c, d, e, f" in gone.stderr


def test_a_difference_in_identity_is_refused_with_both_values(asked: Asked) -> None:
    done = asked(f"submit {SMALL} --name a {STUDIES['a']} --seed 5")
    assert done.returncode == 2
    assert "search.seed: stored 0, asked 5" in done.stderr
    assert "--name a-2" in done.stderr


def test_where_nobody_works_status_says_so_and_gives_no_rate(programs: Programs, tmp_path: Path) -> None:
    told = programs.completed(f"submit {SMALL} --name idle --set search.extend=[0.1]", tmp_path)
    assert "study idle is open: 5 λ's and the baseline" in told.stdout
    said = programs.completed("status", tmp_path).stdout
    assert "no worker is alive; `lamsearch worker` serves what is open" in said
    seen = json.loads(programs.completed("status --json", tmp_path).stdout)["studies"][0]
    assert (seen["fits_per_minute"], seen["eta_s"], seen["slots"]) == (None, None, 5)


def test_a_worker_says_that_no_study_is_open(programs: Programs, tmp_path: Path) -> None:
    done = programs.completed("worker --exit-when-done --storage typo.db", tmp_path)
    assert (done.returncode, done.stderr) == (
        0,
        "lamsearch worker: no study is open in sqlite:///typo.db: leaving\n",
    )


def test_deleting_at_the_same_time_names_the_study(programs: Programs, tmp_path: Path) -> None:
    assert programs.completed(f"submit {SMALL} --name twice", tmp_path).returncode == 0
    running = [programs.start("delete twice --yes", tmp_path) for _ in range(3)]
    codes = sorted(program.wait() for program in running)
    assert codes in ([0, 2, 2], [0, 0, 2])
    assert not any("number" in program.said for program in running)
