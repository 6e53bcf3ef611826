"""How far the jobs of a multirun, or of those of a study, are, and how much time is left. Only files are read, so that
it can be asked on any machine that sees them, while jobs write."""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from affect.config import ConfigError, read_yaml
from affect.runs import sweep_file
from affect.runs.jobs import Job, jobs, read_note
from affect.runs.lifecycle import is_there

STATES = ("finished", "pruned", "running", "not begun", "stopped", "killed", "refused", "failed")
"""In the order in which they are counted."""

LEAST_SHARE = 0.05
"""Share of a training's steps from which on its end is told by its own pace, in which what comes before the first step
counts too."""

TRIES = 3
"""How often files are looked at again that were replaced or removed at that moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A job, and what its run says of itself."""

    job: Job
    progress: Mapping[str, Any] = field(default_factory=dict)
    """As affect.training.progress writes it."""
    host: str | None = None
    seconds: float | None = None
    """Since a running job began."""
    left: float | None = None
    """Estimated seconds until a running job ends; None where that cannot be told yet."""
    log: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepStatus:
    folder: Path
    jobs: list[Watched]
    left: float | None
    """Estimated seconds until all jobs have ended; None where that cannot be told yet, or where nothing runs."""
    ended: bool
    """Nothing runs, and nobody is there who would begin another job."""

    def count(self, state: str) -> int:
        return sum(each.job.state == state for each in self.jobs)

    def of(self, *states: str) -> list[Watched]:
        return [each for each in self.jobs if each.job.state in states]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Of a multirun, or of all multiruns of a study or a transfer matrix."""

    folder: Path
    multiruns: list[SweepStatus]
    to_come: Mapping[str, int]
    """Numbers of jobs of the multiruns that a study has not begun, by name."""
    ended: bool

    def name(self, multirun: SweepStatus) -> str:
        """What a multirun is called inside the folder."""
        return multirun.folder.relative_to(self.folder).as_posix()


def look_all(folder: Path) -> Status:
    """The present status of all multiruns of a folder. Raises what `look` does."""
    content = sweep_file.read(folder)
    start = {} if content is None else content["starts"][-1]
    planned = start.get("multiruns", {})
    folders = sweep_file.multiruns(folder)
    if folders == [folder] and not planned:
        alone = look(folder)
        return Status(folder=folder, multiruns=[alone], to_come={}, ended=alone.ended)
    multiruns = [look(each) for each in folders if each != folder]
    to_come = {name: number for name, number in planned.items() if not (folder / name / sweep_file.FILE).is_file()}
    ended = all(each.ended for each in multiruns) and not _goes_on(start)
    return Status(folder=folder, multiruns=multiruns, to_come=to_come, ended=ended)


def look(folder: Path) -> SweepStatus:
    """The present status of a multirun. Raises ConfigError where it is none, or its list of jobs is damaged."""
    content = sweep_file.read(folder)
    if content is None and not (folder / "jobs.json").is_file():
        raise ConfigError(
            f"{folder} is not the folder of a multirun, it has no {sweep_file.FILE}: name one of outputs/sweeps"
        )
    for attempt in range(TRIES):
        try:
            all_jobs = jobs(folder)
            usual = _usual_seconds(all_jobs)
            watched = [_watched(job, folder, usual) for job in all_jobs]
            break
        except OSError:  # a file went while it was looked at
            if attempt + 1 == TRIES:
                raise
            time.sleep(0.1)
    running = [each for each in watched if each.job.state == "running"]
    waiting = sum(each.job.state == "not begun" for each in watched)
    ended = not running and not (waiting and content is not None and _goes_on(content["starts"][-1]))
    return SweepStatus(folder=folder, jobs=watched, left=_left(running, waiting, usual), ended=ended)


def _goes_on(start: Mapping[str, Any]) -> bool:
    """Whether the process that started the multirun last is there; on another machine nobody knows."""
    return start.get("host") == os.uname().nodename and "pid" in start and is_there(start["pid"])


def _usual_seconds(all_jobs: Sequence[Job]) -> float | None:
    seconds = [job.seconds for job in all_jobs if job.state == "finished" and job.seconds and job.reused is None]
    return fmean(seconds) if seconds else None


def _watched(job: Job, sweep: Path, usual: float | None) -> Watched:
    if job.folder is None or job.state in ("finished", "pruned", "not begun"):
        return Watched(job=job)
    folder = sweep / job.folder
    log = folder / "log" / "run.log"
    status: dict[str, Any] = {}
    with contextlib.suppress(ConfigError, FileNotFoundError):  # jobs() has said what is damaged
        status = read_note(folder / "status.json")
    if not isinstance(status, dict):
        status = {}
    progress = status.get("progress") or {}
    seconds = left = None
    if job.state == "running" and "started" in status:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(status["started"])).total_seconds()
        total, first = progress.get("steps", 0), progress.get("first_step", 0)
        done = progress.get("step", 0) - first
        if total > first and done >= LEAST_SHARE * (total - first):
            left = seconds * (total - first - done) / done
        elif usual is not None:
            left = max(0.0, usual - seconds)
    return Watched(
        job=job,
        progress=progress,
        host=status.get("host"),
        seconds=seconds,
        left=left,
        log=log if log.is_file() else None,
    )


def _left(running: Sequence[Watched], waiting: int, usual: float | None) -> float | None:
    """As if those that run now went on to run what is left, one job each at a time."""
    if not running or any(each.left is None for each in running):
        return None
    left = [each.left or 0.0 for each in running]
    if usual is None and waiting:
        usual = fmean([(each.seconds or 0.0) + each_left for each, each_left in zip(running, left, strict=True)])
    total = (sum(left) + waiting * (usual or 0.0)) / len(running)
    return max(total, *left)


def bytes_in(folder: Path) -> int:
    """Size of all files in a folder, without those behind links. What cannot be read, or goes meanwhile, counts
    nothing."""
    total = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    total += bytes_in(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def cache_root(status: SweepStatus) -> Path | None:
    """The folder of derived files that the jobs use, as the first of them that has begun says."""
    for each in status.jobs:
        path = status.folder / str(each.job.folder) / "config.yaml"
        with contextlib.suppress(ConfigError, KeyError):
            if path.is_file():
                return Path(read_yaml(path)["cache_root"])
    return None
