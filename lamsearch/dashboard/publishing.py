"""The answer in optuna-dashboard: verdict as study note, numbers as attributes, the CV curve as an interactive plot."""

from __future__ import annotations

import warnings

import optuna
from optuna.storages import BaseStorage

from lamsearch import changes, numerals, wording
from lamsearch.answer import Answer
from lamsearch.dashboard.storage import open_url
from lamsearch.errors import UnknownStudy

GRAPH_ID = "lamsearch-cv-curve"
STUDY_ATTR = "lamsearch_study"
"""Study attribute that survives a rename in the dashboard, by which we find the study again."""


def publish(storage: BaseStorage | str, study_name: str, answer: Answer) -> None:
    """Write note, attributes, metric name and CV curve of ``answer`` into Optuna's study. Repeatable.

    A study renamed in the dashboard is found by the attribute that it carries along. The plot spans several rows and
    is not atomic: one process publishes at a time. Raises UnknownStudy.
    """
    from optuna_dashboard import get_note, save_note, save_plotly_graph_object  # noqa: PLC0415 (a second to import)

    from lamsearch.dashboard.curve import figure  # noqa: PLC0415 (plotly)

    study = _find(open_url(storage) if isinstance(storage, str) else storage, study_name, answer.study)
    known = study.user_attrs
    for name, value in attributes(answer).items():
        if name not in known or known[name] != value:
            study.set_user_attr(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([f"validation {numerals.metric_name(answer.metric)}"])
    body = note(answer)
    if get_note(study) != body:  # a new version would discard what somebody is typing
        save_note(study, body)
    save_plotly_graph_object(study, figure(answer), graph_object_id=GRAPH_ID)


def _find(storage: BaseStorage, study_name: str, stored_name: str) -> optuna.Study:
    everything = storage.get_all_studies()
    for found in everything:
        if found.study_name == study_name:
            return optuna.load_study(study_name=study_name, storage=storage)
    for found in everything:
        if found.user_attrs.get(STUDY_ATTR) == stored_name:
            return optuna.load_study(study_name=found.study_name, storage=storage)
    raise UnknownStudy(study_name, [found.study_name for found in everything])


def attributes(answer: Answer) -> dict[str, str | float | int]:
    """The answer's numbers as study attributes: short, flat, JSON."""
    found: dict[str, str | float | int] = {
        STUDY_ATTR: answer.study,
        "answer": wording.headline(answer),
        "status": answer.status,
        "verdict": answer.verdict,
        "matters": int(answer.matters),
        "lam_best": answer.lam,
        "lam_best_over_m": answer.lam_over_m,
        "lam_1se": answer.lam_1se,
        "lam_1se_classical": answer.lam_1se_classical,
        "lam_carried": answer.lam_carried,
        "range_low": answer.range_low,
        "range_high": answer.range_high,
        "cv_mean": answer.cv.mean,
        "cv_sem": answer.cv_sem,
        "fold_fits": answer.budget.fold_fits,
        "fold_fits_full": answer.budget.fold_fits_full,
        "epochs": answer.budget.epochs,
        "epochs_full": answer.budget.epochs_full,
    }
    if answer.gain is not None:
        found |= {"gain": answer.gain.mean, "gain_low": answer.gain.low, "gain_high": answer.gain.high}
    if answer.detectable_gain is not None:
        found["detectable_gain"] = answer.detectable_gain
    if answer.corrected is not None:
        found["cv_corrected"] = answer.corrected.mean
    if answer.other_metric_lam is not None:
        found[f"lam_best_by_{answer.other_metric}"] = answer.other_metric_lam
    if (test := answer.test) is not None:
        found |= {
            "test_accuracy": test.accuracy,
            "test_low": test.low,
            "test_high": test.high,
            "test_looks": test.looks,
        }
    return found


def note(answer: Answer) -> str:
    """The answer as GitHub Markdown."""
    rows = [f"| {_plain(label)} | {_plain(text)} |" for label, text in wording.facts(answer)]
    bullets = [f"* {_plain(text)}" for text in changes.would_change(answer)]
    return "\n".join(
        [
            f"## {_plain(wording.headline(answer))}",
            "",
            *["| | |", "|---|---|", *rows],
            "",
            "### What would change this answer",
            "",
            *bullets,
            "",
            "The *best trial* that this dashboard shows is the one with the highest mean, which is not a verdict. "
            "λ = 0 is the companion study with `/baseline` in its name. Written by `lamsearch publish`.",
        ]
    )


def _plain(text: str) -> str:
    """Text that Markdown takes as text."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
    return "".join(f"\\{character}" if character in r"\`*_{}[]#|~" else character for character in text)
