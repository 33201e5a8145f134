"""Our tables, beside Optuna's in the same database. All times are seconds since 1970 on the database's clock."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Double,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    select,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from lamsearch.errors import InputError

SCHEMA_VERSION = 2
SCHEMA_LOCK = 7_214_306_001
"""Key of PostgreSQL's advisory lock around the creation of tables, ours and Optuna's."""

metadata = MetaData()


def _study() -> Column[Any]:
    return Column("study_id", Integer, ForeignKey("lamsearch_studies.id", ondelete="CASCADE"), nullable=False)


studies = Table(
    "lamsearch_studies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(120), nullable=False, unique=True),
    Column("schema_version", Integer, nullable=False),
    Column("config", Text, nullable=False, comment="JSON of StudyConfig"),
    Column("facts", Text, nullable=False, comment="JSON: data fingerprint, m, sizes"),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("created_at", Double, nullable=False),
    Column("deadline", Double, comment="when only the fits of a provisional answer are still wanted"),
    Column("generation", Integer, nullable=False, default=1, comment="grows with every extension of the study"),
    Column("slots_version", Integer, nullable=False, default=0, comment="stamp of the latest change of a slot"),
    Column("executed", Integer, nullable=False, default=0, comment="fold fits started, repeats after faults included"),
    Column("crashes_in_row", Integer, nullable=False, default=0),
    Column("answer", Text, comment="JSON"),
    Column("answered_generation", Integer, nullable=False, default=0),
    Column("looks", Text, nullable=False, default="[]", comment="JSON: each scoring on the test set"),
    Column("optuna_study_id", Integer),
    Column("optuna_baseline_id", Integer),
    Column("mirrored_by", Integer, comment="worker of the latest pass over Optuna's copy"),
    Column("mirrored_at", Double),
    Column(
        "trials_seen", Integer, nullable=False, default=0, comment="Optuna's trials below this number are accounted for"
    ),
    sqlite_autoincrement=True,
)

slots = Table(
    "lamsearch_slots",
    metadata,
    Column("id", Integer, primary_key=True),
    _study(),
    Column("slot", Integer, nullable=False),
    Column("cohort", Integer, nullable=False),
    Column("origin", String(8), nullable=False, comment="budget, extend or baseline"),
    Column("lam_over_m", Double, comment="null until a model-based sampler has proposed it"),
    Column("failed", Text, comment="the reason, once the attempts are used up"),
    Column("stopped", Text, comment="the reason why an epoch pruner ended it"),
    Column("stopped_epochs", Integer, comment="epochs that each of its folds had been trained for by then"),
    Column("stopped_seconds", Float, comment="training time of all its folds until then"),
    Column("stopped_started", Double, comment="when that training began"),
    Column("version", Integer, nullable=False, comment="studies.slots_version at the latest change"),
    Column("n_results", Integer, nullable=False, default=0),
    Column("trial_number", Integer, comment="Optuna's, once mirrored"),
    Column("trial_id", Integer),
    Column("n_mirrored", Integer, nullable=False, default=0, comment="results that Optuna's trial shows"),
    Column("told", String(8), comment="end state that Optuna's trial has been told"),
    UniqueConstraint("study_id", "slot"),
    Index("lamsearch_slots_by_version", "study_id", "version"),
)

fold_results = Table(
    "lamsearch_fold_results",
    metadata,
    Column("id", Integer, primary_key=True),
    _study(),
    Column("slot", Integer, nullable=False),
    Column("replicate", Integer, nullable=False),
    Column("fold", Integer, nullable=False),
    Column("token", String(40), nullable=False, comment="the lease that it was recorded under"),
    Column("lam_over_m", Double, nullable=False),
    Column("score", Double, nullable=False),
    Column("val_acc", Double, nullable=False),
    Column("val_loss", Double, nullable=False),
    Column("train_acc", Double, nullable=False),
    Column("train_loss", Double, nullable=False),
    Column("collapsed", Boolean, nullable=False),
    Column("weight_norm", Double, nullable=False),
    Column("near_zero", Double, nullable=False),
    Column("n_val", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("worker", Text, nullable=False),
    Column("executor", Text, nullable=False),
    Column("hardware", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("recorded_at", Double, nullable=False),
    Column("detail", Text, nullable=False, comment="JSON: norms by layer, scores by epoch"),
    Column("correct", LargeBinary, nullable=False),
    Column("image_loss", LargeBinary, nullable=False),
    UniqueConstraint("study_id", "slot", "replicate", "fold"),
    Index("lamsearch_fold_results_by_id", "study_id", "id"),
    sqlite_autoincrement=True,
)

leases = Table(
    "lamsearch_leases",
    metadata,
    Column("id", Integer, primary_key=True),
    _study(),
    Column("kind", String(8), nullable=False, comment="fit, refit or mirror"),
    Column("slot", Integer, nullable=False),
    Column("replicate", Integer, nullable=False),
    Column("fold", Integer, nullable=False),
    Column("copy", Integer, nullable=False, comment="1: a second worker on a late fit"),
    Column("worker_id", Integer, comment="null: nobody holds it, attempts are kept"),
    Column("token", String(40)),
    Column("started", Double),
    Column("expires", Double),
    Column("attempts", Integer, nullable=False, default=0, comment="crashes and deaths; stops do not count"),
    Column("last_reason", Text, nullable=False, default=""),
    Column("forgivable", String(40), comment="token whose loss was counted, in case its worker proves alive"),
    UniqueConstraint("study_id", "kind", "slot", "replicate", "fold", "copy"),
    Index("lamsearch_leases_by_worker", "worker_id"),
)

workers = Table(
    "lamsearch_workers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uid", String(40), nullable=False, unique=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("device", Text, nullable=False),
    Column("beat_s", Float, nullable=False),
    Column("started", Double, nullable=False),
    Column("last_beat", Double, nullable=False),
    Column("left", Double, comment="when it left, or was found dead"),
    sqlite_autoincrement=True,
)


class now(FunctionElement[float]):
    """Seconds since 1970 on the database's clock, at this statement (not at the transaction's start)."""

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(_element: Any, _compiler: Any, **_kw: Any) -> str:
    # unixepoch('subsec') needs SQLite 3.42.
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(_element: Any, _compiler: Any, **_kw: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


def create(connection: Connection) -> None:
    """Create what is missing. The caller holds the write lock (SQLite); here PostgreSQL takes its own."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SCHEMA_LOCK})
    metadata.create_all(connection)


def check_version(connection: Connection, masked_url: str) -> bool:
    """True if our tables are there. Raises InputError if another release of lamsearch has made them."""
    if not inspect(connection).has_table(studies.name):
        return False
    found = connection.scalar(
        select(studies.c.schema_version).where(studies.c.schema_version != SCHEMA_VERSION).limit(1)
    )
    if found is None:
        return True
    newer = found > SCHEMA_VERSION
    advice = "upgrade lamsearch here" if newer else "finish its studies with that release, or use a new database"
    raise InputError(
        f"storage {masked_url}: its tables have schema {found}, this lamsearch knows {SCHEMA_VERSION}; {advice}"
    )
