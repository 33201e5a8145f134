from __future__ import annotations

from pathlib import Path

import pytest

from lamsearch import study_files
from lamsearch.config import (
    GROWABLE,
    ServiceConfig,
    flatten,
    identity,
    known_keys,
    merge,
    parse_service,
    parse_study,
)
from lamsearch.errors import InputError
from lamsearch.rules import Rules


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"serach": {}}, r"x\.toml: unknown key 'serach'; did you mean 'search'\?"),
        ({"search": {"trails": 3}}, r"unknown key 'search\.trails'; did you mean 'search\.trials'\?"),
        ({"search": {"folds": 1}}, r"search\.folds = 1: .* greater than or equal to 2"),
        ({"search": {"trials": 10**8}}, r"search\.trials = 100000000: .* less than or equal to 100000"),
        ({"search": {"low": 1.0, "high": 0.1}}, r"search\.low must be below search\.high, got \[1, 0\.1\]"),
        ({"search": {"low": 0.0}}, r"search\.low = 0\.0: .* greater than 0"),
        ({"search": {"low": -1e-3}}, r"search\.low = -0\.001"),
        ({"search": {"high": float("inf")}}, r"search\.high = inf"),
        ({"search": {"sampler": "grd"}}, r"search\.sampler = 'grd': .*'grid'"),
        ({"search": 3}, r"search = 3: expected a table of keys"),
        ({"search": {"extend": 0.1}}, r"search\.extend = 0\.1: expected a list of numbers"),
        ({"search": {"high": 1e300}}, r"search\.high = 1e\+300: λ/m must be .*1e30"),
        ({"search": {"trials": True}}, r"search\.trials = True: .*valid integer"),
        ({"data": {"n": "400"}}, r"data\.n = '400': .*valid integer"),
        ({"loss": {"penalise_biases": "yes"}}, r"loss\.penalise_biases = 'yes': .*valid boolean"),
        ({"data": {"label_noise": 1.0}}, r"data\.label_noise = 1\.0: .* less than 1"),
        ({"name": "../x"}, r"name = '\.\./x'"),
        ({"loss": {"penalty": "decoupled"}, "training": {"optimiser": "adam"}}, r"belong together"),
        ({"search": {"extend": [0.1, -1.0]}}, r"search\.extend\.1 = -1\.0: λ/m must be greater than 0"),
    ],
)
def test_bad_input_is_one_line_with_rule_and_value(raw: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_study(raw, where="x.toml")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_range_of_lam_over_m_follows_the_penalty() -> None:
    coupled = parse_study({}, where="x")
    decoupled = parse_study({"loss": {"penalty": "decoupled"}}, where="x")
    assert (coupled.low, coupled.high) == (1e-6, 3e-2)
    assert decoupled.low > coupled.low
    assert decoupled.high > coupled.high
    assert decoupled.training.optimiser == "adamw"
    assert parse_study({"training": {"optimiser": "adamw"}}, where="x").loss.penalty == "decoupled"


def test_growable_keys_are_no_part_of_the_identity() -> None:
    small = parse_study({"search": {"trials": 5}}, where="x")
    large = parse_study({"search": {"trials": 9, "replicates": 2}}, where="x")
    other = parse_study({"search": {"trials": 5, "seed": 1}}, where="x")
    assert identity(small) == identity(large)
    assert identity(small) != identity(other)
    assert set(known_keys()) >= GROWABLE
    wider = parse_study({"search": {"trials": 5, "until": "sure", "tolerance": 0.02}}, where="x")
    assert identity(wider) == identity(small)


def test_the_tolerance_of_sure_follows_the_metric_unless_it_is_given() -> None:
    for search, tolerance in (({}, 0.005), ({"metric": "log_loss"}, 0.015), ({"tolerance": 0.02}, 0.02)):
        config = parse_study({"search": search}, where="x")
        assert config.search.tolerance == tolerance
        assert Rules.of(config.search, n_images=100).scale.tolerance == tolerance
    with pytest.raises(InputError, match=r"search\.tolerance = 0"):
        parse_study({"search": {"tolerance": 0}}, where="x")


def test_the_configuration_survives_its_journey_through_json() -> None:
    config = parse_study({"search": {"extend": [0.1]}, "loss": {"penalty": "l1"}}, where="x")
    assert parse_study(config.model_dump(mode="json"), where="db") == config


def test_dotted_keys_override_tables() -> None:
    raw = merge({"search": {"trials": 5}}, {"search.folds": 3, "name": "n", "data.n": 10})
    assert raw == {"search": {"trials": 5, "folds": 3}, "name": "n", "data": {"n": 10}}
    with pytest.raises(InputError, match="name is a value, not a table"):
        merge({"name": "n"}, {"name.x": 1})


def test_a_lease_outlives_the_retries_and_two_beats() -> None:
    assert ServiceConfig().grace_s > ServiceConfig().retry_s + 2 * ServiceConfig().beat_s
    with pytest.raises(InputError, match=r"grace_s must exceed retry_s \+ 2·beat_s = 160, got 100"):
        parse_service({"grace_s": 100}, where="--set service")


@pytest.mark.parametrize("name", ["digits", "noisy-digits", "fashion-mnist", "cifar10", "cifar10-mse"])
def test_packaged_studies_are_valid_and_runnable_by_bare_name(name: str) -> None:
    assert study_files.load(name, {}).name == name


def test_packaged_studies_say_what_the_issue_of_them_is() -> None:
    assert study_files.load("noisy-digits", {}).data.label_noise == 0.2
    assert study_files.load("cifar10-mse", {}).loss.data == "mse"
    assert flatten(study_files.load("digits", {"search.trials": 3}))["search.trials"] == 3


def test_unknown_names_and_files_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no packaged study named 'digit'; did you mean 'digits'\?"):
        study_files.load("digit", {})
    with pytest.raises(InputError, match="no such study file"):
        study_files.load(str(tmp_path / "a.toml"), {})
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ", encoding="utf-8")
    with pytest.raises(InputError, match="not a readable study file"):
        study_files.load(str(broken), {})


def test_a_file_without_a_name_is_called_as_the_file_is(tmp_path: Path) -> None:
    path = tmp_path / "my study.toml"
    path.write_bytes(b"\xef\xbb\xbf[search]\ntrials = 3\n")  # as some editors begin a file
    assert study_files.load(str(path), {}).name == "my-study"
    assert study_files.load(str(path), {"name": "other"}).name == "other"
