"""Hundreds of faults, over several studies, on both databases: each ends like the same study undisturbed.

LAMSEARCH_SOAK_FAULTS says how many (200). Every fourth study is served by workers that somebody might have started,
``python -m lamsearch worker``, imports and all; the others by forked ones, which are there for more of the faults.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import pytest
from chaos import SERVER_FAULTS, WORKER_FAULTS, Chaos, Command, drawn, linear
from end_state import EndState
from programs import Programs
from server import Server

STUDIES = (
    linear("paired", epochs=120, trials=24, folds=4),
    linear("wilcoxon", epochs=100, trials=12, folds=4, sampler="qmc", pruner="wilcoxon", seed=1),
    linear("all", epochs=100, trials=10, folds=5, sampler="random", pruner="none", metric="log_loss", seed=2),
)
AT_ONCE = 20
"""Faults in one study, at most."""


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
    began, number, executed, unique = time.monotonic(), 0, 0, 0
    done: Counter[str] = Counter()
    undisturbed: dict[str, EndState] = {}

    def folder() -> Path:
        return tmp_path_factory.mktemp("soak")

    while done.total() < wanted:
        study = STUDIES[number // 2 % len(STUDIES)]
        if study.name not in undisturbed:
            alone = Chaos(f"sqlite:///{folder()}/a.db", study, folder(), n_workers=1, start=programs.start)
            undisturbed[study.name] = alone.run(limit_s=600).end
        server = own_server if number % 2 else None
        kinds = (*SERVER_FAULTS, *WORKER_FAULTS, *SERVER_FAULTS) if server else WORKER_FAULTS
        commands = number % 4 == 3
        chaos = Chaos(
            server.create_database() if server else f"sqlite:///{folder()}/a.db",
            study,
            folder(),
            n_workers=2 + number % 3,
            start=Command if commands else programs.start,
            seed=number,
            server=server,
        )
        n = min(AT_ONCE, wanted // 2 + 1, wanted - done.total())
        outcome = chaos.run(drawn(number, n, kinds, every_s=1.2 if commands else 0.6), limit_s=600)
        assert outcome.end == undisturbed[study.name]
        done += outcome.faults
        executed, unique, number = executed + outcome.executed, unique + outcome.unique, number + 1
    with capsys.disabled():
        by_kind = ", ".join(f"{n} × {kind}" for kind, n in done.most_common())
        print(
            f"\n{done.total()} faults ({by_kind}) in {number} studies: {executed} fold fits executed, "
            f"{unique} recorded, every table and answer as undisturbed; {time.monotonic() - began:.0f} s"
        )
