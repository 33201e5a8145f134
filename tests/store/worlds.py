"""A world without training: fold results made up from λ, so that a whole study takes a second."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

from lamsearch.config import ServiceConfig, StudyConfig, parse_study
from lamsearch.records import EpochScore, FitKey, FoldResult
from lamsearch.store import Claim, Done, Store, StudyRow, Wait, WorkerInfo

FACTS = {"fingerprint": "f" * 64, "m": 1000, "n_images": 500, "n_classes": 10}


def config(name: str = "s", **search: Any) -> StudyConfig:
    """A small study."""
    defaults = {"trials": 4, "folds": 3, "pruner": "none"}
    return parse_study({"name": name, "search": {**defaults, **search}}, where="test")


def service(**values: Any) -> ServiceConfig:
    """Service settings that give up quickly."""
    return ServiceConfig(**{"beat_s": 1.0, "retry_s": 5.0, "grace_s": 60.0, **values})


def hasty(grace_s: float = 0.4, **values: Any) -> ServiceConfig:
    """Leases that run out while a test watches."""
    return ServiceConfig(**{"beat_s": 0.05, "retry_s": grace_s / 2, "grace_s": grace_s, **values})


def score(lam_over_m: float, key: FitKey) -> float:
    """A bump at 1e-3, fold effects, and a little noise that depends on nothing but the key."""
    decades = math.log10(lam_over_m) + 3 if lam_over_m else -4.0
    return 0.9 - 0.01 * decades**2 + 0.01 * key.fold + 0.0001 * ((key.slot * 7919 + key.fold * 31) % 17)


def result(claim: Claim, key: FitKey | None = None, **values: Any) -> FoldResult:
    """What training would have given."""
    key = key or claim.keys[0]
    value = score(claim.lam_over_m, key)
    made: dict[str, Any] = {
        **{"key": key, "lam_over_m": claim.lam_over_m, "score": value, "val_acc": value, "val_loss": 1 - value},
        **{"train_acc": 0.95, "train_loss": 0.1, "weight_norm": 3.0, "near_zero": 0.25},
        **{"grad_norms": {"conv1": 0.1, "dense2": 0.2}, "layer_norms": {"conv1": 1.0, "dense2": 2.0}},
        "epochs": (EpochScore(epoch=1, train_loss=0.3, train_acc=0.8, val_loss=0.4, val_acc=value),),
        **{"n_val": 100, "correct": b"\x01" * 13, "image_loss": b"\x02" * 200, "seconds": 0.01},
        **{"worker": "w1", "executor": "none", "hardware": "cpu", "started_at": 1.0},
    }
    return FoldResult(**{**made, **values})


def register(store: Store, host: str = "here") -> int:
    """A worker."""
    return store.register(WorkerInfo(host=host, pid=os.getpid(), device="cpu"))


def claimed(store: Store, study: StudyRow, worker_id: int) -> Claim:
    """A claim that must succeed."""
    found = store.claim(study.id, worker_id)
    assert isinstance(found, Claim), found
    return found


def work(
    store: Store, study: StudyRow, worker_id: int, *, fits: int = 10**6, after: Callable[[], object] = lambda: None
) -> Done | None:
    """Do up to ``fits`` claims; the final word, if there was one."""
    for _ in range(fits):
        found = store.claim(study.id, worker_id)
        if isinstance(found, Done):
            return found
        assert not isinstance(found, Wait), found
        assert store.record(found, *(result(found, key) for key in found.keys))
        after()
    return None


def mirrored(store: Store, study: StudyRow, worker_id: int | None = None) -> None:
    """Bring Optuna's copy up to date, whatever it takes."""
    for _ in range(3):
        if store.mirror(study.id, worker_id):
            return
    raise AssertionError("the mirror does not finish")
