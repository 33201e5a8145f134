"""The beat outlives whatever goes wrong in it."""

from __future__ import annotations

import time

from lamsearch.heart import beating


class Flaky:
    """Fails at its first beats, with an error that is none of ours."""

    def __init__(self) -> None:
        self.beats = 0

    def beat(self, worker_id: int) -> frozenset[str]:
        self.beats += 1
        if self.beats <= 2:
            raise RuntimeError("driver bug")
        return frozenset({"lost"})


def test_a_failed_beat_is_tried_again_whatever_the_error() -> None:
    store = Flaky()
    with beating(store, 1, every_s=0.01) as heart:
        deadline = time.monotonic() + 5
        while not heart.lost and time.monotonic() < deadline:
            time.sleep(0.01)
    assert store.beats >= 3
    assert heart.lost == {"lost"}
    assert heart.failures == 0
