"""Progress: counts, levels that no easy fold flatters, forecasts."""

from __future__ import annotations

import time

import pytest

from lamsearch.config import StudyConfig, parse_study
from lamsearch.plan import plan
from lamsearch.progress import SPARE_FITS, Clock, Progress, summarise
from lamsearch.records import BASELINE, FitKey, ScoreTable, SlotRow
from lamsearch.rules import Rules
from tests.score_worlds import lams, play, rules, slots_at, world

N = 6


def table(scores: dict[tuple[int, int], float]) -> ScoreTable:
    slots = [SlotRow(slot=BASELINE, cohort=0, lam_over_m=0.0)]
    slots += [SlotRow(slot=number, cohort=0, lam_over_m=10.0 ** (number - 7)) for number in range(N)]
    return ScoreTable(slots=tuple(slots), scores={FitKey(s, 0, f): score for (s, f), score in scores.items()})


def looked(scores: dict[tuple[int, int], float], clock: Clock | None = None, **search: object) -> Progress:
    config: StudyConfig = parse_study({"search": {"trials": N, "folds": 3, **search}}, where="test")
    rules = Rules.of(config.search, n_images=1000)
    seen = table(scores)
    return summarise("s", config, seen, plan(seen, rules), rules, clock or Clock())


def test_before_the_first_fit_nothing_is_known_and_the_cost_is_forecast() -> None:
    found = looked({})
    assert (found.fits_done, found.best, found.eta_s, found.fits_per_minute) == (0, None, None, None)
    assert N + 1 <= found.fits_expected <= 3 * (N + 1)
    assert [point.state for point in found.curve] == ["waiting"] * N


def test_without_a_pruner_every_fit_is_expected() -> None:
    assert looked({}, pruner="none").fits_expected == 3 * (N + 1)


@pytest.mark.parametrize("n", [9, 33])
def test_the_race_spends_what_was_forecast_for_it(n: int) -> None:
    slots = slots_at(lams(n))
    spent = [len(play(slots, world(n, seed=seed, noise=0.006), rules())[0]) for seed in range(6)]
    config = parse_study({"search": {"trials": n}}, where="test")
    seen = ScoreTable(slots=slots, scores={})
    forecast = summarise("s", config, seen, plan(seen, rules()), rules(), Clock()).fits_expected
    assert forecast == pytest.approx(sum(spent) / len(spent), rel=0.12)


def test_an_easy_fold_flatters_no_lambda() -> None:
    easy = {(slot, 0): 0.95 for slot in range(BASELINE, N)}
    hard = {(slot, 1): 0.85 for slot in range(BASELINE, N - 1)}
    found = looked(easy | hard)
    assert {round(point.score or 0, 9) for point in found.curve} == {0.9}
    assert found.best_mean == pytest.approx(0.9)


def test_the_best_is_chosen_among_lambdas_with_most_folds() -> None:
    scores = {(slot, 0): 0.9 + 0.001 * slot for slot in range(BASELINE, N)} | {(BASELINE, 1): 0.9, (2, 1): 0.5}
    assert looked(scores).best == 10.0**-5


def test_the_clock_starts_with_the_first_new_fit_not_with_the_workers_start() -> None:
    clock = Clock()
    assert clock.rate(10) is None
    time.sleep(0.2)
    assert clock.rate(11) is None  # the first new fit: only now does the clock run
    time.sleep(0.1)
    assert clock.rate(12) is None
    rate = clock.rate(15)
    assert rate is not None
    assert 4 / 0.15 < rate <= 4 / 0.1


def test_a_single_look_uses_the_rate_that_the_database_knows() -> None:
    scores = {(slot, 0): 0.9 for slot in range(BASELINE, N)}
    found = looked(scores, Clock(known=2.0))
    assert found.eta_s == (found.fits_expected - found.fits_done) / 2.0
    assert found.fits_per_minute == 120.0
    assert found.closing_s > SPARE_FITS / 2.0


def test_a_finished_study_has_nothing_left() -> None:
    scores = {(slot, fold): 0.9 for slot in range(BASELINE, N) for fold in range(3)}
    found = looked(scores, Clock(known=2.0), pruner="none")
    assert (found.complete, found.eta_s, found.fits_expected) == (N, None, found.fits_done)
