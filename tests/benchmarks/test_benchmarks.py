"""A short pass of each benchmark (`pytest -m benchmark`): that they run and say what they should.

Speeds are not asserted here: they are ratios to be read, from a machine that does nothing else.
"""

from __future__ import annotations

import pytest

from tests.benchmarks import fit_cost, scaling
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
