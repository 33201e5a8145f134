"""Start-up: asking for help and reading a database load no library that takes long to load."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lamsearch import preparation
from lamsearch.config import parse_study
from lamsearch.stopping import Stop
from lamsearch.store import Store
from lamsearch.worker import Options, Worker

SLOW = {"torch", "sklearn", "scipy.stats", "matplotlib", "optuna", "plotly", "torchvision", "pandas"}
SLOW_FOR_HELP = SLOW | {"numpy", "scipy", "sqlalchemy", "rich.live"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with an answer, in a file that nobody may write to."""
    folder = tmp_path_factory.mktemp("startup")
    raw = {"data": {"n": 150}, "model": {"kind": "linear"}, "training": {"epochs": 1}}
    config = parse_study({**raw, "search": {"trials": 2, "folds": 2}}, where="test")
    store = Store(str(folder / "lamsearch.db"))
    _, facts = preparation.facts(config)
    store.submit(config, facts)
    threads = torch.get_num_threads()
    Worker(store, Options(exit_when_done=True), Stop()).run()
    torch.set_num_threads(threads)
    store.close()
    return folder / "lamsearch.db"


def loaded(arguments: list[str], folder: Path) -> tuple[set[str], subprocess.CompletedProcess[str]]:
    """Modules that a command imports, and how it went."""
    command = [sys.executable, "-X", "importtime", "-m", "lamsearch", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}, done


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["worker", "--help"], ["--version"]])
def test_help_loads_next_to_nothing(tmp_path: Path, arguments: list[str]) -> None:
    modules, done = loaded(arguments, tmp_path)
    assert done.returncode == 0
    assert "typer" in modules
    assert modules & SLOW_FOR_HELP == set()


@pytest.mark.parametrize("arguments", [["status"], ["best"], ["trials"], ["best", "--json"], ["studies"]])
def test_reading_loads_no_slow_library_and_leaves_nothing_behind(database: Path, arguments: list[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in database.parent.iterdir()}
    modules, done = loaded(arguments, database.parent)
    assert done.returncode == 0
    assert modules & SLOW == set()
    assert {path: path.stat().st_mtime_ns for path in database.parent.iterdir()} == before


@pytest.mark.skipif(not Path("/usr/bin/setpriv").exists() and os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("command", ["status", "best", "trials"])
def test_reading_works_where_nothing_can_be_written(database: Path, command: str) -> None:
    folder = database.parent
    drop = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] if os.geteuid() == 0 else []
    database.chmod(0o444)
    folder.chmod(0o555)
    try:
        done = subprocess.run(
            [*drop, sys.executable, "-m", "lamsearch", command],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
    finally:
        folder.chmod(0o755)
        database.chmod(0o644)


@pytest.mark.parametrize("command", ["status", "best", "trials", "report", "dashboard", "doctor nosuch"])
def test_asking_an_absent_database_does_not_make_it(tmp_path: Path, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lamsearch", *command.split()],
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert list(tmp_path.iterdir()) == []


def test_commands_do_matrices_on_one_thread(tmp_path: Path) -> None:
    """A decision must not depend on how many cores summed up; and threads are slow on small matrices."""
    code = (
        "import sys; sys.argv = ['lamsearch', 'studies']\n"
        "from lamsearch.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "import scipy.linalg, threadpoolctl\n"
        "print({found['num_threads'] for found in threadpoolctl.threadpool_info()})"
    )
    environ = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "{1}"


INTERRUPTING = """
import os, signal, sys
class Finder:
    def find_spec(self, name, *rest):
        if name == MODULE:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from lamsearch.cli import main
sys.argv = ["lamsearch", "best"]
"""


@pytest.mark.parametrize("module", ["lamsearch.cli.app", "typer", "lamsearch.errors", "lamsearch.store", "sqlalchemy"])
def test_ctrl_c_while_a_library_loads_is_quiet(tmp_path: Path, module: str) -> None:
    code = INTERRUPTING.replace("MODULE", repr(module)) + "main()\n"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr in ("", "lamsearch: interrupted\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize("command", ["status", "best"])
def test_closed_streams_are_no_failure(database: Path, command: str, closed: str) -> None:
    """As a daemon may have them."""
    line = f"{shlex.join([sys.executable, '-m', 'lamsearch', command, '--storage', str(database)])} {closed}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_has_left_is_no_failure(database: Path) -> None:
    line = shlex.join([sys.executable, "-m", "lamsearch", "trials", "--json", "--storage", str(database)])
    piped = ["bash", "-c", f"{line} | true; echo ${{PIPESTATUS[0]}}"]
    done = subprocess.run(piped, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_process_that_wrote_leaves_one_whole_file(tmp_path: Path) -> None:
    """It ends without Python's own taking apart, but not without closing the database."""
    command = [sys.executable, "-m", "lamsearch", "submit", "--set", "data.n=300"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("study digits is open")
    assert [path.name for path in tmp_path.iterdir()] == ["lamsearch.db"]


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v is Linux's")
def test_too_little_memory_for_torch_is_one_line(tmp_path: Path) -> None:
    command = shlex.join([sys.executable, "-m", "lamsearch", "worker", "--exit-when-done"])
    limited = ["sh", "-c", f"ulimit -v 600000; exec {command}"]
    done = subprocess.run(limited, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("lamsearch: not enough memory (")
    assert "allow this process more" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_full_disk_behind_a_pipe_is_one_line(database: Path) -> None:
    command = [sys.executable, "-m", "lamsearch", "trials", "--json", "--storage", str(database)]
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 74
    assert done.stderr.count("\n") == 1
    assert "No space left" in done.stderr
