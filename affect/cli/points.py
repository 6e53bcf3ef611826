"""The points of a multirun, each checked before the first job."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from affect.cli.checked import checked
from affect.cli.plan import plan
from affect.cli.programs import PROGRAMS
from affect.config import Config, ConfigError
from affect.config.groups import datasets_chosen, own_words
from affect.runs import sweep_file, sweep_points, sweeps
from affect.runs.identity import composed_sha256
from affect.runs.jobs import attempts
from affect.runs.run_folder import Beginning, beginning, start_note
from affect.runs.sweep_file import Entry

OF_THE_WHOLE = ("output_root", "dry_run", "retries", "reuse", "resume_with_other_code")
"""Keys that are the same for all points of a multirun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    words: list[str]
    cfg: Config
    entry: Entry
    how: Beginning


def planned(given: Sequence[str], program: str, resumed: bool = False) -> sweeps.Sweep | None:
    """The multirun of these words of the command line, every point of it checked; None where it is a dry run, which is
    over when that is printed. With `resumed`, the points that its folder knows are added.

    Raises ConfigError for all refused points together, and where finished jobs are other code's.
    """
    composer = sweep_points.Composer([*given, *datasets_chosen(given)])
    folder = Path(composer.whole.hydra.sweep.dir).absolute()
    retries = composer.whole.retries
    note = start_note(given)
    if not composer.enumerable:
        print("This sweeper chooses its points as it goes: each is checked when its turn comes.", file=sys.stderr)
        if not composer.whole.dry_run:
            sweep_file.begin(folder, program, note, [])
        return sweeps.Sweep(folder=folder, points=[], retries=retries, all_at_once=False)

    def sound(words: list[str]) -> _Point:
        raw = composer.compose(words)
        for key in OF_THE_WHOLE:
            if raw[key] != composer.whole[key]:
                raise ConfigError(f"{key}={raw[key]} at one point alone: {key} is the same for a whole multirun")
        own = own_words(words, given)
        cfg = checked(raw, own, program)
        job_folder = composer.folder(numbers[id(words)], words, raw)
        how = Beginning.anew
        if PROGRAMS[program].makes_runs and job_folder is not None:
            how = beginning(job_folder, cfg)
        inside = None if job_folder is None else os.path.relpath(job_folder, folder)
        return _Point(words=words, cfg=cfg, entry=Entry(own, inside, composed_sha256(raw)), how=how)

    all_words = composer.points()
    numbers = {id(words): number for number, words in enumerate(all_words)}
    points = sweep_points.check(all_words, sound, given)
    sweep_points.check_different([point.cfg for point in points], all_words)
    sweep_points.check_own_folders([(point.entry.folder, point.words) for point in points], folder)
    if composer.whole.dry_run:
        for number, (point, own) in enumerate(zip(points, sweep_points.distinct(all_words), strict=True)):
            print(" ".join([f"#{number}", *own]))
            print(plan(point.cfg, program))
        return None
    ids = sweep_file.begin(folder, program, note, [point.entry for point in points])
    tried = {point.entry.folder: len(attempts(folder / point.entry.folder)) for point in points if point.entry.folder}
    left = [
        point.words
        for point in points
        # A folder that is named by the number of the job needs all of them.
        if composer.numbers_folders or point.how not in (Beginning.done, Beginning.done_by_other_code)
    ]
    return sweeps.Sweep(folder=folder, points=left, numbers=ids, attempts=tried, retries=retries)
