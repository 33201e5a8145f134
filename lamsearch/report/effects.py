"""What λ does to the network: overfitting, weights, gradients, learning curves, and the numbers behind the figures."""

from __future__ import annotations

from collections.abc import Mapping

from lamsearch import fates, numerals
from lamsearch.answer import Answer, Dossier
from lamsearch.report import course, evidence, tables
from lamsearch.report.averages import Averages
from lamsearch.report.markup import Markup, el
from lamsearch.report.sections import figure

COLLAPSED = "λ's at which networks collapsed lie on the rim."
SHRINKS = {
    "l2": "L2 pulls each weight towards zero in proportion to its size: weights shrink. L1 would pull all alike, and "
    "empty most of them.",
    "l1": "L1 pulls all weights towards zero alike, so that many become zero. L2 would only shrink them.",
    "elastic_net": "The elastic net does both: L1 empties weights, L2 shrinks them.",
    "decoupled": "Decoupled decay shrinks each weight by the same share at every step, whatever its gradient.",
}


def effects(dossier: Dossier, averages: Mapping[int, Averages]) -> Markup:
    """What λ does to the network."""
    answer, settings = dossier.answer, dossier.settings
    return el(
        "section",
        el("h2", "What λ does to the network"),
        el("h3", "Overfitting"),
        figure(evidence.overfitting, answer, averages, caption=_overfitting(answer, averages, settings)),
        el("h3", "Size of the weights"),
        figure(evidence.weights, answer, averages, caption=_weights(answer, averages, settings)),
        el("h3", "Does the penalty make gradients vanish?"),
        figure(evidence.gradients, answer, averages, caption=_gradients(answer, averages)),
        el("h3", "Learning curves"),
        figure(course.learning, answer, averages, caption=_learning(averages)),
        el("details", el("summary", "The numbers behind these figures"), tables.evidence(answer, averages)),
        id="effects",
    )


def _overfitting(answer: Answer, averages: Mapping[int, Averages], settings: Mapping[str, object]) -> str:
    said = evidence.gaps(answer, averages)
    if lacking := fates.lacking(answer):
        said += f" Small marks: {lacking}."
    if any(row.collapsed for row in averages.values()):
        said += f" {COLLAPSED}"
    noise = settings.get("data.label_noise")
    if isinstance(noise, int | float) and noise > 0:
        share = numerals.percent(noise, 0)
        said += f" {share} of the training labels are wrong on purpose, so the training line may lie below the other."
    else:
        said += " The more, the stronger the overfitting."
    return said


def _learning(averages: Mapping[int, Averages]) -> str:
    said = "Mean over the folds measured; the same scale in every panel."
    return f"{said} {COLLAPSED}" if any(row.collapsed for row in averages.values()) else said


def _weights(answer: Answer, averages: Mapping[int, Averages], settings: Mapping[str, object]) -> str:
    said = SHRINKS.get(str(settings.get("loss.penalty")), "")
    return f"{evidence.shrinking(answer, averages)} {said} Mean over the folds measured.".strip()


def _gradients(answer: Answer, averages: Mapping[int, Averages]) -> str:
    how = "Norm of each layer's weight gradient (data loss), mean over the steps of the last epoch and the folds."
    return f"{evidence.vanishing(answer, averages)} {how}".strip()
