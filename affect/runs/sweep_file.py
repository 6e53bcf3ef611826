"""sweep.json: what a multirun is made of, written by whoever starts it and added to by whoever runs a job.

    program     train or evaluate
    words       the command line of its first start, hydra.sweep.dir included
    starts      for each start: time, words, the folder it was started from, machine and process, version of affect,
                commit and hash of the code
    jobs        in the order in which they were added: words, folder (inside the multirun's), hash of the configuration,
                and `refused`, why a job cannot have its folder

The number of a job is its place in `jobs`, and stays it whatever is added.

A study and a transfer matrix begin multiruns in folders inside theirs, and have no jobs themselves. The starts of a
study have `multiruns` too, the number of jobs of each by name.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from affect.config import ConfigError
from affect.data.files import write_json
from affect.runs import locks

FILE = "sweep.json"

LOCK = ".sweep.lock"


@dataclass(frozen=True, slots=True)
class Entry:
    """A job as a multirun knows it before it is run."""

    words: list[str]
    folder: str | None
    """Inside the multirun's; None where only the running job knows."""
    configuration: str
    """identity.composed_sha256"""
    refused: str | None = None


def read(sweep: Path) -> dict[str, Any] | None:
    """The content of the file; None where there is none. Raises ConfigError where it is damaged."""
    path = sweep / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _entries(content)
        _ = content["program"], content["words"], content["starts"][0]["folder"]
        _ = [int(number) for number in dict(content["starts"][-1].get("multiruns", {})).values()]
        return content
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"{path} cannot be read ({type(error).__name__}: {error}): restore it; or delete it and give the command of"
            f" the multirun again with hydra.sweep.dir={sweep}, and the jobs that are finished there are found"
        ) from error


def multiruns(folder: Path) -> list[Path]:
    """The multiruns of a folder: it alone, or, of a study or a transfer matrix, those that it has begun, in that order.
    Raises ConfigError where a file is damaged."""
    content = read(folder)
    if content is None or content["jobs"]:
        return [folder]
    inside = [path.parent for path in folder.glob(f"*/{FILE}")]
    begun = sorted((content["starts"][0]["time"], each) for each in inside if (content := read(each)) is not None)
    return [multirun for _, each in begun for multirun in multiruns(each)] or [folder]


def entries(sweep: Path) -> list[Entry]:
    """The jobs of a multirun by number. Those of a multirun of an older version are in jobs.json."""
    content = read(sweep)
    if content is not None:
        return _entries(content)
    path = sweep / "jobs.json"
    if not path.is_file():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [Entry(words=row["words"], folder=row["folder"], configuration="") for row in rows]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): restore it, or delete it") from error


def _entries(content: dict[str, Any]) -> list[Entry]:
    return [Entry(**each) for each in content["jobs"]]


def begin(sweep: Path, program: str, start: dict[str, Any], planned: Sequence[Entry]) -> list[int]:
    """Notes a start and the jobs that it plans, of which those that are there keep their number; gives the numbers.
    Raises ConfigError where the multirun is another program's, or a folder that of another configuration."""
    with locks.held(sweep / LOCK, wait=True):
        content = read(sweep) or {"program": program, "words": start["words"], "starts": [], "jobs": []}
        if content["program"] != program:
            raise ConfigError(
                f"{sweep} is the folder of a multirun of {content['program']}, and this is one of {program}: choose"
                " another folder (hydra.sweep.dir)"
            )
        content["starts"].append(start)
        numbers = [_enlist(content["jobs"], sweep, entry) for entry in planned]
        write_json(sweep / FILE, content)
    return numbers


def enlist(sweep: Path, entry: Entry) -> int:
    """The number of a job that is about to be run; it is added where a sweeper that chooses as it goes has chosen it.
    Raises ConfigError where its folder is that of another configuration."""
    for number, each in enumerate(entries(sweep)):
        if (each.folder, each.configuration) == (entry.folder, entry.configuration):
            return number
    with locks.held(sweep / LOCK, wait=True):
        content = _content(sweep)
        try:
            return _enlist(content["jobs"], sweep, entry)
        except ConfigError as error:
            _refuse(content["jobs"], entry, str(error))
            raise
        finally:
            write_json(sweep / FILE, content)


def refuse(sweep: Path, entry: Entry, reason: str) -> None:
    """Notes why a job cannot be run in its folder, in which nothing is written then."""
    with locks.held(sweep / LOCK, wait=True):
        content = _content(sweep)
        _refuse(content["jobs"], entry, reason)
        write_json(sweep / FILE, content)


def _content(sweep: Path) -> dict[str, Any]:
    content = read(sweep)
    if content is None:
        raise ConfigError(f"{sweep / FILE} has been removed while jobs were running: start the multirun again")
    return content


def _enlist(jobs: list[dict[str, Any]], sweep: Path, entry: Entry) -> int:
    for number, job in enumerate(jobs):
        same = job["configuration"] == entry.configuration
        if entry.folder is not None and job["folder"] == entry.folder and not same:
            raise ConfigError(
                f"{sweep / entry.folder} is the run folder of #{number} already, {' '.join(job['words'])}: let"
                " hydra.sweep.subdir tell jobs apart"
            )
        if same and (job["folder"] == entry.folder or None in (job["folder"], entry.folder)):
            jobs[number] = asdict(replace(entry, folder=entry.folder or job["folder"]))
            return number
    jobs.append(asdict(entry))
    return len(jobs) - 1


def _refuse(jobs: list[dict[str, Any]], entry: Entry, reason: str) -> None:
    for job in jobs:
        if job["configuration"] == entry.configuration and job["folder"] in (entry.folder, None):
            job["refused"] = reason
            return
    jobs.append(asdict(replace(entry, folder=None, refused=reason)))
