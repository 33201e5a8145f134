"""The worker's loop: claim a fold fit, train it, record it, until nothing is left or somebody says stop."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch

from lamsearch import environment, lockstep, preparation, refit
from lamsearch.answer import to_json
from lamsearch.errors import InputError, LamsearchError
from lamsearch.heart import Heart, beating
from lamsearch.problem import Interrupted, Member, Problem, problem
from lamsearch.records import FoldResult
from lamsearch.splits import Indices
from lamsearch.stopping import Stop
from lamsearch.store import Claim, Done, Store, StudyRow, WorkerInfo
from lamsearch.training import fit

MIRROR_SHARE = 50
"""Optuna's copy is brought up to date at most this many of its own durations apart: about 2 % of the time."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """``studies``: names to serve, all open ones if empty. ``exit_when_done``: leave once none of them is open.

    ``allow_code``: serve studies whose model is a user's own code.
    """

    studies: tuple[str, ...] = ()
    device: str = "cpu"
    exit_when_done: bool = False
    allow_code: bool = False
    say: Callable[[str], None] = field(default=lambda line: print(line, file=sys.stderr, flush=True))


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A study made ready in this process. ``test``: indices of the test images, for the refit alone."""

    problem: Problem
    test: Indices


class Worker:
    """One process that serves studies. ``run()`` returns the exit code."""

    def __init__(self, store: Store, options: Options, stop: Stop) -> None:
        self.store, self.options, self.stop = store, options, stop
        self.name = f"{os.uname().nodename}:{os.getpid()}"
        self.worker_id = 0
        self.heart = Heart()
        self._ready: dict[int, Ready] = {}
        self._refused: set[int] = set()
        self._next_mirror = 0.0

    def run(self) -> int:
        """Serve until stopped or, with ``exit_when_done``, until no study is open that this worker can serve."""
        if self.options.device == "cpu":
            torch.set_num_threads(1)  # one process per core: threads would only wait for each other
        info = WorkerInfo(host=os.uname().nodename, pid=os.getpid(), device=self.options.device)
        self.worker_id = self.store.register(info)
        try:
            with beating(self.store, self.worker_id, every_s=self.store.service.beat_s) as self.heart:
                self._serve()
        finally:
            self.store.free_worker(self.worker_id, reason="")
        return self.stop.exit_code

    def _serve(self) -> None:
        while not self.stop():
            studies = self._open_studies()
            if not studies and self.options.exit_when_done:
                return
            # A list: every open study gets its turn, whatever the ones before it had to do.
            if not any([self._step(study) for study in studies]):  # noqa: C419
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
            ready = self._made_ready(study)
        except InputError as error:
            self._refused.add(study.id)
            self._say(f"not serving study {study.name}: {error}")
            return False
        claim = self.store.claim(study.id, self.worker_id)
        if isinstance(claim, Done) and claim.state in ("open", "closing"):
            claim = self.store.claim_refit(study.id, self.worker_id)
        if not isinstance(claim, Claim):
            self._mirror(study)
            return False
        self._work_off(study, claim, ready)
        return True

    def _made_ready(self, study: StudyRow) -> Ready:
        """The study's data in this process. Raises InputError if they are not the study's."""
        if study.id not in self._ready:
            data, facts = preparation.facts(study.config, allow_code=self.options.allow_code)
            preparation.check_same(study.name, study.facts, facts)
            self._ready[study.id] = Ready(
                problem=problem(study.config, data, device=self.options.device), test=data.test
            )
        return self._ready[study.id]

    def _work_off(self, study: StudyRow, claim: Claim, ready: Ready) -> None:
        try:
            done = self._refit(study, claim, ready) if claim.kind == "refit" else self._fit(claim, ready.problem)
            if not done:
                self._say(f"{study.name} {claim.lease_key}: superseded by another worker, discarded")
        except Interrupted:
            # Told to stop, or the lease was lost to another worker, who does this fit now.
            self.store.release(claim)
        except LamsearchError:
            raise  # the storage is away, or full: not the fault of this fit
        except Exception as error:
            # A crash is one attempt of this fold fit, never a decision about λ; the worker goes on.
            reason = f"{type(error).__name__}: {error}"
            self.store.crashed(claim, reason)
            self._say(f"{study.name} {claim.lease_key} crashed: {reason}\n{traceback.format_exc()}")
        self._mirror(study, now=claim.kind == "refit")

    def _fit(self, claim: Claim, ready: Problem) -> bool:
        """The fits of a claim, recorded; False if superseded."""
        members = [Member(key.slot, key.replicate, key.fold, claim.lam_over_m) for key in claim.keys]
        if claim.whole:
            results = lockstep.train(ready, members, partial(self.store.judge, claim), stop=self._stopping(claim))
            if isinstance(results, str):
                return self.store.prune(claim, results)
        else:
            results = tuple(fit(ready, member, stop=self._stopping(claim)) for member in members)
        return self.store.record(claim, *map(self._signed, results))

    def _refit(self, study: StudyRow, claim: Claim, ready: Ready) -> bool:
        """The refit, the test and the answer, stored; False if superseded."""
        answer = refit.conclude(self.store, study, ready.problem, ready.test, stop=self._stopping(claim))
        return self.store.store_answer(study.id, to_json(answer), claim)

    def _stopping(self, claim: Claim) -> Callable[[], bool]:
        return lambda: self.stop() or claim.token in self.heart.lost

    def _signed(self, result: FoldResult) -> FoldResult:
        """``result`` with who made it, on what."""
        device = self.options.device
        hardware = environment.cpu() if device == "cpu" else torch.cuda.get_device_name(device)
        executor = (
            result.executor or f"loop on {device}, torch {torch.__version__}, {torch.get_num_threads()} thread(s)"
        )
        return dataclasses.replace(result, worker=self.name, executor=executor, hardware=hardware)

    def _mirror(self, study: StudyRow, *, now: bool = False) -> None:
        """Bring Optuna's copy up to date, seldom enough to cost little."""
        began = time.monotonic()
        if now or began >= self._next_mirror:
            self.store.mirror(study.id, self.worker_id)
            self._next_mirror = time.monotonic() + MIRROR_SHARE * (time.monotonic() - began)

    def _say(self, line: str) -> None:
        self.options.say(f"lamsearch worker {self.name}: {line}")
