"""Devices, and which trainer with how many members suits one: by measurement, except on a CPU.

On a CPU it is always the loop, one member at a time on one thread, so that results are reproducible bit by bit.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from lamsearch import environment
from lamsearch.cache import cache_folders, writable
from lamsearch.candidates import TRAINERS, Candidate, Timing, batch_of, measure, out_of_memory
from lamsearch.config import StudyConfig
from lamsearch.datasets import DataSet, compact
from lamsearch.engine import by_hand
from lamsearch.errors import InputError
from lamsearch.problem import Member, Problem, problem
from lamsearch.records import FoldResult
from lamsearch.training import TrainerType

LOOP = Candidate(trainer="loop", members=1)
COUNTS = (1, 4, 8, 16, 32, 64)
"""Members of the fused trainer that are tried. More members than λ's in a cohort never come together."""
ROOM = 0.8
"""Share of a device's free memory that the images may take."""


def devices(name: str) -> list[torch.device]:
    """The devices that ``--device name`` means: auto, cpu, cuda (all of them), cuda:1, mps.

    Raises InputError for one that is not here.
    """
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (number and (kind != "cuda" or not number.isdigit())):
        raise InputError(f"--device {name}: use auto, cpu, cuda, cuda:0, cuda:1, … or mps")
    gpus = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    apple = [torch.device("mps")] if torch.backends.mps.is_available() else []
    found = {"auto": gpus or apple, "cuda": gpus, "mps": apple, "cpu": []}[kind]
    if number:
        found = [gpu for gpu in gpus if gpu.index == int(number)]
    if kind == "cpu" or (kind == "auto" and not found):
        return [torch.device("cpu")]
    if not found:
        have = ", ".join(str(device) for device in [*gpus, *apple]) or "no GPU"
        raise InputError(f"--device {name}: torch {torch.__version__} sees {have} here; use --device cpu or auto")
    return found


def name_of(device: torch.device) -> str:
    """The device in words: its product name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "Apple GPU (mps)" if device.type == "mps" else environment.cpu()


def resident(data: DataSet, device: torch.device) -> DataSet:
    """The data set as it is placed on ``device``: on a GPU without the images that the study leaves out."""
    return data if device.type == "cpu" else compact(data)


def place(config: StudyConfig, data: DataSet, device: torch.device) -> Problem:
    """The problem of a study with ``resident`` data on ``device``. Raises InputError if the images do not fit there."""
    if device.type == "cuda":
        # The same fits in the same company give the same bits; without it, sums in the order of their arrival.
        torch.backends.cudnn.deterministic = True
        warnings.filterwarnings("ignore", message="Attempting to run cuBLAS")  # the backward thread's first product
        free, _ = torch.cuda.mem_get_info(device)
        if data.images.nbytes > ROOM * free:
            raise InputError(
                f"the images take {data.images.nbytes / 2**30:.1f} GiB, {device} has {free / 2**30:.1f} GiB free: "
                "search a subset with --set data.n=N, or use --device cpu (there they stay memory-mapped)"
            )
    return problem(config, data, device=device)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What runs here. ``timings``: what it was chosen from (none on a CPU, where it is fixed)."""

    candidate: Candidate
    timings: tuple[Timing, ...] = ()


def choose(problem: Problem, *, cache: Path | None = None, seconds: float = 0.3) -> Choice:
    """The fastest candidate for this device and shape; measured once, then read from the cache folder."""
    if problem.device.type == "cpu" or problem.layers is None:
        return Choice(candidate=LOOP)
    path = _cache_file(problem, cache)
    known = _read(path)
    if known is not None:
        return Choice(candidate=known)
    choice = fastest(problem, COUNTS, seconds=seconds)
    _write(path, choice.candidate)
    return choice


def fastest(problem: Problem, counts: Sequence[int], *, seconds: float) -> Choice:
    """Time the loop and the fused trainer with growing numbers of members, until more of them bring nothing."""
    first = measure(problem, LOOP, seconds=seconds)
    timings = [first] if first is not None else []
    best_fused = float("inf")
    for count in counts:
        timing = measure(problem, Candidate(trainer="fused", members=count), seconds=seconds)
        if timing is None or timing.ms_per_model_step > 1.05 * best_fused:
            break
        timings.append(timing)
        best_fused = min(best_fused, timing.ms_per_model_step)
    if not timings:
        raise InputError(f"{problem.device} has not enough memory for one model; use --device cpu")
    best = min(timings, key=lambda timing: timing.ms_per_model_step)
    return Choice(candidate=best.candidate, timings=tuple(timings))


class Executor:
    """Trains members as chosen. ``members`` says how many it takes at once; running out of memory halves it."""

    def __init__(self, problem: Problem, choice: Choice) -> None:
        self._problem, self._candidate = problem, choice.candidate

    @property
    def members(self) -> int:
        """Members worth handing over in one call."""
        return self._candidate.members

    @property
    def trainer(self) -> TrainerType:
        """The trainer that was chosen, for whoever brings members of their own: an epoch pruner, the refit."""
        return TRAINERS[self._candidate.trainer]

    @property
    def description(self) -> str:
        """For the record beside each result."""
        device = self._problem.device
        threads = f", {torch.get_num_threads()} thread(s)" if device.type == "cpu" else ""
        engine = " by hand" if self._candidate == LOOP and by_hand(self._problem) else ""
        return f"{self._candidate}{engine} on {device}, torch {torch.__version__}{threads}"

    def train(self, members: Sequence[Member], *, stop: Callable[[], bool] | None = None) -> tuple[FoldResult, ...]:
        """The results of all members, in their order. Raises Interrupted, and InputError if one model is too large."""
        found: list[FoldResult] = []
        while len(found) < len(members):
            group = members[len(found) : len(found) + self.members]
            try:
                found += self._train(group, stop)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                self._halve()
        return tuple(found)

    def _train(self, members: Sequence[Member], stop: Callable[[], bool] | None) -> list[FoldResult]:
        trainer = self.trainer(self._problem, members, stop=stop)
        for _ in range(self._problem.training.epochs):
            trainer.train_epoch()
        return [trainer.result(member) for member in members]

    def _halve(self) -> None:
        if self._problem.device.type == "cuda":
            torch.cuda.empty_cache()
        if self._candidate == LOOP:
            raise InputError(f"{self._problem.device} has not enough memory for one model; use --device cpu")
        half = self.members // 2
        self._candidate = Candidate(trainer="fused", members=half) if half > 1 else LOOP


def _cache_file(problem: Problem, cache: Path | None) -> Path | None:
    """One file per device, shape and whatever else the times depend on."""
    key = [
        name_of(problem.device),
        torch.__version__,
        problem.shape,
        problem.n_classes,
        str(problem.dtype),
        problem.model.model_dump(),
        problem.loss.model_dump(),
        problem.training.model_dump(exclude={"epochs", "lr", "momentum"}),
        batch_of(problem),
    ]
    folder = writable(cache_folders(cache))
    return folder and folder / f"executor-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.json"


def _read(path: Path | None) -> Candidate | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8")) if path else {}
        candidate = Candidate(trainer=stored["trainer"], members=int(stored["members"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return candidate if candidate.trainer in TRAINERS and candidate.members >= 1 else None


def _write(path: Path | None, candidate: Candidate) -> None:
    try:
        if path:
            path.write_text(json.dumps(asdict(candidate)), encoding="utf-8")
    except OSError:
        pass  # measured again next time
