"""What was done, exactly, so that somebody else can do it again; and the words that the report uses."""

from __future__ import annotations

from collections.abc import Mapping

from lamsearch import numerals
from lamsearch.answer import Dossier
from lamsearch.report.markup import Markup, el, joined

DATA_LOSS = {
    "cross_entropy": "softmax cross-entropy, mean over images",
    "mse": "1/(2n) Σ‖h(x) − y‖² on one-hot labels",
}
PENALTY = {
    "l2": "λ/(2m) · Σ w²",
    "l1": "λ/m · Σ |w|",
    "elastic_net": "λ/m · (ρ Σ |w| + (1 − ρ)/2 Σ w²)",
    "decoupled": "decoupled weight decay λ/m (AdamW), outside the gradient",
}
TERMS = (
    ("λ", "Strength of the penalty on the weights. λ = 0, no penalty at all, is the baseline and is always measured."),
    ("λ/m", "λ per penalised weight; m is their number. It is PyTorch's weight_decay for SGD and Adam, and carries "
     "from one network to another, which λ does not."),
    ("λ̂", "The λ that cross-validation chooses, among those measured on all folds."),
    ("λ₁ₛₑ", "The largest λ whose score is within one standard error of λ̂'s, by paired differences: for those who "
     "prefer the stronger penalty where the score is the same."),
    ("paired", "Every λ of a fold has the same images, initial weights and batches, so two λ's are compared fold by "
     "fold; what makes a fold easy or hard cancels."),
    ("cannot be told from", "The 95 % interval of the paired difference reaches zero. The interval allows for folds "
     "that share training images (Nadeau & Bengio 2003)."),
    ("dropped early", "Not trained on further folds, because the scores so far made it unlikely to be the best."),
    ("fold fit", "One network trained on all folds but one and scored on that one: the unit of cost."),
    ("test", "Images that no fold and no choice has seen; scored once, after a last training on all the others."),
)  # fmt: skip


def protocol(dossier: Dossier) -> Markup:
    """The loss, the settings, the data, the machines, the versions, and the command."""
    settings, facts = dossier.settings, dossier.facts
    return el(
        "section",
        el("h2", "The exact protocol"),
        _loss(settings, dossier.answer.m),
        el("p", "Run it again with"),
        el("pre", el("code", dossier.command)),
        el("h3", "Settings"),
        _table(settings),
        el("h3", "Data and network"),
        _table(facts),
        el("h3", "Machines and versions"),
        _table({**dossier.versions, **_machines(dossier)}),
        id="protocol",
    )


def _loss(settings: Mapping[str, object], m: int) -> Markup:
    data = str(settings.get("loss.data", ""))
    penalty = str(settings.get("loss.penalty", ""))
    what = "weights and biases" if settings.get("loss.penalise_biases") else "weights, not biases"
    ratio = f", ρ = {settings.get('loss.l1_ratio')}" if penalty == "elastic_net" else ""
    formula = el("p", "loss = data loss + ", PENALTY.get(penalty, penalty), class_="formula")
    text = el("p", f"Data loss: {DATA_LOSS.get(data, data)}. Penalised: {what}; m = {m:,}{ratio}.")
    return joined(formula, text)


def _machines(dossier: Dossier) -> dict[str, object]:
    results = dossier.results
    found = {
        "fold fits on": sorted({result.hardware for result in results} - {""}),
        "trainer": sorted({result.executor for result in results} - {""}),
        "workers": len({result.worker for result in results} - {""}),
    }
    return {name: value for name, value in found.items() if value}


def _table(values: Mapping[str, object]) -> Markup:
    rows = [el("tr", el("th", name, scope="row"), el("td", _text(value))) for name, value in values.items()]
    return el("table", el("tbody", *rows), class_="facts")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ("", [], ()):
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, float):
        return numerals.lam(value) if 0 < abs(value) < 0.01 else f"{value:g}"
    return str(value)


def words() -> Markup:
    """What the words mean."""
    pairs = [joined(el("dt", term), el("dd", meaning)) for term, meaning in TERMS]
    return el("section", el("h2", "Words"), el("dl", *pairs, class_="terms"), id="words")
