"""§5.8: on random labels nothing can be learnt, and an honest answer says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lamsearch import dossier, preparation
from lamsearch.config import ServiceConfig, parse_study
from lamsearch.stopping import Stop
from lamsearch.store import Store
from lamsearch.worker import Options, Worker

CHANCE = 0.25


def test_random_labels_cv_best_above_chance_corrected_and_test_contain_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    images = rng.normal(size=(600, 10, 10)).astype(np.float32)
    np.savez(tmp_path / "noise.npz", images=images, labels=rng.permutation(np.repeat(np.arange(4), 150)))
    config = parse_study(
        {
            "name": "noise",
            "data": {"source": f"npz:{tmp_path}/noise.npz"},
            "model": {"kind": "linear"},
            "training": {"epochs": 4},
            "search": {"trials": 24, "folds": 4, "pruner": "none", "low": 1e-4, "high": 1.0},
        },
        where="test",
    )
    store = Store(str(tmp_path / "study.db"), service=ServiceConfig(poll_s=0.05))
    _, facts = preparation.facts(config)
    store.submit(config, facts)
    assert Worker(store, Options(exit_when_done=True), Stop()).run() == 0
    answer = dossier.current_answer(store, store.study("noise"))
    assert answer is not None
    assert answer.corrected is not None
    assert answer.corrected.method == "bbc-cv"
    assert answer.test is not None
    assert answer.cv.mean > CHANCE
    assert answer.corrected.mean < answer.cv.mean
    assert answer.corrected.low is not None
    assert answer.corrected.high is not None
    assert answer.corrected.low <= CHANCE <= answer.corrected.high
    assert answer.test.low <= CHANCE <= answer.test.high
    assert not answer.helps
