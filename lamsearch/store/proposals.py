"""Which λ's a study tries. Pure functions of (search settings, position), or, for model-based samplers, of the table.

In one dimension an even log grid or a low-discrepancy sequence leaves the smallest gaps; a slot's λ never depends on
who asks, or when.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from lamsearch.config import SearchConfig
from lamsearch.records import BASELINE, FitKey, ScoreTable

_Key = TypeVar("_Key")

COHORT = 64
"""λ's raced together, at most, by samplers that do not look at results."""

MODEL_COHORT = 12
"""λ's that ``tpe`` and ``gp`` propose at once, about."""


def model_based(search: SearchConfig) -> bool:
    """True if λ's depend on results: they are proposed cohort by cohort."""
    return search.sampler in ("tpe", "gp")


def cohort_sizes(search: SearchConfig, n: int) -> list[int]:
    """``n`` new λ's in as few cohorts as allowed, of nearly equal size (100 → 50 + 50, not 64 + 36)."""
    if n <= 0:
        return []
    cohorts = math.ceil(n / (MODEL_COHORT if model_based(search) else COHORT))
    return [n // cohorts + (i < n % cohorts) for i in range(cohorts)]


def propose(search: SearchConfig, position: int) -> float:
    """λ/m of the ``position``-th λ (from 0) of ``grid``, ``qmc`` or ``random``; ``tpe`` and ``gp`` begin like ``qmc``.

    ``grid``: both ends, the middle, the quarters, …: 2ʲ + 1 points make an even grid on log λ, and it can grow.
    """
    if search.sampler == "grid":
        share = float(position) if position < 2 else van_der_corput(position - 1)
    elif search.sampler == "random":
        share = _uniform(search.seed, "random", position)
    else:
        share = (van_der_corput(position + 1) + _uniform(search.seed, "rotation", 0)) % 1.0
    return at(search, share)


def at(search: SearchConfig, share: float) -> float:
    """λ/m at ``share`` ∈ [0, 1] of the range's logarithm; the ends exactly."""
    low, high = _ends(search)
    if share in (0.0, 1.0):
        return high if share else low
    return min(max(math.exp((1 - share) * math.log(low) + share * math.log(high)), low), high)


def van_der_corput(n: int) -> float:
    """The binary digits of ``n`` mirrored at the point: 1 → 1/2, 2 → 1/4, 3 → 3/4, 4 → 1/8, …"""
    share, unit = 0.0, 0.5
    while n:
        share += unit * (n & 1)
        n, unit = n >> 1, unit / 2
    return share


def adjusted_means(scores: Mapping[FitKey, float], slots: Sequence[int]) -> dict[int, float]:
    """Mean score per slot, corrected for which cells it has seen: least squares of score = slot + cell.

    A λ that was dropped after an easy fold would look good by its plain mean. Slots without scores are left out.
    """
    wanted = set(slots)
    # Sorted: sums must not depend on the order in which results arrived.
    rows = [(key.slot, key.cell, score) for key, score in sorted(scores.items()) if key.slot in wanted]
    cells = {cell: 0.0 for _, cell, _ in rows}
    level: dict[int, float] = {}
    # Alternating means converge to the least-squares fit of the two-way additive model; differences between slots
    # are all that a sampler uses, so the free constant does not matter.
    for _ in range(100):
        before = dict(level)
        level = _means((slot, score - cells[cell]) for slot, cell, score in rows)
        cells = _means((cell, score - level[slot]) for slot, cell, score in rows)
        if before and max(abs(level[slot] - before[slot]) for slot in level) < 1e-12:
            break
    offset = sum(cells.values()) / len(cells) if cells else 0.0
    return {slot: round(value + offset, 12) for slot, value in sorted(level.items())}


def propose_cohort(search: SearchConfig, cohort: int, table: ScoreTable) -> list[float]:
    """λ/m for the slots of ``cohort`` (rising), from Optuna's TPE or GP on what the table holds.

    Asked for the whole cohort at once, seeded by (seed, cohort): whoever asks gets the same.
    """
    import optuna  # noqa: PLC0415 - half a second, and only these samplers need it

    slots = {row.slot: row for row in table.slots if row.slot != BASELINE}
    known = [slot for slot in sorted(slots) if slots[slot].cohort < cohort and slots[slot].lam_over_m is not None]
    means = adjusted_means(table.scores, known)
    low, high = _ends(search)
    space = {"lam_over_m": optuna.distributions.FloatDistribution(low, high, log=True)}
    seed = int(_uniform(search.seed, "cohort", cohort) * 2**31)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler: optuna.samplers.BaseSampler
            if search.sampler == "gp":
                sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=1)
            else:
                sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=1)
            study = optuna.create_study(direction="maximize", sampler=sampler)
            for slot, mean in means.items():
                lam = slots[slot].lam_over_m
                if lam is not None and low <= lam <= high:
                    study.add_trial(
                        optuna.trial.create_trial(params={"lam_over_m": lam}, distributions=dict(space), value=mean)
                    )
            wanted = sum(row.cohort == cohort for row in slots.values())
            # Trials left RUNNING are what both samplers spread the rest of the cohort around.
            return [float(study.ask(dict(space)).params["lam_over_m"]) for _ in range(wanted)]
    finally:
        optuna.logging.set_verbosity(verbosity)


def _ends(search: SearchConfig) -> tuple[float, float]:
    assert search.low is not None  # StudyConfig fills both in
    assert search.high is not None
    return search.low, search.high


def _means(pairs: Iterable[tuple[_Key, float]]) -> dict[_Key, float]:
    sums: dict[_Key, tuple[float, int]] = {}
    for key, value in pairs:
        total, n = sums.get(key, (0.0, 0))
        sums[key] = (total + value, n + 1)
    return {key: total / n for key, (total, n) in sums.items()}


def _uniform(seed: int, purpose: str, position: int) -> float:
    digest = hashlib.sha256(f"lamsearch {purpose} {seed} {position}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
