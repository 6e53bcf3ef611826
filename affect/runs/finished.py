"""Finished runs by what decides their numbers, so that a multirun can take them over."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from affect.config import ConfigError
from affect.runs.run_environment import check_same_code
from affect.runs.run_summary import read_json

DEPTH = 3
"""Folders below the output root in which runs are looked for: outputs/RUN, and outputs/sweeps/SWEEP/JOB."""


def finished_runs(root: Path) -> dict[tuple[str, str], list[Path]]:
    """The finished runs below `root` that this code has made, by program and hash of the configuration.

    Two small files of every run are read, and of those that other code has made one: 2,000 runs in a second.
    """
    found: dict[tuple[str, str], list[Path]] = {}
    for folder in _runs(root, DEPTH):
        environment, status, job = (_read(folder / f"{name}.json") for name in ("environment", "status", "job"))
        hashes = {each.get("configuration_sha256") for each in (environment, job)} - {None}
        if not hashes or status.get("state") != "finished" or not (folder / "metrics.json").is_file():
            continue
        if check_same_code(folder):
            continue
        for sha256 in hashes:
            found.setdefault((environment["program"], sha256), []).append(folder)
    return found


def _runs(folder: Path, depth: int) -> Iterator[Path]:
    try:
        inside = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return  # of another user, or removed just now
    if any(entry.name == "config.yaml" for entry in inside):
        yield folder
    elif depth:
        for entry in inside:
            if entry.is_dir(follow_symlinks=False):
                yield from _runs(Path(entry.path), depth - 1)


def _read(path: Path) -> dict[str, Any]:
    """A file of a run folder; empty where it is not there, or damaged: such a run is not taken over."""
    try:
        return read_json(path)
    except ConfigError:
        return {}
