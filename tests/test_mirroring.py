"""A worker and Optuna's copy: what goes wrong there is said, and costs nobody a result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lamsearch import mirroring
from lamsearch.errors import StorageUnavailable
from lamsearch.mirroring import Mirroring


class Study:
    id, name = 1, "s"


class Copy:
    """A store in which one study is done and its copy is not."""

    def __init__(self, mirror: Callable[[], bool]) -> None:
        self._mirror, self.calls = mirror, 0

    def behind(self) -> list[Study]:
        return [Study()]

    def mirror(self, *_given: Any, **_more: Any) -> bool:
        self.calls += 1
        return self._mirror()


def watched(mirror: Callable[[], bool]) -> tuple[Mirroring, Copy, list[str]]:
    said: list[str] = []
    store = Copy(mirror)
    return Mirroring(store, 7, said.append), store, said  # type: ignore[arg-type]


def fail() -> bool:
    raise ValueError("a trial that nobody can read")


def away() -> bool:
    raise StorageUnavailable("no answer")


def anything(_study: object) -> bool:
    return True


def test_an_error_of_the_copy_is_said_once_and_goes_no_further() -> None:
    mirroring_, store, said = watched(fail)
    assert not mirroring_.bring(Study(), now=True)  # type: ignore[arg-type]
    assert not mirroring_.bring(Study(), now=True)  # type: ignore[arg-type]
    assert said == ["s: Optuna's copy could not be brought up to date: ValueError: a trial that nobody can read"]
    assert store.calls == 2


def test_a_storage_that_is_away_is_the_workers_business() -> None:
    with pytest.raises(StorageUnavailable):
        watched(away)[0].bring(Study(), now=True)  # type: ignore[arg-type]


def test_a_copy_that_cannot_be_finished_is_waited_for_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, store, _ = watched(lambda: False)
    assert not ours.finished(anything)
    assert not ours.finished(anything)
    monkeypatch.setattr(mirroring, "FINISH_S", 0.0)
    assert ours.finished(anything)
    calls = store.calls
    assert ours.finished(anything)
    assert store.calls == calls, "given up"


def test_a_copy_that_is_whole_is_not_written_again() -> None:
    ours, store, _ = watched(lambda: True)
    assert ours.finished(anything)
    assert ours.finished(anything)
    assert store.calls == 1


def test_a_worker_that_left_the_copy_to_another_does_not_ask_after_every_fit() -> None:
    ours, store, _ = watched(lambda: False)
    assert ours.due
    for _ in range(3):
        assert not ours.bring(Study())  # type: ignore[arg-type]
    assert not ours.due
    assert store.calls == 1
