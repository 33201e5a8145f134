"""The worker's loop: claim a fold fit, train it, record it, until nothing is left or somebody says stop."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from lamsearch import environment, preparation, refit
from lamsearch.errors import InputError, LamsearchError, StorageFull, StorageUnavailable
from lamsearch.heart import Heart, beating
from lamsearch import lockstep
from lamsearch.records import FoldResult
from lamsearch.stopping import Stop
from lamsearch.store import Claim, Done, Store, StudyRow, Wait, WorkerInfo
from lamsearch.training import Interrupted, Member, Problem, fit, problem

MIRROR_SHARE = 50
"""Optuna's copy is brought up to date at most this many of its own durations apart: about 2 % of the time."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """``studies``: names to serve, all open ones if empty. ``exit_when_done``: leave once none of them is open."""

    studies: tuple[str, ...] = ()
    device: str = "cpu"
    exit_when_done: bool = False
    say: Callable[[str], None] = field(default=lambda line: print(line, file=sys.stderr, flush=True))


class Worker:
    """One process that serves studies. ``run()`` returns the exit code."""

    def __init__(self, store: Store, options: Options, stop: Stop) -> None:
        self.store, self.options, self.stop = store, options, stop
        self.name = f"{os.uname().nodename}:{os.getpid()}"
        self.worker_id = 0
        self.heart = Heart()
        self._problems: dict[int, Problem] = {}
        self._refused: set[int] = set()
        self._next_mirror = 0.0

    def run(self) -> int:
        """Serve until stopped or, with ``exit_when_done``, until no study is open that this worker can serve."""
        self.worker_id = self.store.register(
            WorkerInfo(host=os.uname().nodename, pid=os.getpid(), device=self.options.device)
        )
        try:
            with beating(self.store, self.worker_id, every_s=self.store.service.beat_s) as self.heart:
                self._serve()
        finally:
            self.store.free_worker(self.worker_id)
        return self.stop.exit_code

    def _serve(self) -> None:
        while not self.stop():
            studies = self._open_studies()
            if not studies and self.options.exit_when_done:
                return
            if not any([self._step(study) for study in studies]):
                self.stop.wait(self.store.service.poll_s)

    def _open_studies(self) -> list[StudyRow]:
        wanted = self.options.studies
        return [
            row
            for row in self.store.studies()
            if row.state in ("open", "closing") and row.id not in self._refused and (not wanted or row.name in wanted)
        ]

    def _step(self, study: StudyRow) -> bool:
        """One claim of one study, worked off. False if there was nothing to do."""
        if self.stop():
            return True
        try:
            ready = self._ready(study)
        except InputError as error:
            self._refused.add(study.id)
            self.options.say(f"lamsearch worker {self.name}: not serving study {study.name}: {error}")
            return False
        claim = self.store.claim(study.id, self.worker_id)
        if isinstance(claim, Wait):
            return False
        if isinstance(claim, Done):
            return claim.state in ("open", "closing") and self._finish(study, ready)
        self._work_off(study, claim, ready)
        return True

    def _ready(self, study: StudyRow) -> Problem:
        """The study's data in this process. Raises InputError if they are not the study's."""
        if study.id not in self._problems:
            data, facts = preparation.facts(study.config)
            preparation.check_same(study.name, study.facts, facts)
            self._problems[study.id] = problem(study.config, data, device=self.options.device)
        return self._problems[study.id]

    def _work_off(self, study: StudyRow, claim: Claim, ready: Problem) -> None:
        def stop() -> bool:
            return self.stop() or claim.token in self.heart.lost

        try:
            if claim.whole:
                train_lockstep(self.store, claim, ready, stop=stop, sign=self._signed)
            else:
                for key in claim.keys:
                    member = Member(key.slot, key.replicate, key.fold, claim.lam_over_m)
                    if not self.store.record(claim, self._signed(fit(ready, member, stop=stop))):
                        self.options.say(f"lamsearch worker {self.name}: {study.name} {key}: superseded, discarded")
        except Interrupted:
            # Told to stop, or the lease was lost to another worker, who does this fit now.
            self.store.release(claim)
        except (StorageFull, StorageUnavailable):
            raise
        except Exception as error:
            # A crash is one attempt of this fold fit, never a decision about λ; the worker goes on.
            reason = f"{type(error).__name__}: {error}"
            self.store.crashed(claim, reason)
            self.options.say(f"lamsearch worker {self.name}: {study.name} {claim.keys[0]} crashed: {reason}")
            self.options.say(traceback.format_exc())
        self._mirror(study)

    def _signed(self, result: FoldResult) -> FoldResult:
        """``result`` with who made it, on what."""
        threads = torch.get_num_threads()
        return dataclasses.replace(
            result,
            worker=self.name,
            executor=result.executor or f"loop/{self.options.device}/{threads} thread{'s' if threads > 1 else ''}",
            hardware=environment.cpu() if self.options.device == "cpu" else torch.cuda.get_device_name(),
        )

    def _finish(self, study: StudyRow, ready: Problem) -> bool:
        """The refit, the test and the answer, by one worker under a lease. False if another one is at it."""
        claim = self.store.claim_refit(study.id, self.worker_id)
        if claim is None:
            return False
        try:
            refit.answer(self.store, study, claim, ready, stop=self.stop)
        except Interrupted:
            self.store.release(claim)
        except LamsearchError:
            raise
        except Exception as error:
            self.store.crashed(claim, f"{type(error).__name__}: {error}")
            self.options.say(traceback.format_exc())
        return True

    def _mirror(self, study: StudyRow) -> None:
        """Bring Optuna's copy up to date, seldom enough to cost little."""
        began = time.monotonic()
        if began < self._next_mirror:
            return
        try:
            self.store.mirror(study.id)
        except (StorageFull, StorageUnavailable):
            raise
        self._next_mirror = time.monotonic() + MIRROR_SHARE * (time.monotonic() - began)
