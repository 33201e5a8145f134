"""What a study stands on is known, and refused where it cannot be used, before anything is written."""

from __future__ import annotations

import pytest

from lamsearch import preparation
from lamsearch.config import parse_study
from lamsearch.errors import InputError


def facts(**tables: object) -> dict[str, object]:
    _, found = preparation.facts(parse_study({"data": {"n": 200}, **tables}, where="test"))
    return found


def test_the_facts_of_the_digits() -> None:
    found = facts(search={"folds": 4})
    assert found["m"] == 52_768
    assert found["n_images"] == 200
    assert found["n_classes"] == 10
    assert found["chance"] == pytest.approx(0.1, abs=0.005)  # the largest class of the digits
    assert found["shape"] == [1, 16, 16]
    sizes = found["fold_sizes"]
    assert isinstance(sizes, list)
    assert (len(sizes), sum(sizes)) == (4, 200)


def test_m_counts_biases_only_when_they_are_penalised() -> None:
    plain, with_biases = facts(), facts(loss={"penalise_biases": True})
    assert with_biases["m"] == 52_768 + 32 + 64 + 128 + 10
    assert plain["fingerprint"] == with_biases["fingerprint"]


def test_other_images_have_another_fingerprint() -> None:
    assert len({facts()["fingerprint"], facts(search={"seed": 1})["fingerprint"]}) == 2


def test_foreign_code_runs_only_when_allowed() -> None:
    config = parse_study({"model": {"kind": "antigravity:fly"}}, where="test")
    with pytest.raises(InputError, match="--allow-code"):
        preparation.facts(config)
    with pytest.raises(InputError, match="antigravity:fly"):
        preparation.facts(config, allow_code=True)


@pytest.mark.parametrize("key", ["fingerprint", "m", "n_images", "n_test"])
def test_data_that_are_not_the_studys_are_refused(key: str) -> None:
    found = facts()
    preparation.check_same("mine", found, found)
    with pytest.raises(InputError, match=rf"those of study 'mine' \({key}: stored 'other'"):
        preparation.check_same("mine", {**found, key: "other"}, found)
