"""A short pass of each benchmark (`pytest -m benchmark`): that they run and say what they should.

Speeds are not asserted here: they are ratios to be read, from a machine that does nothing else.
"""

from __future__ import annotations

import math

import pytest

from tests.benchmarks import answer_time, around, fit_cost, scaling, steps
from tests.benchmarks.common import save

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]


def test_the_cost_of_a_fold_fit_is_told_against_the_peers() -> None:
    result = fit_cost.run(["fashion"], n=500, epochs=1, rounds=1)
    save("fit_cost-short", **result)
    found = result["fashion"]
    assert found["times_cheaper"]["median"] > 0
    assert 0 < found["needed"]["median"] <= found["nominal"]["median"]


def test_the_speed_of_two_workers_is_told_against_one() -> None:
    found = scaling.speed_up(1)
    assert found["times"]["median"] > 0


def test_the_time_to_an_answer_is_told_by_its_factors() -> None:
    found = answer_time.run("digits", n=300, epochs=1, seeds=1, trials=3)["ratios"]["default"]
    factors = [found[name]["median"] for name in ("fewer_fold_fits", "cheaper_fold_fit", "all_else")]
    assert math.prod(factors) == pytest.approx(found["times_faster"]["median"])
    assert min(factors) > 0


def test_a_step_of_each_engine_is_told() -> None:
    found = steps.run(["digits"], rounds=1)["digits"]
    assert found["chosen"] in ("chain", "autograd")
    assert all(found[name]["median"] > 0 for name in ("chain", "autograd", "plain"))


def test_what_surrounds_the_training_is_told() -> None:
    found = around.default_run()
    assert 0 < found["first_fit_s"] < found["first_result_s"] < found["all_s"]
