"""The end of a study: train once more at λ̂ on all search images, test once, store the answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import ndtri

from lamsearch import dossier
from lamsearch.answer import Answer, TestScore
from lamsearch.config import StudyConfig, identity
from lamsearch.problem import Member, Problem
from lamsearch.records import FoldResult
from lamsearch.splits import derived_seed
from lamsearch.store import Store, StudyRow
from lamsearch.training import LoopTrainer, Refit, TrainerType, refit


def conclude(
    store: Store,
    study: StudyRow,
    ready: Problem,
    test_images: np.ndarray,
    *,
    stop: Callable[[], bool],
    trainer: TrainerType = LoopTrainer,
) -> Answer:
    """Choose λ̂, score it on the test set (unless that has been done), and return the final answer.

    Raises Interrupted when ``stop()`` turns true during the refit, NoAnswerYet without any score.
    """
    measured = dossier.read(store, study)
    positions = {result.key.cell: _positions(ready, result) for result in measured[1]}
    chosen = dossier.decide(store, study, measured=measured, positions=positions)
    protocol = fingerprint(study.config)
    looks = [look for look in store.looks(study.id) if look["protocol"] == protocol]
    known = next((look for look in looks if look["lam_over_m"] == chosen.lam_over_m), None)
    if known is None:
        seed = derived_seed("refit", study.config.search.seed)
        known = _look(
            refit(ready, chosen.lam_over_m, ready.search, test_images, seed, trainer=trainer, stop=stop),
            lam_over_m=chosen.lam_over_m,
            protocol=protocol,
        )
        everything = store.add_look(study.id, known)
        looks = [look for look in everything if look["protocol"] == protocol]
    low, high = wilson(round(known["accuracy"] * known["n"]), known["n"])
    test = TestScore(
        accuracy=known["accuracy"],
        loss=known["loss"],
        low=low,
        high=high,
        n=known["n"],
        looks=len(looks),
        lam_over_m=known["lam_over_m"],
        seconds=known["seconds"],
    )
    return dossier.decide(store, study, measured=measured, positions=positions, test=test, final=True)


def fingerprint(config: StudyConfig) -> str:
    """What a test score depends on besides λ: every identity key. Another protocol is another experiment."""
    text = json.dumps(identity(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def wilson(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Wilson 1927): in [0, 1] even at 0 or n correct."""
    z = float(ndtri(0.5 + confidence / 2))
    share = correct / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def _look(score: Refit, *, lam_over_m: float, protocol: str) -> dict[str, Any]:
    return {
        "lam_over_m": lam_over_m,
        "protocol": protocol,
        "accuracy": score.accuracy,
        "loss": score.loss,
        "n": score.n,
        "seconds": score.seconds,
    }


def _positions(ready: Problem, result: FoldResult) -> np.ndarray:
    """Which images a fold fit validated: the same for every λ of the cell."""
    return ready.split(Member(result.key.slot, *result.key.cell, result.lam_over_m)).val
