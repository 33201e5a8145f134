"""Whenever somebody looks at a study, there is an answer, a report and a plot: after every fold fit of a real one."""

from __future__ import annotations

import math
import shutil
import sqlite3
from collections.abc import Iterator
from html import escape
from pathlib import Path

import pytest
from test_worker import opened, serve, study_config

from lamsearch import dossier, wording
from lamsearch.answer import from_json, to_json
from lamsearch.dashboard import curve
from lamsearch.errors import NoAnswerYet
from lamsearch.report import page, tables
from lamsearch.store import Store

STUDIES = {
    "paired": {"search": {"trials": 6}},
    "log loss, replicates": {"search": {"trials": 3, "metric": "log_loss", "pruner": "none", "replicates": 2}},
    "wilcoxon": {"search": {"trials": 4, "pruner": "wilcoxon", "sampler": "qmc"}},
    "median": {"search": {"trials": 4, "pruner": "median"}, "training": {"epochs": 4}},
}


def prefixes(file: Path, folder: Path) -> Iterator[Store]:
    """The study as it was after 1, 2, … of its fold fits, and once more with a λ that failed."""
    with sqlite3.connect(file) as whole:
        ids = [row[0] for row in whole.execute("SELECT id FROM lamsearch_fold_results ORDER BY id")]
    for number, last in enumerate([*ids, ids[-1]]):
        path = folder / f"{number}.db"
        shutil.copy(file, path)
        with sqlite3.connect(path) as cut:
            cut.execute("DELETE FROM lamsearch_fold_results WHERE id > ?", (last,))
            cut.execute(
                "UPDATE lamsearch_slots SET n_results = (SELECT count(*) FROM lamsearch_fold_results AS result "
                "WHERE result.study_id = lamsearch_slots.study_id AND result.slot = lamsearch_slots.slot)"
            )
            cut.execute("UPDATE lamsearch_studies SET state = 'open', answer = NULL")
            if number == len(ids):
                cut.execute("UPDATE lamsearch_slots SET failed = 'crashed' WHERE slot = 1")
        store = Store(str(path), read_only=True)
        yield store
        store.close()


@pytest.mark.parametrize("name", list(STUDIES))
def test_every_moment_of_a_study_has_an_answer_a_report_and_a_plot(name: str, tmp_path: Path) -> None:
    made, _ = opened(tmp_path, study_config(**STUDIES[name]))
    assert serve(made) == (0, [])
    made.close()
    (tmp_path / "prefixes").mkdir()
    told = 0
    for store in prefixes(tmp_path / "study.db", tmp_path / "prefixes"):
        row = store.study("small")
        try:
            case = dossier.dossier(store, row)
        except NoAnswerYet:
            assert told == 0, "what has been told stays"
            continue
        told += 1
        answer = case.answer
        assert from_json(to_json(answer)) == answer
        assert answer.status == "provisional"
        assert answer.lam > 0
        assert math.isfinite(answer.cv.mean)
        assert escape(wording.headline(answer)) in page.html(case)
        assert len(tables.folds_csv(answer, case.results, case.trials).splitlines()) > len(case.results)
        assert curve.figure(answer).to_json()
    assert told >= 3
