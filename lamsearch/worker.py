"""The worker's loop: claim a fold fit, train it, record it, until nothing is left or somebody says stop."""

from __future__ import annotations

import dataclasses
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

from lamsearch import lockstep, preparation, refit
from lamsearch.answer import to_json
from lamsearch.errors import InputError, LamsearchError, NoAnswerYet
from lamsearch.executor import Executor, choose, devices, name_of, place, resident
from lamsearch.heart import Heart, beating
from lamsearch.mirroring import Mirroring
from lamsearch.problem import Interrupted, Member, Problem
from lamsearch.records import FoldResult, Stopped
from lamsearch.splits import Indices
from lamsearch.stopping import Stop
from lamsearch.store import Claim, Done, Store, StudyRow, Wait, WorkerInfo


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
    executor: Executor
    test: Indices


def batches(fits: Sequence[Claim]) -> list[tuple[Claim, ...]]:
    """Fits to be trained together. One that was tried before goes alone: it may be the one that crashes the others."""
    fresh = tuple(claim for claim in fits if claim.attempt == 1)
    again = [(claim,) for claim in fits if claim.attempt > 1]
    return [batch for batch in (fresh, *again) if batch]


class Worker:
    """One process that serves studies. ``run()`` returns the exit code."""

    def __init__(self, store: Store, options: Options, stop: Stop) -> None:
        self.store, self.options, self.stop = store, options, stop
        self.name = f"{os.uname().nodename}:{os.getpid()}"
        self.worker_id = 0
        self.device = torch.device("cpu")
        self.heart = Heart()
        self._ready: dict[int, Ready] = {}
        self._refused: set[int] = set()
        self._ahead: dict[int, list[Claim]] = {}
        self.mirroring = Mirroring(store, 0, self._say)

    def run(self) -> int:
        """Serve until stopped or, with ``exit_when_done``, until no study is open that this worker can serve."""
        self.device = devices(self.options.device)[0]
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # one process per core: threads would only wait for each other
        info = WorkerInfo(host=os.uname().nodename, pid=os.getpid(), device=str(self.device))
        self.worker_id = self.store.register(info)
        self.mirroring = Mirroring(self.store, self.worker_id, self._say)
        try:
            with beating(self.store, self.worker_id, every_s=self.store.service.beat_s) as self.heart:
                self._serve()
                self._give_back([])
        finally:
            self.store.free_worker(self.worker_id, reason="")
        refused = self._refused and self.options.exit_when_done and not self.stop()
        return InputError.exit_code if refused else self.stop.exit_code

    def _serve(self) -> None:
        while not self.stop():
            studies = self._open_studies()
            self._give_back(studies)
            if not studies and self.mirroring.finished(self._wanted) and self.options.exit_when_done:
                return
            # A list: every open study gets its turn, whatever the ones before it had to do.
            if not any([self._step(study, alone=len(studies) == 1) for study in studies]):  # noqa: C419
                self.stop.wait(self.store.service.poll_s)

    def _open_studies(self) -> list[StudyRow]:
        rows = [row for row in self.store.studies() if row.state in ("open", "closing")]
        return [row for row in rows if row.id not in self._refused and self._wanted(row)]

    def _wanted(self, study: StudyRow) -> bool:
        return not self.options.studies or study.name in self.options.studies

    def _step(self, study: StudyRow, *, alone: bool) -> bool:
        """One claim of one study, worked off. False if there was nothing to do. ``alone``: no other study waits."""
        if self.stop():
            return True
        try:
            ready = self._made_ready(study)
        except InputError as error:
            self._refused.add(study.id)
            self._say(f"not serving study {study.name}: {error}")
            return False
        claims, rest = self._claims(study, ready.executor.members)
        for whole in [claim for claim in claims if claim.whole]:
            self._work_off(study, (whole,), partial(self._lockstep, whole, ready))
        together = batches([claim for claim in claims if not claim.whole])
        for fits in together:
            ahead = ready.executor.members if alone and fits is together[-1] else 0
            self._work_off(study, fits, partial(self._fit, fits, ready.executor, ahead))
        if isinstance(rest, Done) and not claims:
            return self._conclude(study, ready)
        self.mirroring.bring(study)
        return bool(claims)

    def _claims(self, study: StudyRow, n: int) -> tuple[list[Claim], Wait | Done | None]:
        """Up to ``n`` leases: as many members as the executor trains at once; and why they are fewer, if they are."""
        claims = self._ahead.pop(study.id, [])
        while len(claims) < n:
            claim = self.store.claim(study.id, self.worker_id)
            if not isinstance(claim, Claim):
                return claims, claim
            claims.append(claim)
            if claim.whole:
                break
        return claims, None

    def _give_back(self, serving: Sequence[StudyRow]) -> None:
        """Release what was claimed ahead of studies that have ended meanwhile."""
        for study_id in self._ahead.keys() - {study.id for study in serving}:
            for claim in self._ahead.pop(study_id):
                self.store.release(claim, begun=False)

    def _made_ready(self, study: StudyRow) -> Ready:
        """The study's data in this process. Raises InputError if they are not the study's."""
        if study.id not in self._ready:
            data, facts = preparation.facts(study.config, allow_code=self.options.allow_code)
            preparation.check_same(study.name, study.facts, facts)
            data = resident(data, self.device)
            problem = place(study.config, data, self.device)
            self._ready[study.id] = Ready(problem=problem, executor=Executor(problem, choose(problem)), test=data.test)
        return self._ready[study.id]

    def _work_off(self, study: StudyRow, claims: Sequence[Claim], work: Callable[[], bool]) -> None:
        """Do the work of some claims; whatever happens, they are not left held."""
        superseded = f"{study.name} {claims[0].words}: superseded by another worker, discarded"
        try:
            if not work():
                self._say(superseded)
        except Interrupted:
            # Told to stop, or the lease was lost to another worker, who does this fit now.
            if not self.stop():
                self._say(superseded)
            for claim in claims:
                self.store.release(claim)
        except NoAnswerYet as error:
            # All λ's failed, or time was up before the first of them was measured.
            for claim in claims:
                self.store.release(claim)
            closing = study.state == "closing"
            why = str(error) if closing else self._why(study) or str(error)
            self.store.set_state(study.name, "stopped" if closing else "failed", why)
        except LamsearchError:
            raise  # the storage is away, or full: not the fault of this fit
        except Exception as error:
            # A crash is one attempt of this fold fit, never a decision about λ; the worker goes on.
            reason = f"{type(error).__name__}: {error}"
            self.store.crashed(claims, reason)
            self._say(f"{study.name} {claims[0].words} crashed: {reason}\n{traceback.format_exc()}")

    def _why(self, study: StudyRow) -> str:
        """Why no λ has a score: the last failure, and what to do."""
        failed = [row.failed for row in self.store.table(study.id).slots if row.failed is not None]
        return f"all λ's failed, the last: {failed[-1]}; `lamsearch run --retry-failed` tries again" if failed else ""

    def _fit(self, claims: Sequence[Claim], executor: Executor, ahead: int) -> bool:
        """One fold fit of each claim, together; False if one was superseded. Up to ``ahead`` claims follow at once."""
        members = [Member(*claim.keys[0], claim.lam_over_m) for claim in claims]
        results = executor.train(members, stop=lambda: self._stopping(*claims))
        done = [(claim, [self._signed(result, executor)]) for claim, result in zip(claims, results, strict=True)]
        # Not before a pass over Optuna's copy, which may take a while: others may need the next fit sooner.
        n = 0 if self.stop() or self.mirroring.due else ahead
        kept, self._ahead[claims[0].study_id] = self.store.record_and_claim(done, n)
        return all(kept)

    def _lockstep(self, claim: Claim, ready: Ready) -> bool:
        """A whole trial under an epoch pruner; False if superseded."""
        members = [Member(*key, claim.lam_over_m) for key in claim.keys]
        judge = partial(self.store.judge, claim)
        trainer = ready.executor.trainer
        found = lockstep.train(ready.problem, members, judge, trainer=trainer, stop=lambda: self._stopping(claim))
        if isinstance(found, Stopped):
            return self.store.prune(claim, found)
        return self.store.record(claim, *(self._signed(result, ready.executor) for result in found))

    def _conclude(self, study: StudyRow, ready: Ready) -> bool:
        """The refit, the test and the answer, if they are due and nobody else is at it."""
        claim = self.store.claim_refit(study.id, self.worker_id)
        if not isinstance(claim, Claim):
            self.mirroring.bring_meanwhile(study)
            return False
        self._work_off(study, (claim,), partial(self._answer, study, claim, ready))
        self.mirroring.bring(study, now=True)
        return True

    def _answer(self, study: StudyRow, claim: Claim, ready: Ready) -> bool:
        answer = refit.conclude(
            self.store,
            study,
            ready.problem,
            ready.test,
            trainer=ready.executor.trainer,
            stop=lambda: self._stopping(claim),
        )
        return self.store.store_answer(study.id, to_json(answer), claim)

    def _stopping(self, *claims: Claim) -> bool:
        return self.stop() or all(claim.token in self.heart.lost for claim in claims)

    def _signed(self, result: FoldResult, executor: Executor) -> FoldResult:
        """``result`` with who made it, how and on what."""
        return dataclasses.replace(
            result, worker=self.name, executor=executor.description, hardware=name_of(self.device)
        )

    def _say(self, line: str) -> None:
        self.options.say(f"lamsearch worker {self.name}: {line}")
