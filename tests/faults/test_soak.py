"""Hundreds of faults, over several studies, on both databases: each ends like the same study undisturbed.

LAMSEARCH_SOAK_FAULTS says how many (200). Every fourth study is served by workers that somebody might have started,
``python -m lamsearch worker``, imports and all; the others by forked ones, which are there for more of the faults.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from chaos import SERVER_FAULTS, WORKER_FAULTS, Chaos, Command, Kind, drawn, linear
from end_state import EndState
from forked import Programs
from server import Server

STUDIES = (
    linear("paired", epochs=80, trials=24, folds=4),
    linear("wilcoxon", epochs=80, trials=12, folds=4, sampler="qmc", pruner="wilcoxon", seed=1),
    linear("all", epochs=80, trials=10, folds=5, sampler="random", pruner="none", metric="log_loss", seed=2),
)
AT_ONCE = 20
"""Faults in one study, at most."""

LIMIT_S = 600.0


def course(number: int, folder: Path, programs: Programs, server: Server) -> tuple[Chaos, Sequence[Kind], float]:
    """The ``number``-th study, the faults that it may meet, and how many seconds apart."""
    on_server, commands = number % 2 == 1, number % 4 == 3
    chaos = Chaos(
        server.create_database() if on_server else f"sqlite:///{folder}/a.db",
        STUDIES[number // 2 % len(STUDIES)],
        folder,
        n_workers=2 + number % 3,
        start=Command if commands else programs.start,
        seed=number,
        server=server if on_server else None,
    )
    kinds = (*SERVER_FAULTS, *WORKER_FAULTS, *SERVER_FAULTS) if on_server else WORKER_FAULTS
    return chaos, kinds, 1.2 if commands else 0.6


@pytest.mark.soak
@pytest.mark.postgres
@pytest.mark.timeout(2 * 3600)
def test_hundreds_of_faults_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    programs: Programs,
    own_server: Server,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = int(os.environ.get("LAMSEARCH_SOAK_FAULTS", "200"))
    began = time.monotonic()
    done: Counter[str] = Counter()
    fits: Counter[str] = Counter()
    undisturbed: dict[str, EndState] = {}
    for number in itertools.count():
        chaos, kinds, every_s = course(number, tmp_path_factory.mktemp("soak"), programs, own_server)
        name = chaos.study.name
        if name not in undisturbed:
            folder = tmp_path_factory.mktemp("undisturbed")
            alone = Chaos(f"sqlite:///{folder}/a.db", chaos.study, folder, n_workers=1, start=programs.start)
            undisturbed[name] = alone.run(limit_s=LIMIT_S).end
        n = min(AT_ONCE, wanted // 2 + 1, wanted - done.total())
        outcome = chaos.run(drawn(number, n, kinds, every_s=every_s), limit_s=LIMIT_S)
        assert outcome.end.unlike(undisturbed[name]) == []
        done += outcome.faults
        fits += Counter(executed=outcome.executed, recorded=outcome.unique)
        with capsys.disabled():
            print(f"\n{number + 1}: {chaos.n_workers} workers, {'PostgreSQL' if chaos.server else 'SQLite'}, {outcome}")
        if done.total() >= wanted:
            break
    with capsys.disabled():
        by_kind = ", ".join(f"{n} × {kind}" for kind, n in done.most_common())
        print(
            f"{done.total()} faults ({by_kind}) in {number + 1} studies: {fits['executed']} fold fits executed, "
            f"{fits['recorded']} recorded, every table and answer as undisturbed; {time.monotonic() - began:.0f} s"
        )
