"""Study files: TOML → one validated, frozen ``StudyConfig``.

Keys fall into three groups. *identity*: a difference means another study. *growable*: may change when a
study is resumed (budget, range segments, replicates). *free*: never part of the study.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from lamsearch.errors import InputError

GROWABLE = frozenset({"search.trials", "search.replicates", "search.extend", "search.until", "search.tolerance"})
"""Dotted keys that a resumed study may change. All others of ``StudyConfig`` are identity."""

TOLERANCE = {"accuracy": 0.005, "log_loss": 0.015}
"""Default of ``search.tolerance``: half a percentage point, or as many nats as matter alike."""

Penalty = Literal["l2", "l1", "elastic_net", "decoupled"]
Sampler = Literal["grid", "qmc", "random", "tpe", "gp"]
Pruner = Literal["paired", "wilcoxon", "median", "percentile", "halving", "hyperband", "none"]
Share = Annotated[float, Field(ge=0, lt=1)]


def _lam_over_m(value: float) -> float:
    if not 1e-30 <= value <= 1e30:
        raise ValueError("λ/m must be greater than 0 (from 1e-30 to 1e30)")
    return value


LamOverM = Annotated[float, AfterValidator(_lam_over_m)]


class _Table(BaseModel):
    # Strict: `true` is no 1 and "yes" no true.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, strict=True)


class DataConfig(_Table):
    """``[data]``: which images. ``source`` is a named data set, or ``folder:PATH`` / ``npz:PATH``."""

    source: str = "digits"
    n: int = Field(default=0, ge=0, description="stratified subset of the search data; 0 = all")
    test_share: float = Field(default=0.2, gt=0, lt=0.9, description="held out when the data set has no test set")
    label_noise: Share = Field(default=0.0, description="share of *training* labels replaced at random")


class ModelConfig(_Table):
    """``[model]``: ``cnn`` is the article's network, ``linear`` a single dense layer; else ``module:function``."""

    kind: str = "cnn"


class LossConfig(_Table):
    """``[loss]``: data loss + penalty. The penalty is λ/(2m) Σw² (l2), λ/m Σ|w| (l1), or a mix of the two."""

    data: Literal["cross_entropy", "mse"] = "cross_entropy"
    penalty: Penalty = "l2"
    l1_ratio: float = Field(default=0.5, ge=0, le=1, description="share of l1 in elastic_net")
    penalise_biases: bool = False


class TrainingConfig(_Table):
    """``[training]``: how one member is trained. ``gd`` takes one full-batch step per epoch."""

    optimiser: Literal["adam", "sgd", "gd", "adamw"] = "adam"
    lr: float = Field(default=1e-3, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    batch: int = Field(default=32, ge=1)
    epochs: int = Field(default=10, ge=1)


class SearchConfig(_Table):
    """``[search]``: which λ's, how they are compared, and how much may be spent."""

    trials: int = Field(default=17, ge=1, le=100_000)
    folds: int = Field(default=5, ge=2)
    low: LamOverM | None = Field(default=None, description="lowest λ/m")
    high: LamOverM | None = Field(default=None, description="highest λ/m")
    sampler: Sampler = "grid"
    pruner: Pruner = "paired"
    metric: Literal["accuracy", "log_loss"] = "accuracy"
    seed: int = Field(default=0, ge=0)
    replicates: int = Field(default=1, ge=0, le=100, description="sets of folds for the finalists; 0 = automatic")
    until: Literal["spent", "sure"] = "spent"
    tolerance: float | None = Field(default=None, gt=0, description="what `sure` allows, in units of the metric")
    extend: tuple[LamOverM, ...] = Field(default=(), strict=False, description="λ/m values added beyond the range")


class StudyConfig(_Table):
    """One study, whole. It travels in SQL: a worker needs the database and the data, nothing else."""

    name: str = Field(default="digits", min_length=1, max_length=120, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    search: SearchConfig = SearchConfig()

    @model_validator(mode="before")
    @classmethod
    def _default_range(cls, raw: Any) -> Any:
        """Fill in what follows from other keys: AdamW ⇔ decoupled decay, its ~100 times higher range, the tolerance."""
        if not isinstance(raw, Mapping):
            return raw
        tables = [raw.get(name, {}) for name in ("search", "loss", "training")]
        if not all(isinstance(table, Mapping) for table in tables):
            return raw
        search, loss, training = tables
        if training.get("optimiser") == "adamw":
            loss = {"penalty": "decoupled", **loss}
        elif loss.get("penalty") == "decoupled":
            training = {"optimiser": "adamw", **training}
        low, high = (1e-4, 3.0) if loss.get("penalty") == "decoupled" else (1e-6, 3e-2)
        given = {key: value for key, value in search.items() if value is not None}
        follows = {"low": low, "high": high, "tolerance": TOLERANCE.get(str(search.get("metric", "accuracy")))}
        return {**raw, "search": {**follows, **given}, "loss": loss, "training": training}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"search.low must be below search.high, got [{self.low:g}, {self.high:g}]")
        adamw = self.training.optimiser == "adamw"
        if adamw != (self.loss.penalty == "decoupled"):
            raise ValueError(
                "loss.penalty = 'decoupled' and training.optimiser = 'adamw' belong together, got "
                f"{self.loss.penalty!r} with {self.training.optimiser!r}"
            )
        return self

    @property
    def low(self) -> float:
        """Lowest λ/m searched."""
        return self.search.low or 0.0

    @property
    def high(self) -> float:
        """Highest λ/m searched."""
        return self.search.high or 0.0


class ServiceConfig(_Table):
    """``[service]``: properties of this process, never of the study (the *free* keys)."""

    beat_s: float = Field(default=20.0, gt=0)
    grace_s: float = Field(default=180.0, gt=0)
    retry_s: float = Field(default=120.0, ge=0)
    poll_s: float = Field(default=0.5, gt=0)
    max_attempts: int = Field(default=3, ge=1)
    max_crashes: int = Field(default=10, ge=1, description="crashed fold fits in a row that stop the study")

    @model_validator(mode="after")
    def _lease_outlives_retry(self) -> Self:
        if self.grace_s <= self.retry_s + 2 * self.beat_s:
            raise ValueError(
                f"service.grace_s must exceed retry_s + 2·beat_s = {self.retry_s + 2 * self.beat_s:g}, "
                f"got {self.grace_s:g}"
            )
        return self


def parse_study(raw: Mapping[str, Any], *, where: str) -> StudyConfig:
    """Validate a nested mapping. ``where`` names its origin in messages. Raises InputError."""
    return _validated(StudyConfig, raw, where)


def parse_service(raw: Mapping[str, Any], *, where: str) -> ServiceConfig:
    """Validate the ``[service]`` keys. Raises InputError."""
    return _validated(ServiceConfig, raw, where)


def merge(base: Mapping[str, Any], dotted: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with dotted keys (``"search.trials": 50``) laid over it."""
    merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in base.items()}
    for key, value in dotted.items():
        table, _, leaf = key.rpartition(".")
        target = merged.setdefault(table, {}) if table else merged
        if not isinstance(target, dict):
            raise InputError(f"{key}: {table} is a value, not a table of the study file")
        target[leaf] = value
    return merged


def flatten(config: StudyConfig) -> dict[str, Any]:
    """All keys, dotted, with JSON values."""
    flat: dict[str, Any] = {}
    for key, value in config.model_dump(mode="json").items():
        if isinstance(value, dict):
            flat.update({f"{key}.{leaf}": item for leaf, item in value.items()})
        else:
            flat[key] = value
    return flat


def identity(config: StudyConfig) -> dict[str, Any]:
    """The dotted keys that make it this study and no other."""
    return {key: value for key, value in flatten(config).items() if key not in GROWABLE and key != "name"}


def known_keys() -> list[str]:
    """Every dotted key of a study file, in order."""
    return [*flatten(StudyConfig())]


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint naming the nearest known word, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


_Model = TypeVar("_Model", bound=BaseModel)


def _validated(model: type[_Model], raw: Mapping[str, Any], where: str) -> _Model:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(f"{where}: {_sentence(model, first)}") from None


_PLAIN = {
    "tuple_type": "expected a list of numbers, such as [0.1, 0.3]",
    "model_type": "expected a table of keys",
    "string_pattern_mismatch": "letters, digits, '.', '_' and '-' only, a letter or digit first",
}


def _sentence(model: type[BaseModel], problem: Any) -> str:
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        table: Any = model
        for part in path[:-1]:
            table = table.model_fields[part].annotation
        near = nearest(path[-1], table.model_fields).replace("did you mean '", "did you mean '" + key[: -len(path[-1])])
        return f"unknown key {key!r}{near}"
    message = _PLAIN.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    return f"{key} = {problem['input']!r}: {message}" if key else message
