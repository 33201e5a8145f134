"""The targets, as tests (`pytest -m benchmark`). They need a machine that does nothing else."""

from __future__ import annotations

import pytest

from tests.benchmarks import answer_time, fit_cost, scaling
from tests.benchmarks.common import save

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(0)]


def test_a_fold_fit_costs_a_third_of_the_peers_and_runs_at_over_half_the_peak():
    result = fit_cost.run(["fashion", "colour"], n=1500, epochs=2, rounds=3)
    save("fit_cost", **result)
    assert all(found["times_cheaper"]["median"] >= 3 for found in result.values())
    assert result["colour"]["nominal"]["median"] >= 0.55


def test_the_answer_comes_eight_times_sooner():
    result = answer_time.run("fashion", n=1000, epochs=5, seeds=1)
    save("answer_time-fashion", **result)
    assert result["ratios"]["default"]["times_faster"]["median"] >= 8
    assert result["ratios"]["same_trials"]["times_faster"]["median"] >= 4


def test_two_workers_do_the_work_of_two():
    found = scaling.speed_up(3)
    if found["cores"] < 2:
        pytest.skip("one core")
    assert found["times"]["median"] >= 1.85 / 2 * found["cores"]
