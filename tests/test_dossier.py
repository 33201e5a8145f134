"""The evidence behind an answer: what was spent."""

from __future__ import annotations

from dataclasses import replace

from lamsearch import certainty, wording
from lamsearch.config import parse_study
from lamsearch.dossier import budget, how_it_ended
from lamsearch.plan import Plan
from lamsearch.records import BASELINE, FitKey, Parked, ScoreTable
from tests.score_worlds import answer, lams, slots_at, world


def test_lambdas_that_were_never_started_are_told_from_those_dropped() -> None:
    slots, scores = slots_at([*lams(8), None]), world(9)
    slots = tuple(
        replace(row, **{2: {"stopped": "median after epoch 3"}, 7: {"failed": "crashed"}}.get(row.slot, {}))
        for row in slots
    )
    wanted = {BASELINE: 5, 0: 5, 1: 5, 3: 2, 4: 1}
    have = {key: score for key, score in scores.items() if key.fold < wanted.get(key.slot, 0)}
    config = parse_study({"search": {"trials": 9}}, where="test")
    table = ScoreTable(slots=slots, scores=have)
    going = Plan(fits=(FitKey(3, 0, 2),), parked={}, propose=None, done=False)
    spent = budget(table, [], executed=18, config=config, now=going)
    assert (spent.complete, spent.pruned, spent.failed, spent.unfinished, spent.not_started) == (2, 1, 1, 5, 3)
    assert spent.trials == 9 == spent.complete + spent.pruned + spent.failed + spent.unfinished
    over = budget(table, [], executed=18, config=config, now=replace(going, fits=(), done=True))
    assert (over.pruned, over.unfinished, over.not_started) == (6, 0, 3)
    found = answer(slots, have, budget=spent)
    assert "of 9 λ's 2 measured on all folds, 1 dropped early, 2 not finished, 3 not started, 1 failed" in wording.cost(
        found
    )


def test_nothing_is_said_of_what_did_not_happen() -> None:
    found = answer(slots_at(lams(9)), world(9))
    spent = replace(found.budget, trials=9, complete=9, fold_fits=50, fold_fits_full=50)
    assert wording.cost(replace(found, budget=spent)).endswith("of 9 λ's 9 measured on all folds")


def test_a_search_that_was_sure_says_so() -> None:
    config = parse_study({"search": {"until": "sure"}}, where="test")
    why = Parked(slot=1, after=3, rival=0, margin=0.001, reason=certainty.REASON)
    sure = Plan(fits=(), parked={1: why}, propose=None, done=True)
    (said,) = how_it_ended(config, sure, 0.005)
    assert said.startswith("Sure within 0.50 pp: the search ended early")
    assert how_it_ended(parse_study({}, where="test"), sure, 0.005) == []
    (said,) = how_it_ended(config, replace(sure, parked={}, done=False), 0.005)
    assert said.startswith("Time was up")
