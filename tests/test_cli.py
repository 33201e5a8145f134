"""The commands, as a user runs them: processes of their own, a small study."""

from __future__ import annotations

import errno
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import Programs

from lamsearch.cli.options import renamed
from lamsearch.config import known_keys

SMALL = "--trials 6 --epochs 3 --set data.n=300 --set model.kind=linear"
README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


Lamsearch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def lamsearch(programs: Programs) -> Lamsearch:
    """``lamsearch`` with the arguments of a line, in a folder, to its end."""
    return programs.completed


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A study that `run` answered, as `python -m` from nothing, and what it printed."""
    folder = tmp_path_factory.mktemp("run")
    command = [sys.executable, "-m", "lamsearch", "run", *shlex.split(SMALL)]
    return folder, subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_run_answers_in_a_few_lines_and_writes_its_files(
    studied: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = studied
    assert done.returncode == 0, done.stderr
    assert "gain over λ = 0" in done.stdout
    assert "test" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    out = folder / "lamsearch-out" / "digits"
    assert {"answer.json", "curve.png", "report.html"} <= {path.name for path in out.iterdir()}
    answer = json.loads((out / "answer.json").read_text(encoding="utf-8"))
    keys = "study lam lam_over_m m lam_1se indistinguishable helps gain verdict cv test budget"
    assert set(keys.split()) <= set(answer)
    assert set(answer["gain"]) == {"mean", "low", "high"}
    assert {"mean", "sem"} <= set(answer["cv"])
    assert {"accuracy", "low", "high", "n"} <= set(answer["test"])
    spent = answer["budget"]
    assert spent["trials"] == 6 == spent["complete"] + spent["pruned"] + spent["failed"]
    assert {"fold_fits", "fold_fits_full", "seconds"} <= set(spent)


def test_running_again_resumes_and_adds_nothing_and_more_trials_add_the_difference(
    studied: tuple[Path, subprocess.CompletedProcess[str]], lamsearch: Lamsearch
) -> None:
    folder, first = studied
    again = lamsearch(f"run {SMALL}", folder)
    assert (again.returncode, again.stdout) == (0, first.stdout)
    grown = lamsearch(f"run {SMALL} --trials 8 --workers 1 --json", folder)
    assert json.loads(grown.stdout)["budget"]["trials"] == 8


def test_the_reading_commands_agree_and_print_data(
    studied: tuple[Path, subprocess.CompletedProcess[str]], lamsearch: Lamsearch
) -> None:
    folder, _ = studied
    best = json.loads(lamsearch("best --json", folder).stdout)
    rows = json.loads(lamsearch("trials --json", folder).stdout)
    assert best["slot"] in {row["slot"] for row in rows if row["state"] == "complete"}
    points = {point["slot"]: point for point in best["curve"]}
    for row in rows:
        point = points[row["slot"]]
        assert (row["score"], row["lam"], row["in_range"]) == (point["mean"], point["lam"], point["in_range"])
        assert row["differs"] == ("–" if row["slot"] == best["slot"] else "no" if row["in_range"] else "worse")
    assert lamsearch("trials --csv", folder).stdout.startswith("slot,trial,lam,")
    table = lamsearch("trials", folder).stdout
    page = (folder / "lamsearch-out" / "digits" / "report.html").read_text(encoding="utf-8")
    for row in rows:
        assert row["fate"] in table
        assert (row["trial"] is None) == (row["slot"] < 0), "the baseline's trial is in a study of its own"
        if row["trial"] is not None:
            assert f'id="trial-{row["trial"]}"' in page
    status = json.loads(lamsearch("status --json", folder).stdout)
    assert status["studies"][0]["state"] == "done"
    assert lamsearch("doctor", folder).returncode == 0
    assert "report.html" in lamsearch("report --out again", folder).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run nodigits", "no packaged study named 'nodigits'; did you mean 'digits'?"),
        ("run --set search.trails=3", "unknown key 'search.trails'; did you mean 'search.trials'?"),
        ("run --set search.low=0", "search.low = 0"),
        ("run --set search.low=1 --set search.high=0.1", "search.low must be below search.high"),
        ("run --folds 500", "'8' has 139 in the search data"),
        ("run --set data.n=99999", "data.n = 99999"),
        ("run --device cuda:9", "--device cuda:9"),
        ("run --time soon", "expected a duration such as 90s, 2m or 1h30m"),
        ("run --set model.kind=os:getcwd", "allow it with --allow-code"),
        ("run --storage mysql://u:hunter2@h/d", "mysql"),
        ("run --foo", "No such option: --foo"),
        ("run --foo", "(`lamsearch run --help` lists what there is)"),
        ("best --name digits", "No such option: --name; the study is named without it: `lamsearch best NAME`"),
        ("worker --name digits", "(`lamsearch worker --help` lists what there is)"),
        ("nothing", "No such command 'nothing'"),
        ("run --storage postgresql:/app:hunter2@h/d", "the storage URL cannot be read"),
        ("bench digits --set model.kind=os:getcwd", "allow it with --allow-code"),
        ("submit --storage ''", "no storage given"),
        ("submit --storage 'file:x.db?mode=ro'", "the storage URL cannot be read"),
        ("submit --storage :memory:", "SQLite in memory cannot be shared"),
        ("run --storage 'host=h password=hunter2'", "the storage URL cannot be read"),
        ("run --storage postgresql+psycopg://app:a@hunter2@h/d", "the storage URL cannot be read"),
        ("worker --set data.n=7", "--set data.n: a worker takes service.* keys alone"),
        ("best", "no such database"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    lamsearch: Lamsearch, tmp_path: Path, arguments: str, message: str
) -> None:
    done = lamsearch(arguments, tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_is_done_is_not_stopped(
    studied: tuple[Path, subprocess.CompletedProcess[str]], lamsearch: Lamsearch
) -> None:
    folder, _ = studied
    assert "nothing to stop" in lamsearch("stop digits", folder).stdout
    assert json.loads(lamsearch("status --json", folder).stdout)["studies"][0]["state"] == "done"


def test_a_stopped_study_that_is_run_again_says_so(lamsearch: Lamsearch, tmp_path: Path) -> None:
    assert lamsearch(f"submit {SMALL}", tmp_path).returncode == 0
    assert lamsearch("stop digits", tmp_path).returncode == 0
    again = lamsearch(f"submit {SMALL}", tmp_path)
    assert again.stderr == "study digits was stopped (by request); it is open again\n"
    assert again.stdout.startswith("study digits is open:")


def test_a_run_whose_reader_has_left_goes_on_to_its_files(tmp_path: Path) -> None:
    """As in `run | head -1`: both streams end in a pipe that nobody reads any more."""
    line = shlex.join([sys.executable, "-m", "lamsearch", "run", *shlex.split(SMALL)])
    piped = ["bash", "-c", f"{line} 2>&1 | true; echo ${{PIPESTATUS[0]}}"]
    done = subprocess.run(piped, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert (tmp_path / "lamsearch-out" / "digits" / "report.html").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no storage given"),
        (b"postgresql+psycopg://u:hunter2@h/d\nsecond line\n", "expected one line of text"),
        (b"sqlite:///a\0b.db", "expected one line of text"),
        (b"\xff\xfe", "not a text file"),
        (b"\xef\xbb\xbfmysql://u:hunter2@h/d\r\n", "'mysql' is not supported"),
        (b"mysql://u:hunter2@h/d", "'mysql' is not supported"),
    ],
)
def test_a_bad_file_with_the_databases_url_is_named(
    lamsearch: Lamsearch, tmp_path: Path, content: bytes, why: str
) -> None:
    (tmp_path / "url").write_bytes(content)
    done = lamsearch("status", tmp_path, LAMSEARCH_STORAGE_FILE=str(tmp_path / "url"))
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"lamsearch: LAMSEARCH_STORAGE_FILE = {tmp_path}/url: ")
    assert why in done.stderr
    assert "hunter2" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_results_that_do_not_fit_on_the_disk_are_a_full_disk(
    studied: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from lamsearch import dossier
    from lamsearch.cli import session
    from lamsearch.errors import StorageFull
    from lamsearch.store import Store

    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = Store(str(studied[0] / "lamsearch.db"), read_only=True)
    monkeypatch.setattr("lamsearch.report.write_report", full)
    with pytest.raises(StorageFull, match="No space left on device"):
        session.write_files(dossier.dossier(store, store.study("digits")), tmp_path)


def test_ctrl_c_gives_a_provisional_answer_and_the_same_command_goes_on(lamsearch: Lamsearch, tmp_path: Path) -> None:
    flags = "--trials 300 --epochs 4 --set data.n=300 --workers 1"
    command = [sys.executable, "-m", "lamsearch", "run", *flags.split()]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status = lamsearch("status --json", tmp_path)
        if status.returncode == 0 and (found := json.loads(status.stdout)["studies"]) and found[0]["fits_done"] >= 3:
            break
    running.send_signal(signal.SIGINT)
    output, errors = running.communicate(timeout=30)
    assert running.returncode == 130, errors
    assert "So far:" in output
    assert json.loads(lamsearch("status --json", tmp_path).stdout)["studies"][0]["state"] == "open"


def test_help_and_reading_import_no_heavy_library() -> None:
    code = (
        "import sys; from lamsearch.cli import reading; from lamsearch import dossier, progress, wording; "
        "from lamsearch.store import Store; import lamsearch.answer; "
        "print([m for m in ('torch', 'sklearn', 'scipy.stats', 'matplotlib', 'optuna') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_every_command_and_flag_of_the_readme_exists(lamsearch: Lamsearch, tmp_path: Path) -> None:
    for line in re.findall(r"lamsearch ((?:run|submit|worker|best|status|studies|report)[^`#\n]*)", README):
        command, *words = shlex.split(line.replace("…", ""))
        asked = lamsearch(f"{command} --help", tmp_path)
        assert asked.returncode == 0, asked.stderr
        for flag in [word for word in words if word.startswith("--")]:
            assert flag in asked.stdout, line


def test_the_readmes_study_file_names_every_key() -> None:
    block = next(text for text in re.findall(r"```toml\n(.*?)```", README, re.S) if "[search]" in text)
    table, named = "", set()
    for line in block.splitlines():
        if match := re.match(r"\[(\w+)\]", line):
            table = f"{match[1]}."
        elif match := re.match(r"(\w+) =", line):
            named.add(table + match[1])
    assert named == set(known_keys())


def test_asking_for_fewer_trials_than_there_are_says_that_none_is_taken_away(
    studied: tuple[Path, subprocess.CompletedProcess[str]], lamsearch: Lamsearch
) -> None:
    done = lamsearch(f"run {SMALL} --trials 2", studied[0])
    assert done.returncode == 0
    assert "--trials 2 takes none away" in done.stderr


def test_a_command_that_is_proposed_holds_no_password() -> None:
    given = ["run", "--name=x", "--storage", "postgresql://me:s3cret@host/d", "--set", "model.kind=my net:Net"]
    masked = "--storage 'postgresql+psycopg://me:***@host/d'"
    assert renamed(given, "x-2") == f"lamsearch run {masked} --set 'model.kind=my net:Net' --name x-2"
