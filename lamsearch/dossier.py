"""From stored rows to the answer and its evidence. Reads the database, decides nothing itself."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamsearch import certainty, environment, fates, numerals, selection
from lamsearch.answer import Answer, Budget, Dossier, StudyMeta, TestScore, from_json
from lamsearch.config import StudyConfig, flatten
from lamsearch.errors import NoAnswerYet
from lamsearch.plan import Plan, plan
from lamsearch.progress import rules_of
from lamsearch.records import FitKey, FoldResult, ScoreTable
from lamsearch.store import Store, StudyRow

Positions = Mapping[tuple[int, int], NDArray[np.int64]]
Measured = tuple[ScoreTable, tuple[FoldResult, ...]]
"""A score table, and the result of each of its fits."""


def current_answer(store: Store, study: StudyRow) -> Answer | None:
    """The stored answer, or while the study runs what its results say so far; None before the first of them."""
    stored = store.answer(study.id) if study.answered else None
    if stored is not None:
        return from_json(stored)
    try:
        return decide(store, study)
    except NoAnswerYet:
        return None


def read(store: Store, study: StudyRow) -> Measured:
    """What has been measured by now. Workers go on recording between two reads: what is not in the table waits."""
    table = store.table(study.id)
    return table, tuple(result for result in store.results(study.id) if result.key in table.scores)


def decide(
    store: Store,
    study: StudyRow,
    *,
    measured: Measured | None = None,
    positions: Positions | None = None,
    test: TestScore | None = None,
    final: bool = False,
) -> Answer:
    """The answer from the results in the database, or from those ``measured`` by then. Raises NoAnswerYet."""
    table, results = measured or read(store, study)
    rules = rules_of(study)
    now = plan(table, rules)
    metric = study.config.search.metric
    answer = selection.select(
        table,
        parked=now.parked,
        meta=StudyMeta(
            study=study.name,
            metric=metric,
            m=study.facts["m"],
            n_folds=study.config.search.folds,
            n_images=study.facts["n_images"],
            low=study.config.low,
            high=study.config.high,
            n_replicates=study.config.search.replicates,
            chance=study.facts.get("chance"),
        ),
        budget=budget(table, results, executed=store.executed(study.id), config=study.config, now=now),
        oof={result.key: image_scores(result, metric) for result in results},
        positions=positions,
        collapsed=[result.key for result in results if result.collapsed],
        other_scores={result.key: -result.val_loss if metric == "accuracy" else result.val_acc for result in results},
        test=test,
        final=final,
    )
    if test is None:
        answer = dataclasses.replace(answer, looked=len(store.looks(study.id)))
    if final:
        said = [*answer.notes, *how_it_ended(study.config, now, rules.scale.tolerance)]
        answer = dataclasses.replace(answer, notes=tuple(said))
    return answer


def how_it_ended(config: StudyConfig, now: Plan, tolerance: float) -> list[str]:
    """What the search's end says about the answer, if it is not simply that everything was done."""
    if not now.done:
        return ["Time was up before the search was over; the same command without --time goes on from here."]
    if config.search.until != "sure":
        return []
    within = numerals.size(config.search.metric, tolerance)
    early = any(parked.reason == certainty.REASON for parked in now.parked.values())
    sure = f"Sure within {within}: the search ended early, when no λ could be better than that."
    return [sure if early else f"The search did not end early for being sure within {within}: the race was over first."]


def image_scores(result: FoldResult, metric: str) -> NDArray[Any]:
    """The score of each validation image of a fold fit, (n_val,), higher is better: 1/0 correct, or −loss."""
    if metric == "accuracy":
        return np.unpackbits(np.frombuffer(result.correct, dtype=np.uint8), count=result.n_val)
    return -np.frombuffer(result.image_loss, dtype=np.float16).astype(np.float64)


def budget(
    table: ScoreTable, results: Sequence[FoldResult], *, executed: int, config: StudyConfig, now: Plan
) -> Budget:
    """What has been spent when the plan says ``now``. ``seconds``: time while at least one network was training."""
    n_folds = config.search.folds
    search = [row for row in table.slots if not row.is_baseline]
    complete = {row.slot for row in search if all(FitKey(row.slot, 0, fold) in table.scores for fold in range(n_folds))}
    failed = {row.slot for row in search if row.failed is not None} - complete
    stopped = [row for row in search if row.stopped is not None]
    ended = complete | failed | {row.slot for row in stopped} | set(now.parked)
    unfinished = 0 if now.done else sum(row.slot not in ended for row in search)
    begun = {key.slot for key in table.scores} | {row.slot for row in stopped} | failed
    stopped_epochs = n_folds * sum(row.stopped_epochs for row in stopped)
    spans = [(result.started_at, result.seconds) for result in results]
    spans += [(row.stopped_started, row.stopped_seconds) for row in stopped]
    return Budget(
        trials=len(search),
        complete=len(complete),
        pruned=len(search) - len(complete) - len(failed) - unfinished,
        failed=len(failed),
        fold_fits=len(results),
        fold_fits_executed=max(executed, len(results) + len(stopped) * n_folds),
        fold_fits_stopped=len(stopped) * n_folds,
        fold_fits_full=(len(search) + 1) * n_folds,
        seconds=_covered([(began, began + seconds) for began, seconds in spans]),
        fit_seconds=sum(seconds for _, seconds in spans),
        epochs=sum(len(result.epochs) for result in results) + stopped_epochs,
        epochs_full=(len(search) + 1) * n_folds * config.training.epochs,
        stopped_epochs=stopped_epochs,
        not_started=sum(row.slot not in begun for row in search),
        unfinished=unfinished,
    )


def dossier(store: Store, study: StudyRow) -> Dossier:
    """All that a report needs. Raises NoAnswerYet."""
    # The answer first: results that a later read finds beyond it do no harm.
    stored = store.answer(study.id) if study.answered else None
    table, results = measured = read(store, study)
    answer = from_json(stored) if stored is not None else decide(store, study, measured=measured)
    versions = dict(environment.versions())
    used = sorted({result.hardware for result in results if result.hardware})
    if used:
        versions["hardware"] = "; ".join(used)
    return Dossier(
        answer=answer,
        results=results,
        settings=flatten(study.config),
        facts=study.facts,
        versions=versions,
        command=command(study.config),
        created_at=study.created_at,
        trials={
            row.slot: row.trial_number for row in table.slots if row.trial_number is not None and not row.is_baseline
        },
    )


def command(config: StudyConfig) -> str:
    """A command that repeats the study: everything that differs from the defaults, given with ``--set``."""
    default = flatten(StudyConfig())
    given = {key: value for key, value in flatten(config).items() if value != default[key]}
    source = given.pop("name", None)
    parts = ["lamsearch", "run", "digits", *(("--name", str(source)) if source else ())]
    return shlex.join(
        [*parts, *chain.from_iterable(("--set", f"{key}={_toml(value)}") for key, value in given.items())]
    )


def trial_records(store: Store, study: StudyRow) -> list[dict[str, Any]]:
    """One record per λ, the baseline first: what ``lamsearch trials`` prints.

    ``mean`` is over ``fold_scores``; ``score``, ``in_range``, ``differs`` and ``fate`` are the answer's. ``trial``: its
    number in Optuna's study; the baseline (slot −1) has none there.
    """
    answer = current_answer(store, study)
    points = {point.slot: point for point in answer.curve} if answer else {}
    table = store.table(study.id)
    now = plan(table, rules_of(study))
    n_folds = study.config.search.folds
    records = []
    for row in sorted(table.slots, key=lambda row: row.slot):
        keys = sorted(key for key in table.scores if key.slot == row.slot)
        first = [table.scores[key] for key in keys if key.replicate == 0]
        parked = now.parked.get(row.slot)
        state = "complete" if len(first) == n_folds else "running" if first else "waiting"
        if row.failed is not None:
            state = "failed"
        elif parked is not None and state != "complete":
            state = "pruned" if now.done else "parked"
        lam = 0.0 if row.is_baseline else row.lam_over_m
        point = points.get(row.slot)
        records.append(
            {
                "slot": row.slot,
                "trial": None if row.is_baseline else row.trial_number,
                "lam": None if lam is None else lam * study.facts["m"],
                "lam_over_m": lam,
                "state": state,
                "mean": float(np.mean(first)) if first else None,
                "score": point.mean if point else None,
                "in_range": point.in_range if point and point.mean is not None else None,
                "differs": fates.differs(answer, point) if answer and point else "–",
                "folds": len(first),
                "fold_scores": first,
                "replicate_scores": [table.scores[key] for key in keys if key.replicate > 0],
                "dropped_after": parked.after if parked and state in ("pruned", "parked") else None,
                "fate": fates.fate(answer, point) if answer and point else None,
                "reason": row.failed or (parked.reason if parked and state in ("pruned", "parked") else None),
            }
        )
    return records


def proposed_extension(store: Store, study: StudyRow) -> tuple[float, ...]:
    """λ/m values that follow the edges of the present answer: half a decade apart, up to the proposed ends."""
    answer = current_answer(store, study)
    values: list[float] = []
    for edge in answer.edges if answer else ():
        if edge.low is None or edge.high is None:
            continue
        steps = np.arange(np.log10(edge.low), np.log10(edge.high) + 1e-9, 0.5)
        tried = [point.lam_over_m for point in (answer.curve if answer else ()) if point.lam_over_m > 0]
        values += [float(10**step) for step in steps if not min(tried) * 0.9 <= 10**step <= max(tried) * 1.1]
    return tuple(sorted(set(values)))


def _covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union of time spans."""
    total, end = 0.0, float("-inf")
    for begin, finish in sorted(spans):
        total += max(0.0, finish - max(begin, end))
        end = max(end, finish)
    return total


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, (list, tuple)) else str(value)
