"""What was done, exactly, so that somebody else can do it again; and the words that the report uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lamsearch import numerals, splits
from lamsearch.answer import Dossier
from lamsearch.report.figures import BEST
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
SEEDS = 20
"""Fold seeds that are listed."""
TERMS = (
    ("λ", "Strength of the penalty on the weights. λ = 0, no penalty at all, is the baseline and is always measured."),
    ("λ/m", "λ per penalised weight; m is their number. It is PyTorch's weight_decay for SGD and Adam, and carries "
     "from one network to another better than λ does."),
    ("λ̂", "The λ that cross-validation chooses, among those measured on all folds."),
    ("λ₁ₛₑ", "The largest λ whose score is within one standard error of λ̂'s, by paired differences: for those who "
     "prefer the stronger penalty where the score is the same within the error."),
    ("paired", "Every λ of a fold has the same images, initial weights and batches, so two λ's are compared fold by "
     "fold; what makes a fold easy or hard cancels. A λ without all folds is compared by its level: its mean, less how "
     "easy its folds are."),
    ("cannot be told from", "The 95 % interval of the difference holds zero. The interval allows for folds that share "
     "training images (Nadeau & Bengio 2003), and is one λ's: of many that are truly as good, some fall outside."),
    ("dropped early", "Not trained on further folds: unlikely to be the best by the scores so far, or no more "
     "promising than others that were trained on."),
    ("fold fit", "One network trained on all folds but one and scored on that one: the unit of cost."),
    ("test", "Images that no fold and no choice has seen; scored once, after a last training on all the others."),
)  # fmt: skip
RATES = (
    "The 95 % interval of the gain over λ = 0 (paired differences, Nadeau & Bengio 2003) is not widened for λ̂ being "
    "the best of many. In simulated studies without any gain it lay above 0 in about 3 of 100 where a λ's errors are "
    "independent from fold to fold, and in 12 of 100 (18 with automatic replicates) where their correlation is "
    "1/k, for which the interval is made. Measured tables have shown a correlation of about 0."
)


def protocol(dossier: Dossier) -> Markup:
    """The loss, the settings, the data, the machines, the versions, and the command."""
    settings, facts = dossier.settings, dossier.facts
    return el(
        "section",
        el("h2", "The exact protocol"),
        _loss(settings, dossier.answer.m),
        el("p", "Run it again with"),
        el("pre", el("code", dossier.command)),
        el("h3", "Procedure"),
        el("ol", *(el("li", step) for step in _steps(dossier))),
        el("h3", "Settings"),
        _table("Settings", settings),
        el("h3", "Data and network"),
        _table("Data and network", facts),
        el("h3", "Machines and versions"),
        _table("Machines and versions", {**_machines(dossier), **dossier.versions}),
        id="protocol",
    )


def _loss(settings: Mapping[str, object], m: int) -> Markup:
    data = str(settings.get("loss.data", ""))
    penalty = str(settings.get("loss.penalty", ""))
    what = "weights and biases" if settings.get("loss.penalise_biases") else "weights, not biases"
    ratio = f", ρ = {settings.get('loss.l1_ratio')}" if penalty == "elastic_net" else ""
    formula = el("p", "loss = data loss + ", PENALTY.get(penalty, penalty), class_="formula")
    text = el("p", f"Data loss: {DATA_LOSS.get(data, data)}. Penalised: {what}; m\u00a0=\u00a0{m:,}{ratio}.")
    return joined(formula, text)


def _steps(dossier: Dossier) -> Iterator[str]:
    """What was done, in order."""
    answer, settings = dossier.answer, dossier.settings
    held = dossier.facts.get("n_test")
    if isinstance(held, int):
        yield f"{numerals.count(held, 'image')} are set apart for the test; {answer.n_images:,} are left to search."
    yield f"The search images are split into {answer.n_folds} folds, stratified by class."
    seed = settings.get("search.seed")
    if isinstance(seed, int):
        cells = [(r, f) for r in range(answer.n_replicates) for f in range(answer.n_folds)]
        shown = ", ".join(str(splits.fold_seed(seed, *cell)) for cell in cells[:SEEDS])
        rest = f" and {len(cells) - SEEDS} more" if len(cells) > SEEDS else ""
        yield (
            f"Every fold has one seed for initial weights and batch order, the same for every λ, so that "
            f"differences are paired. They follow from the study's seed {seed}: {shown}{rest}."
        )
    pruner = settings.get("search.pruner")
    race = f", until the pruner “{pruner}” drops those unlikely to be the best, or no more promising than others"
    yield f"λ = 0 and every λ asked for are trained on the folds{'' if pruner in (None, 'none') else race}."
    tie = "within half an image of the best" if answer.chosen_by.startswith("mean") else "equal to the last digit"
    yield f"{BEST} is chosen by the {answer.chosen_by}; of λ's {tie} the largest is taken."
    yield RATES
    more = numerals.percent(1 / (answer.n_folds - 1), 0)
    yield (
        f"One network is trained at {BEST} on all search images, for as many epochs, and tested once. It has {more} "
        "more images than a fold's: one reason for a test score above that of cross-validation."
    )


def _machines(dossier: Dossier) -> dict[str, object]:
    results = dossier.results
    found: dict[str, object] = {
        "trainer": sorted({result.executor for result in results} - {""}),
        "workers": len({result.worker for result in results} - {""}),
    }
    return {name: value for name, value in found.items() if value}


def _table(name: str, values: Mapping[str, object]) -> Markup:
    rows = [el("tr", el("th", name, scope="row"), el("td", _text(value))) for name, value in values.items()]
    return el("table", el("tbody", *rows), class_="facts", aria_label=name)


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
