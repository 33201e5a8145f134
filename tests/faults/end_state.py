"""What is left of a study when all is over: what must be the same whatever happened on the way, and what must hold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select

from lamsearch import dossier
from lamsearch.records import BASELINE, FitKey, FoldResult
from lamsearch.store import Store, StudyRow, tables
from lamsearch.store.optuna_study import sign

BY_CHANCE = {"budget": ("seconds", "fit_seconds", "fold_fits_executed"), "test": ("seconds",)}
"""Parts of an answer that tell how long it took, not what was found."""

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass(frozen=True, kw_only=True)
class EndState:
    """``cells``: every fold result without times and workers. ``trials``: λ, state, scores, where dropped, by slot.

    ``answer``: as JSON, without the parts of ``BY_CHANCE``.
    """

    cells: Mapping[FitKey, FoldResult]
    trials: Mapping[int, Mapping[str, Any]]
    answer: Mapping[str, Any]

    def unlike(self, other: EndState) -> list[str]:
        """What differs, in words: empty if all is the same, bit for bit."""
        found = []
        for part in ("cells", "trials", "answer"):
            ours, theirs = getattr(self, part), getattr(other, part)
            for key in {**theirs, **ours}:
                if ours.get(key) != theirs.get(key):
                    found.append(f"{part}, {key}: {ours.get(key)} instead of {theirs.get(key)}")
        return found


def end_state(store: Store, study: StudyRow) -> EndState:
    """Read it. Raises AssertionError if a cell is there twice, or if there is no answer."""
    results = store.results(study.id)
    cells = {result.key: dataclasses.replace(result, seconds=0.0, started_at=0.0, worker="") for result in results}
    assert len(cells) == len(results), "a cell was recorded twice"
    answer = store.answer(study.id)
    assert answer is not None, f"study {study.name} is {study.state} without an answer"
    for part, keys in BY_CHANCE.items():
        answer[part] = {key: value for key, value in answer[part].items() if key not in keys}
    trials = {record["slot"]: {**record, "trial": None} for record in dossier.trial_records(store, study)}
    return EndState(cells=cells, trials=trials, answer=answer)


def check(store: Store, study: StudyRow, url: str) -> None:
    """What must hold by itself: the study is done, its budget exact, nothing held, and Optuna's copy the same."""
    end = end_state(store, study)
    assert (study.state, study.answered) == ("done", True)
    budget = end.answer["budget"]
    assert budget["trials"] == study.config.search.trials == len(end.trials) - 1
    assert budget["complete"] + budget["pruned"] + budget["failed"] == budget["trials"]
    assert budget["failed"] == 0
    assert budget["fold_fits"] == len(end.cells)
    assert _leases(store) == []
    name = study.name
    _same(study, end, _shown(url, name), [slot for slot in end.trials if slot != BASELINE])
    _same(study, end, _shown(url, f"{name}/baseline"), [BASELINE])


def _leases(store: Store) -> list[tuple[Any, ...]]:
    return store.database.read(lambda connection: [tuple(row) for row in connection.execute(select(tables.leases))])


def _shown(url: str, name: str) -> dict[int, FrozenTrial]:
    """Optuna's trials by slot. What a lost acknowledgement has created twice carries the reason, and does not count."""
    trials = optuna.load_study(study_name=name, storage=url).trials
    kept = [trial for trial in trials if not str(trial.user_attrs.get("reason", "")).startswith("duplicate")]
    assert len({trial.user_attrs["slot"] for trial in kept}) == len(kept), f"{name}: one slot, several trials"
    return {trial.user_attrs["slot"]: trial for trial in kept}


def _same(study: StudyRow, end: EndState, shown: Mapping[int, FrozenTrial], slots: list[int]) -> None:
    assert sorted(shown) == sorted(slots)
    for slot in slots:
        ours, theirs = end.trials[slot], shown[slot]
        assert theirs.state is STATES[ours["state"]], f"slot {slot}: {ours['state']}, in Optuna {theirs.state.name}"
        scores = [sign(study.config) * score for score in ours["fold_scores"]]
        assert theirs.user_attrs["fold_scores"] == scores
        assert theirs.intermediate_values == {n: math.fsum(scores[:n]) / n for n in range(1, len(scores) + 1)}
        assert theirs.value == math.fsum(scores) / len(scores)
        assert theirs.params.get("lam", 0.0) == ours["lam_over_m"] * study.facts["m"]
