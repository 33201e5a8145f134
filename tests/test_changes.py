"""What would change an answer: nothing that is no change, and nothing that is not known."""

from __future__ import annotations

from dataclasses import replace

from dossiers import dossier

from lamsearch import changes, wording
from lamsearch.answer import Edge
from lamsearch.members import measured

HELPS = dossier().answer


def test_the_other_metric_knows_only_what_the_race_has_left() -> None:
    found = {"other_metric_gain": -0.0123, "other_metric_gain_low": -0.03, "other_metric_gain_high": 0.0054}
    judged = replace(HELPS, other_metric_lam=HELPS.lam, **found)
    number = measured(judged)
    assert changes.other_pick(judged) == (
        f"the same λ, the best of the {number} measured on all folds; "
        "gain over λ = 0: −0.0123 (95 % interval −0.0300 to +0.0054; + is better): not shown"
    )
    one = replace(judged, curve=tuple(p for p in HELPS.curve if p.lam in (0.0, HELPS.lam)))
    assert "the only one measured" in changes.other_pick(one)


def test_the_other_metrics_gain_has_a_verdict_of_its_own() -> None:
    def said(low: float, high: float) -> str:
        ends = {"other_metric_gain_low": low, "other_metric_gain_high": high}
        return changes.other_pick(replace(HELPS, other_metric_lam=5.0, other_metric_gain=(low + high) / 2, **ends))

    assert said(0.01, 0.03).endswith(": it helps")
    assert said(-0.03, -0.01).endswith(": it hurts")
    assert said(-0.03, 0.01).endswith(": not shown")


def test_another_metric_with_the_same_pick_changes_nothing() -> None:
    same = replace(HELPS, other_metric_lam=HELPS.lam)
    other = replace(HELPS, other_metric_lam=2 * HELPS.lam)
    assert not any("log loss" in said for said in changes.would_change(same))
    doubt = {"other_metric_gain": 0.01, "other_metric_gain_low": -0.01, "other_metric_gain_high": 0.03}
    assert any("log loss" in said for said in changes.would_change(replace(same, **doubt))), "another verdict"
    assert any(said.startswith("Judging by log loss instead of accuracy:") for said in changes.would_change(other))


def test_edges_come_with_the_proposed_range() -> None:
    edge = Edge(side="high", message="the high end is as good: search further up", low=1e-6, high=0.3)
    said = changes.would_change(replace(HELPS, edges=(edge,)))
    assert "The high end is as good: search further up. Proposed range of λ/m: 1.00e-6 to 0.300." in said
    assert "the high end is as good" in wording.terminal(replace(HELPS, edges=(edge,)))


def test_an_end_that_gives_no_reason_to_go_on_is_no_change() -> None:
    edge = Edge(side="low", message="the smallest λ measured cannot be told from the best λ, and neither can λ = 0")
    assert changes.would_change(replace(HELPS, edges=(edge,))) == changes.would_change(replace(HELPS, edges=()))


def test_a_range_of_one_lambda_cannot_be_narrowed() -> None:
    lone = replace(HELPS, range_low=HELPS.lam, range_high=HELPS.lam)
    assert any("narrow the range of λ's" in said for said in changes.would_change(HELPS))
    assert not any("narrow the range" in said for said in changes.would_change(lone))
    assert any("narrow the interval of the gain" in said for said in changes.would_change(lone))


def test_only_what_was_dropped_is_counted_as_dropped() -> None:
    dropped = [point.slot for point in HELPS.curve if point.in_range and point.status == "pruned"]
    assert any(f"the {len(dropped)} λ's dropped early" in said for said in changes.would_change(HELPS))
    failed = tuple(replace(p, status="failed") if p.slot in dropped[1:] else p for p in HELPS.curve)
    assert any("the 1 λ dropped early" in said for said in changes.would_change(replace(HELPS, curve=failed)))
