"""What is shown while a study runs: a sketch of the curve that fits its terminal, plain lines elsewhere."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lamsearch.cli.live import View, counting, duration, panel, sentence
from lamsearch.cli.sketch import sketch
from lamsearch.progress import Point, Progress

ENDS = (1e-6, 3e-2)


def points(*scores: float | None) -> tuple[Point, ...]:
    return tuple(
        Point(lam_over_m=1e-6 * 10**number, score=score, state="waiting" if score is None else "complete")
        for number, score in enumerate(scores)
    )


def progress(**changed: object) -> Progress:
    values: dict[str, object] = {
        **{"study": "s", "slots": 4, "complete": 1, "parked": 2, "failed": 0, "fits_done": 7, "fits_expected": 12},
        **{"best": 1e-5, "best_mean": 0.93, "baseline": 0.9, "range": ENDS, "curve": points(0.9, 0.93, None, 0.91)},
        **{"fits_per_minute": 60.0, "eta_s": 5.0, "closing_s": 3.0},
        **changed,
    }
    return Progress(**values)  # type: ignore[arg-type]


def test_the_sketch_puts_better_scores_higher_and_larger_lambdas_to_the_right() -> None:
    lines = sketch(points(0.90, 0.91, 0.93, 0.92), None, ENDS, width=60, height=7)
    where = {line.index("●"): number for number, line in enumerate(lines) if "●" in line}
    assert [where[column] for column in sorted(where)] == [6, 4, 0, 2]
    assert lines[0].strip().startswith("0.9300")
    assert lines[6].strip().startswith("0.9000")
    assert "1e-06" in lines[-1]
    assert "3e-02" in lines[-1]


def test_a_collapsed_lambda_does_not_flatten_the_others() -> None:
    lines = sketch(points(0.90, 0.91, 0.92, 0.1), 0.905, ENDS, width=60, height=7)
    assert len({number for number, line in enumerate(lines) if "●" in line}) >= 3


def test_nothing_is_drawn_before_the_first_score() -> None:
    assert sketch(points(None, None), None, ENDS, width=60, height=7) == []


@given(
    scores=st.lists(st.none() | st.floats(-50, 1), max_size=8),
    baseline=st.none() | st.floats(0, 1),
    width=st.integers(10, 200),
)
def test_no_line_is_wider_than_the_terminal(scores: list[float | None], baseline: float | None, width: int) -> None:
    lines = sketch(points(*scores), baseline, ENDS, width=max(width, 24), height=7)
    assert all(len(line) <= max(width, 24) for line in lines)


@pytest.mark.parametrize(("width", "height"), [(60, 24), (120, 40), (40, 10)])
def test_the_panel_fits_its_terminal(width: int, height: int) -> None:
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=False)
    console.print(panel(progress(), width=width, height=height))
    lines = file.getvalue().splitlines()
    assert len(lines) <= height
    assert all(len(line.rstrip()) <= width for line in lines)
    assert ("●" in file.getvalue()) == (height >= 14)


def test_what_has_not_changed_is_not_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    with View() as view:
        view.show(progress())
        view.show(progress(), final=True)
    assert capsys.readouterr().err.count("fold fits") == 1


def test_a_pipe_gets_plain_lines_ten_seconds_apart(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("lamsearch.cli.live.time.monotonic", lambda: now)
    with View() as view:
        for second in range(25):
            now = float(second)
            view.show(progress(fits_done=second // 2))
        view.show(progress(fits_done=12), final=True)
        view.show(progress(fits_done=99), final=True)
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [sentence(progress(fits_done=done)) for done in (0, 5, 10, 12, 99)]
    assert "\x1b" not in output.err


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (75, "1 min 15 s"), (3661, "1 h 01 min")])
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_counts_figures_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with counting("figures", 3) as step:
        for _ in range(3):
            step()
    assert ("figures" in screen.getvalue() and "100%" in screen.getvalue()) == terminal
    assert bool(screen.getvalue()) == terminal
