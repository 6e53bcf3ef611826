"""The data of a page whose runs go on: gathered anew when their files have changed."""

import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from affect.config import ConfigError
from affect.reports.collect import find
from affect.reports.formats import Report
from affect.reports.gather import Gathered, Request, gather
from affect.reports.page import building, pages
from affect.reports.page.clips.browser import browser
from affect.reports.page.clips.texts import NONE
from affect.runs import run_summary, sweep_file
from affect.runs.sweep_status import STATES, look

LEAST_SECONDS = 3.0
"""Seconds between two looks at the run folders, however many pages ask."""

WATCHED = (
    *("config.yaml", "environment.json", "data.json", "predictions.jsonl", "exclusions.csv", "metrics.json"),
    *("log/metrics.csv", "log/run.log"),
)
"""Files of a run whose size or time tell that the page has something new; its state is looked at too."""


class Live:
    """The blocks of a page, of which each is made when it is first asked for after a change. Threads may share it."""

    def __init__(self, request: Request, metrics: Sequence[str]) -> None:
        """`metrics` are those that are shown at first, as --metrics has them."""
        self.request, self.metrics = request, metrics
        self.media: set[str] = set()
        """Files of clips that the page may play, as affect.reports.page.clips.recordings.link writes them relative to
        the root of the file system."""
        self._lock = threading.RLock()
        self._looked = -LEAST_SECONDS
        self._files: Any = None
        self._session, self._version = secrets.token_hex(4), 0
        self._blocks: building.Blocks = {}
        self._packed: dict[str, str] = {}
        self._progress: list[str] = []

    def state(self) -> dict[str, Any]:
        """What a page asks again and again: the `version` of the blocks, their names, and how far the multiruns are."""
        with self._lock:
            if time.monotonic() - self._looked >= LEAST_SECONDS:
                self._look()
                self._looked = time.monotonic()
            version = f"{self._session}-{self._version}"
            return {"version": version, "blocks": list(self._blocks), "progress": self._progress}

    def block(self, name: str) -> str | None:
        """A block, packed; None where there is none of this name."""
        with self._lock:
            if name not in self._blocks:
                return None
            if name not in self._packed:
                self._packed[name] = building.pack(self._blocks[name]())
            return self._packed[name]

    def _look(self) -> None:
        self._progress = [sentence for folder in self.request.folders for sentence in _progress(folder)]
        try:
            folders, _ = find(self.request.folders)
            files = [_watched(folder) for folder in folders]
            if files == self._files:
                return
            gathered = gather(self.request)
        except ConfigError as error:
            # No run has begun yet, or what --where asks for is not there yet.
            files = str(error)
            if files == self._files:
                return
            gathered = Gathered(
                report=Report(tables=[], runs=[], notes=[]), runs=[], refused=[f"Nothing can be shown yet: {error}"]
            )
        self._files = files
        self._version += 1
        self._packed = {}
        self._blocks = pages.blocks(gathered, self.metrics)
        if any(run.counts for run in gathered.runs):
            self._blocks = {**self._blocks, "clips": partial(self._clips, gathered)}

    def _clips(self, gathered: Gathered) -> Any:
        made = browser(gathered.runs, Path("/")).blocks
        if "clips" not in made:
            raise ConfigError("no run has predictions that can be shown")
        content = made["clips"]()
        self.media |= {content["texts"][number] for number in content["clips"]["media"] if number != NONE}
        return content


def _watched(folder: Path) -> tuple[Any, ...]:
    sizes: list[Any] = [str(folder)]
    for name in WATCHED:
        try:
            status = os.stat(folder / name)
            sizes.append((status.st_size, status.st_mtime_ns))
        except OSError:
            sizes.append(None)
    try:
        sizes.append(run_summary.status_of(folder)["state"])
    except ConfigError as error:
        sizes.append(str(error))
    return tuple(sizes)


def _progress(folder: Path) -> Iterator[str]:
    """How far the multirun in `folder` is, or each multirun of a study; nothing where it is none."""
    try:
        multiruns = [look(each) for each in sweep_file.multiruns(folder)]
    except ConfigError:
        return
    for status in multiruns:
        counts = ", ".join(f"{number:,} {state}" for state in STATES if (number := status.count(state)))
        left = "" if status.left is None else f"; about {timedelta(seconds=round(status.left))} left"
        yield f"{len(status.jobs):,} jobs of {status.folder}: {counts}{left}"
