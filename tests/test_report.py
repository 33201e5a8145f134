"""The report: one file that says the answer, holds every figure, and lets no name break out of it."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from dossiers import dossier, renamed

from lamsearch import changes, fates, numerals, others, report, splits, wording
from lamsearch.answer import Dossier, Optimism
from lamsearch.records import BASELINE, Parked
from lamsearch.report import averages, axes, course, evidence, figures, page, raster, sections, tables
from lamsearch.report.scene import Area, Dot, Line, Scene, Text, standalone_svg

FIGURES = ("curve", "overfitting", "weights", "gradients", "learning", "budget")
CASES = {
    "helps": {},
    "not shown, few λ's": {"n_lams": 17, "bump": 0.0},
    "hurts": {"shift": -0.02, "bump": 0.0, "noise": 0.002},
    "log loss, one failed, provisional": {"metric": "log_loss", "failed": 7, "tested": False},
    "collapse at large λ": {"high": 0.5, "collapse_from": 0.1},
    "three folds": {"n_lams": 5, "n_folds": 3},
}


@pytest.fixture(scope="module", params=list(CASES), ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Dossier:
    return dossier(**CASES[request.param])


class Outline(HTMLParser):
    """Checks nesting and collects what a test asks about."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open[-1:]):
            self.text.append(data.replace("\u00a0", " "))


def test_the_page_is_well_formed_and_ids_are_unique(case: Dossier) -> None:
    outline = Outline(page.html(case))
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [attrs["href"] for tag, attrs in outline.tags if tag == "a" and str(attrs["href"]).startswith("#")]
    assert {str(target)[1:] for target in targets} <= set(ids)


def test_the_verdict_comes_first_in_words_and_numbers(case: Dossier) -> None:
    answer = case.answer
    text = " ".join(Outline(page.html(case)).text)
    order = [
        text.index(part, text.index("lamsearch · study"))
        for part in (wording.headline(answer), others.lede(answer), "What would change this answer")
    ]
    assert order == sorted(order)
    assert text.index(numerals.lam(answer.lam_over_m)) < text.index("What would change this answer")


def test_every_number_of_the_answer_is_the_answers(case: Dossier) -> None:
    answer = case.answer
    text = " ".join(Outline(page.html(case)).text)
    for said in (
        wording.gain(answer),
        wording.one_se(answer),
        wording.both(answer, answer.lam_1se_classical),
        wording.both(answer, answer.lam_carried),
        wording.test(answer),
        *changes.would_change(answer),
    ):
        assert said in text
    assert str(answer.budget.fold_fits) in text
    assert case.command in text
    for version in case.versions.values():
        assert version in text
    for key in case.settings:
        assert key in text


def test_the_protocol_states_how_often_the_verdict_is_wrong(case: Dossier) -> None:
    text = " ".join(Outline(page.html(case)).text)
    procedure = text[text.index("The exact protocol") :]
    assert "about 3 of 100 where a λ's errors are independent" in procedure
    assert "12 of 100 (18 with automatic replicates)" in procedure


def test_nothing_remote_is_loaded(case: Dossier) -> None:
    html = page.html(case)
    outline = Outline(html)
    assert not re.search(r"(?:src|srcset|action|poster)\s*=|@import|url\(|https?://", html)
    assert [tag for tag, _ in outline.tags if tag in {"link", "img", "iframe", "object", "form"}] == []
    policy = next(attrs["content"] for tag, attrs in outline.tags if tag == "meta" and "http-equiv" in attrs)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_every_name_and_message_is_escaped() -> None:
    evil = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"
    plain = dossier(failed=7)
    answer = replace(plain.answer, study=evil, notes=(evil,), chosen_by=evil)
    curve = tuple(replace(point, failed=evil if point.status == "failed" else None) for point in answer.curve)
    results = tuple(
        replace(r, worker=evil, hardware=evil, executor=evil, grad_norms={evil: 0.1}, layer_norms={evil: 1.0})
        for r in plain.results
    )
    bad = Dossier(
        answer=replace(answer, curve=curve),
        results=results,
        settings={evil: evil, "loss.penalty": evil, "loss.data": evil},
        facts={evil: [evil]},
        versions={evil: evil},
        command=evil,
        created_at=0.0,
    )
    html = page.html(bad)
    outline = Outline(html)
    assert html.count("<script") == 1
    assert not [tag for tag, attrs in outline.tags if tag == "img" or any(key.startswith("on") for key in attrs)]
    assert evil in " ".join(outline.text)
    for scene in (evidence.gradients(bad.answer, averages.by_slot(results)), figures.curve(bad.answer)):
        ElementTree.fromstring(standalone_svg(scene))


def test_figures_have_text_alternatives(case: Dossier) -> None:
    outline = Outline(page.html(case))
    drawings = [attrs for tag, attrs in outline.tags if tag == "svg"]
    assert len(drawings) == 2 * len(FIGURES)
    ids = {attrs.get("id") for _, attrs in outline.tags}
    for attrs in drawings:
        assert attrs["role"] == "img"
        assert set(str(attrs["aria-labelledby"]).split()) <= ids
    description = figures.describe_curve(case.answer)
    assert wording.headline(case.answer) in description
    assert others.how_sure(case.answer) in description


def test_the_trial_table_has_every_lambda_and_links_to_the_rival() -> None:
    case = dossier()
    html = page.html(case)
    for point in case.answer.curve:
        name = "baseline" if point.slot == BASELINE else f"trial-{case.trials[point.slot]}"
        assert f'id="{name}"' in html
    parked = next(point.parked for point in case.answer.curve if point.parked is not None)
    row = html[html.index(f'id="trial-{case.trials[parked.slot]}"') :]
    row = row[: row.index("</tr>")]
    assert f'href="#trial-{case.trials[parked.rival]}"' in row
    assert f">{case.trials[parked.slot]}</td>" in row


def test_the_trial_table_says_which_lambdas_differ_and_how(case: Dossier) -> None:
    html = tables.trials(case.answer, averages.by_slot(case.results), case.trials)
    at = tables.COLUMNS.index("differs")
    for point in case.answer.curve:
        row = html[html.index(f'id="{tables.anchor(point.slot, case.trials)}"') :]
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row[: row.index("</tr>")])
        assert cells[at] == fates.differs(case.answer, point)
        if point.slot in (case.answer.slot, BASELINE):
            zero = {"helps": "worse", "hurts": "better", "not_shown": "no"}[case.answer.verdict]
            assert cells[at] == ("–" if point.slot == case.answer.slot else zero)


def text_of(case: Dossier) -> str:
    return " ".join(" ".join(Outline(page.html(case)).text).split())


def test_captions_and_text_alternatives_say_what_the_figures_show() -> None:
    case = dossier()
    rows = averages.by_slot(case.results)
    said = evidence.gaps(case.answer, rows)
    stops = [stop.row for stop in evidence.stops(case.answer, rows)]
    assert len(stops) == 3
    for row in stops:
        assert numerals.change("accuracy", row.train_acc - row.val_acc) in said
        assert f"{row.weight_norm:.4g}" in evidence.shrinking(case.answer, rows)
    text = text_of(case)
    for alternative in (said, evidence.shrinking(case.answer, rows), evidence.vanishing(case.answer, rows)):
        assert text.count(" ".join(alternative.split())) == 3, "in the caption, and in both drawings"


@pytest.mark.parametrize(("share", "word"), [(0.65, "No at"), (0.05, "Yes at")])
def test_whether_gradients_vanish_is_said_for_the_worst_layer(share: float, word: str) -> None:
    case = dossier(n_lams=17)
    rows = averages.by_slot(case.results)
    base, best = rows[BASELINE], case.answer.slot
    weak = {name: norm * (share if name == "conv2" else 1.5) for name, norm in base.grad_norms.items()}
    said = evidence.vanishing(case.answer, {BASELINE: base, best: replace(rows[best], grad_norms=weak)})
    assert said.startswith(f"{word} λ̂ = {numerals.lam(case.answer.lam)}: ")
    assert f"{100 * share:.0f}" in said
    assert ("conv2" in said) == (share < evidence.VANISHED)


def test_gradients_that_grow_are_not_said_to_keep_more_than_all() -> None:
    case = dossier(n_lams=17)
    rows = averages.by_slot(case.results)
    base, best = rows[BASELINE], case.answer.slot
    strong = {name: norm * 1.09 for name, norm in base.grad_norms.items()}
    said = evidence.vanishing(case.answer, {BASELINE: base, best: replace(rows[best], grad_norms=strong)})
    assert said == f"No at λ̂ = {numerals.lam(case.answer.lam)}: no layer's gradient is smaller than at λ = 0."


def test_of_log_loss_it_is_said_which_sign_is_better(case: Dossier) -> None:
    text = text_of(case)
    assert ("Differences of log loss: + is better" in text) == (case.answer.metric == "log_loss")


def test_tags_in_the_table_are_words_apart() -> None:
    case = dossier(n_lams=17)
    both = replace(case.answer, lam_1se=case.answer.lam)
    html = tables.trials(both, averages.by_slot(case.results), case.trials)
    plain = re.sub("<.*?>", "", html)
    assert f"{numerals.lam(both.lam)} chosen, within 1 SE" in plain


def test_the_table_counts_lambdas_without_zero() -> None:
    case = dossier(n_lams=17)
    assert "λ = 0, then all 17 λ's." in text_of(case)


def test_a_collapsed_network_has_no_vanishing_gradient() -> None:
    case = dossier(**CASES["collapse at large λ"])
    said = evidence.vanishing(case.answer, averages.by_slot(case.results))
    assert said.startswith("No at")
    assert "the networks have collapsed" in said
    assert "networks collapsed lie on the rim" in text_of(case)


def test_the_numbers_behind_the_figures_are_in_a_table() -> None:
    case = dossier(n_lams=17)
    html = tables.evidence(case.answer, averages.by_slot(case.results))
    assert html.count('<th data-v="') == len({result.key.slot for result in case.results})
    means = {point.slot: point.mean for point in case.answer.curve}
    for slot, row in averages.by_slot(case.results).items():
        assert f'data-v="{row.train_acc - row.val_acc:.12g}"' in html
        assert f'data-v="{means[slot]:.12g}"' in html, "the one number for its validation score"
        assert f'data-v="{row.grad_norms["dense2"]:.12g}"' in html


def test_the_numbers_state_seed_looks_edges_and_the_smallest_detectable_gain() -> None:
    case = dossier()
    answer = case.answer
    assert answer.test is not None
    text = text_of(replace(case, answer=replace(answer, test=replace(answer.test, looks=3))))
    assert "looked at 3 times" in text
    assert "looked at once" in text_of(case)
    assert numerals.size("accuracy", answer.detectable_gain) in text
    assert "follow from seed 0" in text
    assert "neither the smallest nor the largest λ measured does as well as the best" in text
    assert str(splits.fold_seed(0, 0, 4)) in text


def test_ends_are_not_spoken_of_while_the_chosen_lambda_lacks_folds() -> None:
    case = dossier(n_lams=17)
    answer = case.answer
    young = tuple(replace(p, status="running", n_cells=1) if p.slot == answer.slot else p for p in answer.curve)
    assert "Ends of what was measured" in text_of(case)
    assert "Ends of what was measured" not in text_of(replace(case, answer=replace(answer, curve=young)))


def test_where_regularising_hurts_the_test_score_names_its_model() -> None:
    case = dossier(**CASES["hurts"])
    text = text_of(case)
    assert "Test accuracy, λ > 0" in text
    assert f"of the refit at λ = {numerals.lam(case.answer.lam)}, not of λ = 0" in text
    assert "not of λ = 0" not in text_of(dossier())


def test_epochs_of_dropped_trials_are_counted_and_no_repeats() -> None:
    case = dossier(n_lams=17, high=1e-2)
    stopped = Parked(slot=3, after=0, rival=None, margin=None, reason="median after epoch 2", epochs=2)
    curve = tuple(
        replace(point, status="pruned", n_cells=0, mean=None, difference=None, in_range=False, parked=stopped)
        if point.slot == 3
        else replace(point, parked=None)
        for point in case.answer.curve
    )
    fits = case.answer.budget.fold_fits
    spent = replace(
        case.answer.budget,
        **{"fold_fits_executed": fits + 5, "fold_fits_stopped": 5, "stopped_epochs": 10},
        **{"epochs": 10 * fits + 10, "epochs_full": 900},
    )
    case = replace(case, answer=replace(case.answer, curve=curve, budget=spent))
    text = text_of(case)
    assert f"{10 * fits + 10} of 900 epochs" in text
    assert "10 of them in λ's dropped between epochs" in text
    assert "Dropped after 2 epochs: 1." in text
    assert "after a fault" not in text
    bars = [mark for mark in course.budget(case.answer).marks if isinstance(mark, Area) and "after epoch 2" in mark.tip]
    full, done = (max(y for _, y in bar.points) - min(y for _, y in bar.points) for bar in bars)
    assert done / full == pytest.approx(0.2), "two epochs of ten"


def test_files_are_written_beside_the_page(tmp_path: Path, case: Dossier) -> None:
    told: list[Path] = []
    paths = report.write_report(case, tmp_path / "deep" / "out", wrote=told.append)
    assert told == paths
    assert len(paths) == report.N_FILES
    names = [path.name for path in paths]
    assert names == ["report.html", "folds.csv", *(f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg"))]
    assert sorted(path.name for path in (tmp_path / "deep" / "out").iterdir()) == sorted(names)
    for path in paths:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
        if path.suffix == ".svg":
            ElementTree.parse(path)


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_intervals_of_levels_rise(metric: str) -> None:
    case = dossier(n_lams=17, metric=metric)
    score = case.answer.cv
    fixed = Optimism(method="bbc-cv", mean=score.mean, low=score.mean - 0.02, high=score.mean + 0.01, rule="rule")
    text = text_of(replace(case, answer=replace(case.answer, corrected=fixed)))
    level = r"(\d+\.\d+)(?: %)?"
    for found in (
        re.search(rf"95 % interval of the level {level} to {level}", text),
        re.search(rf"corrected for choosing {level} \(95 % interval {level} to {level}\)", text),
    ):
        assert found is not None
        assert float(found.groups()[-2]) < float(found.groups()[-1])


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    case = dossier(n_lams=17)
    first = {path.name: path.read_bytes() for path in report.write_report(case, tmp_path)}
    assert first == {path.name: path.read_bytes() for path in report.write_report(case, tmp_path)}


def test_the_curve_alone(tmp_path: Path) -> None:
    path = report.curve_png(dossier(n_lams=17).answer, tmp_path / "curve.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_csv_holds_every_fold_score(case: Dossier) -> None:
    rows = list(csv.DictReader(tables.folds_csv(case.answer, case.results, case.trials).splitlines()))
    assert len(rows) == len(case.results)
    stored = {result.key: result for result in case.results}
    for row in rows:
        result = stored[
            next(key for key in stored if list(map(str, key)) == [row["slot"], row["replicate"], row["fold"]])
        ]
        assert float(row["score"]) == result.score
        assert row["trial"] == str(case.trials.get(result.key.slot, ""))
        assert float(row["lam"]) == pytest.approx(result.lam_over_m * case.answer.m)
        assert float(row["grad_norm_conv1"]) == result.grad_norms["conv1"]


def test_what_is_compared_in_a_sentence_is_averaged_over_the_same_folds() -> None:
    case = dossier()
    rows = averages.by_slot(case.results)
    few = next(row for row in rows.values() if 0 < row.n < 5)
    cells = {result.key.cell for result in few.results}
    base = averages.on_folds_of(rows[BASELINE], few)
    assert base is not None
    own = [result.weight_norm for result in case.results if result.key.slot == BASELINE and result.key.cell in cells]
    assert base.weight_norm == pytest.approx(sum(own) / len(own))
    assert base.n == few.n
    least = min(evidence.stops(case.answer, rows), key=lambda stop: stop.row.n)
    assert least.zero is not None
    there = numerals.change("accuracy", least.zero.gap("accuracy"))
    said = f"(on {numerals.count(least.row.n, 'fold')}, where λ = 0 has {there})"
    assert said in evidence.gaps(case.answer, rows)


def test_the_training_line_does_not_jump_where_a_fold_is_missing() -> None:
    """Ten points easier to fit is what a fold may be: a λ that has that fold alone is no more overfitted."""
    case = dossier()
    few = next(row for row in averages.by_slot(case.results).values() if row.n == 1)
    (cell,) = {result.key.cell for result in few.results}
    easier = tuple(
        replace(result, train_acc=result.train_acc + 0.1 * (result.key.cell == cell)) for result in case.results
    )
    before, after = (evidence.levels(case.answer, averages.by_slot(results)) for results in (case.results, easier))
    slot = few.results[0].key.slot
    moved = {name: after[name][0] - before[name][0] for name in (BASELINE, slot)}
    assert moved[slot] == pytest.approx(moved[BASELINE])


def test_the_smoothed_curve_breaks_where_it_leaves_out_a_lambda() -> None:
    case = dossier()
    drawn = sorted((p for p in case.answer.curve if p.lam > 0), key=lambda p: p.lam)
    runs = zip(drawn, drawn[1:], drawn[2:], drawn[3:], drawn[4:], strict=False)
    middle = next(run[2].lam for run in runs if all(point.smooth is not None for point in run))
    gap = tuple(replace(p, smooth=None) if p.lam == middle else p for p in case.answer.curve)
    thin = [
        [mark for mark in figures.curve(found).marks if isinstance(mark, Line) and mark.opacity == 0.45]
        for found in (case.answer, replace(case.answer, curve=gap))
    ]
    assert len(thin[1]) == len(thin[0]) + 1


@pytest.mark.parametrize("wide", [True, False])
def test_the_curve_explains_its_marks_at_every_width(wide: bool) -> None:
    scene = figures.curve(dossier().answer, wide=wide)
    texts = [mark for mark in scene.marks if isinstance(mark, Text)]
    for words in ("measured on all folds", "dropped early", "cannot be told from"):
        assert any(words in mark.text and mark.y < scene.height for mark in texts)


def test_a_hole_of_one_lambda_is_not_shaded_over_on_a_phone() -> None:
    case = dossier(n_lams=50)
    middle = case.answer.curve[25].slot
    holed = tuple(replace(p, in_range=p.slot != middle) for p in case.answer.curve)
    scene = figures.curve(replace(case.answer, curve=holed), wide=False)
    spans = sorted(
        (min(x for x, _ in mark.points), max(x for x, _ in mark.points))
        for mark in scene.marks
        if isinstance(mark, Area) and mark.ink == "band"
    )
    gaps = [left[0] - right[1] for right, left in pairwise(spans)]
    assert any(0 < gap < 12 for gap in gaps)


@pytest.mark.parametrize("n_lams", [9, 50])
def test_the_legend_of_a_crowded_figure_promises_no_digits(n_lams: int) -> None:
    scene = figures.curve(dossier(n_lams=n_lams).answer, wide=False)
    digits = [mark for mark in scene.marks if isinstance(mark, Text) and mark.size == 9]
    assert any("with 2 folds" in mark.text for mark in scene.marks if isinstance(mark, Text)) == (n_lams == 9)
    assert bool(digits) == (n_lams == 9)


def test_the_tile_of_the_range_shows_its_holes() -> None:
    case = dossier()
    tiles = str(sections.verdict(case.answer))
    tile = re.search(r"Cannot be told apart</dt>(.*?)</dd>", tiles)
    assert tile is not None
    assert re.sub("<.*?>", "", tile[1]) == others.spread(case.answer)
    assert "," in others.spread(case.answer) or "gaps" in others.spread(case.answer)
    many = tuple(replace(p, in_range=number % 2 == 1) for number, p in enumerate(case.answer.curve))
    assert " <span>with " in str(sections.verdict(replace(case.answer, curve=many))), "it may break before that"
    lone = replace(case.answer, curve=tuple(replace(p, in_range=False) for p in case.answer.curve))
    assert f">{numerals.lam(lone.lam)}</dd>" in str(sections.verdict(lone))


@pytest.mark.parametrize(
    ("status", "words"),
    [("pruned", "dropped early"), ("failed", "failed"), ("running", "not finished")],
)
def test_lambdas_without_all_folds_are_called_what_they_are(status: str, words: str) -> None:
    case = dossier()
    there = tuple(replace(p, status=status) if p.status == "pruned" else p for p in case.answer.curve)
    answer = replace(case.answer, curve=there)
    texts = [mark.text for mark in figures.curve(answer).marks if isinstance(mark, Text)]
    assert f"{words}, here with 2 folds" in texts
    assert f"λ's with open circles ({words}) could not be chosen" in text_of(replace(case, answer=answer))
    few = len(answer.indistinguishable_partial)
    assert f"without all folds ({words}): {few}" in text_of(replace(case, answer=answer))


def test_the_numbers_list_the_range_as_it_lies_and_who_of_it_has_all_folds() -> None:
    case = dossier()
    answer = case.answer
    whole = [p.lam for p in answer.curve if p.in_range and p.status == "complete" and p.lam not in (0.0, answer.lam)]
    row = f"Cannot be told from the best {others.spread(answer)} "
    assert f"{row}besides λ̂ measured on all folds: {others.listed(whole)}" in text_of(case)
    alike = tuple(replace(p, in_range=True) if p.slot == BASELINE else p for p in answer.curve)
    zero = replace(answer, curve=alike, indistinguishable=(0.0, *answer.indistinguishable))
    assert f"{others.spread(answer)}, and λ = 0 " in text_of(replace(case, answer=zero))


def test_without_such_lambdas_nothing_is_said_of_them() -> None:
    case = dossier(n_lams=5, n_folds=3)
    whole = replace(case.answer, curve=tuple(p for p in case.answer.curve if p.status == "complete"))
    assert "open circles" not in text_of(replace(case, answer=whole))
    assert not any("here with" in mark.text for mark in figures.curve(whole).marks if isinstance(mark, Text))


def test_averages_are_means_over_the_folds() -> None:
    case = dossier(n_lams=5, n_folds=3)
    row = averages.by_slot(case.results)[BASELINE]
    own = [result for result in case.results if result.key.slot == BASELINE]
    assert row.n == len(own) == 3
    assert row.train_acc == pytest.approx(sum(result.train_acc for result in own) / 3)
    assert row.grad_norms["conv1"] == pytest.approx(sum(result.grad_norms["conv1"] for result in own) / 3)
    assert row.seconds == pytest.approx(sum(result.seconds for result in own))
    assert row.epochs[-1].val_acc == pytest.approx(sum(result.epochs[-1].val_acc for result in own) / 3)


def scenes(case: Dossier, *, wide: bool) -> list[Scene]:
    rows = averages.by_slot(case.results)
    return [
        figures.curve(case.answer, wide=wide),
        *(
            draw(case.answer, rows, wide=wide)
            for draw in (evidence.overfitting, evidence.weights, evidence.gradients, course.learning)
        ),
        course.budget(case.answer, wide=wide),
    ]


@pytest.mark.parametrize("wide", [True, False], ids=["desk", "phone"])
def test_every_mark_lies_on_its_canvas(case: Dossier, *, wide: bool) -> None:
    for scene in scenes(case, wide=wide):
        for mark in scene.marks:
            points = mark.points if isinstance(mark, Line | Area) else [(mark.x, mark.y)]
            for x, y in points:
                assert -1 <= x <= scene.width + 1, (scene.name, mark)
                assert -1 <= y <= scene.height + 1, (scene.name, mark)


def test_the_curve_draws_every_scored_lambda_and_both_lines(case: Dossier) -> None:
    answer = case.answer
    scene = figures.curve(answer)
    tips = [mark.tip for mark in scene.marks if isinstance(mark, Dot | Area) and mark.tip]
    scored = [point for point in answer.curve if point.mean is not None]
    assert sorted(tips) == sorted(figures.tip(answer, point) for point in scored)
    labels = " ".join(mark.text for mark in scene.marks if isinstance(mark, Text))
    assert f"= {numerals.lam(answer.lam)}" in labels
    assert f"= {numerals.lam(answer.lam_1se)}" in labels


def test_scores_far_below_the_rest_are_triangles_and_do_not_flatten_the_curve() -> None:
    answer = dossier(**CASES["collapse at large λ"]).answer
    scene = figures.curve(answer)
    low = {figures.tip(answer, point) for point in answer.curve if point.mean is not None and point.mean < 0.5}
    shapes = {mark.tip: type(mark) for mark in scene.marks if isinstance(mark, Dot | Area) and mark.tip in low}
    assert set(shapes) == low
    assert low
    assert set(shapes.values()) == {Area}
    ticks = [mark.text for mark in scene.marks if isinstance(mark, Text) and mark.text.endswith(" %")]
    assert all(float(tick.removesuffix(" %")) > 80 for tick in ticks)


def test_error_bars_of_the_curve_are_the_paired_intervals() -> None:
    answer = dossier(n_lams=17, noise=0.002).answer
    scene = figures.curve(answer)
    bars = {
        round(mark.points[0][0], 1): mark.points
        for mark in scene.marks
        if isinstance(mark, Line) and mark.width == 1.25
    }
    panel = axes.Panel(left=56, right=scene.width - 14, top=72, bottom=scene.height - 66)
    level = next(mark.points[0][1] for mark in scene.marks if isinstance(mark, Line) and mark.dash == (2, 3))
    place = figures.lam_axis(answer, panel)
    for point in answer.curve:
        if point.status == "complete" and point.slot not in (answer.slot, BASELINE):
            top = min(y for _, y in bars[round(place(point.lam), 1)])
            assert (top <= level + 1e-6) == point.in_range


def test_zero_lies_beyond_the_break_of_a_log_axis() -> None:
    panel = axes.Panel(left=50, right=450, top=0, bottom=100)
    axis = axes.LamAxis(panel=panel, low=0.1, high=1000, zero=True)
    assert axis(0) < axis.start - 2 * axes.GAP < axis(0.1) == axis.start
    assert axis(10) - axis(1) == pytest.approx(axis(100) - axis(10))
    assert axis(1000) == pytest.approx(450)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.941, 0.973, [0.95, 0.96, 0.97]),
        (-0.3, -0.1, [-0.3, -0.25, -0.2, -0.15, -0.1]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    panel = axes.Panel(left=0, right=1, top=0, bottom=1)
    found = axes.ValueAxis(panel=panel, low=low, high=high).ticks(4 if high - low < 0.5 else 5)
    assert found == pytest.approx(ticks)


def test_a_single_lambda_and_no_results_still_make_a_report(tmp_path: Path) -> None:
    case = dossier(n_lams=2, n_folds=2)
    lone = replace(case.answer, curve=case.answer.curve[:2])
    assert page.html(replace(case, answer=lone, results=()))
    assert report.write_report(replace(case, answer=lone, results=()), tmp_path)


def test_a_missing_baseline_is_said_and_not_drawn() -> None:
    case = dossier(n_lams=17)
    answer = replace(
        case.answer,
        gain=None,
        detectable_gain=None,
        verdict="not_shown",
        curve=tuple(point for point in case.answer.curve if point.slot != BASELINE),
    )
    text = page.html(replace(case, answer=answer))
    assert "λ = 0 has no score" in text
    assert not figures.lam_axis(answer, axes.Panel(left=0, right=9, top=0, bottom=9)).zero


def test_study_names_appear_as_they_are() -> None:
    assert "<strong>a&lt;b</strong>" in page.html(renamed(dossier(n_lams=17), "a<b"))


def test_png_text_is_no_mathematics() -> None:
    scene = Scene(name="x", title="x", description="", width=80, height=40)
    scene.add(Text(x=4, y=20, text="$x^{2$"))
    assert raster.png(scene).startswith(b"\x89PNG")


def test_the_report_package_starts_without_matplotlib() -> None:
    code = "import sys, lamsearch.report.page; print('matplotlib' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
