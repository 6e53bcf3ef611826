"""The points of a multirun, each checked before the first job."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.core.override_parser.types import Override

from affect.cli.checked import checked
from affect.cli.plan import plan
from affect.cli.programs import PROGRAMS
from affect.config import Config, ConfigError
from affect.config.groups import datasets_chosen, own_words
from affect.config.roles import OF_MULTIRUNS
from affect.data import annotations
from affect.data.annotations import Annotations
from affect.runs import launchers, search, search_sweeper, sweep_file, sweep_points, sweeps
from affect.runs.finished import finished_runs
from affect.runs.identity import composed_sha256, configuration_sha256
from affect.runs.jobs import attempts
from affect.runs.run_data import changed_annotations
from affect.runs.run_environment import check_same_code, start_note
from affect.runs.run_folder import Beginning, beginning
from affect.runs.sweep_file import Entry

OF_THE_WHOLE = ("output_root", "dry_run", *OF_MULTIRUNS)
"""Keys that are the same for all points of a multirun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    words: list[str]
    cfg: Config
    entry: Entry
    how: Beginning

    @property
    def done(self) -> bool:
        return self.how in (Beginning.done, Beginning.done_by_other_code)


def planned(given: Sequence[str], program: str, resumed: bool = False) -> sweeps.Sweep | None:
    """The multirun of these words of the command line, every point of it checked; None where it is a dry run, which is
    over when that is printed. With `resumed`, the points that its folder knows come first.

    Raises ConfigError for all refused points together, and where jobs that are there were made by other code.
    """
    composer = sweep_points.Composer([*given, *datasets_chosen(given)])
    folder = Path(composer.whole.hydra.sweep.dir).absolute()
    retries, note = composer.whole.retries, start_note(given)
    if "launcher" in (overrides := composer.overrides()) and overrides["launcher"].is_sweep_override():
        raise ConfigError(f"{overrides['launcher'].input_line}: one launcher starts all jobs of a multirun: name one")
    if not composer.whole.dry_run:
        launchers.check(composer.whole.hydra)
    if composer.searches:
        search_sweeper.register()
        search.check(composer.whole.hydra, overrides, program, composer.whole.evaluation.split)
        sweep_points.check(
            _corners(overrides), lambda point: checked(composer.compose(point), own_words(point, given), program), given
        )
        if composer.whole.dry_run:
            print("The configuration is sound; nothing was run. Checked were all values, and of ranges the two ends.")
            return None
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

    asked = composer.points()
    known = [[*entry.words, *datasets_chosen(entry.words)] for entry in sweep_file.entries(folder)] if resumed else []
    numbers = {id(words): number for number, words in enumerate([*known, *asked])}
    points = sweep_points.check(asked, sound, given)
    sweep_points.check_different([point.cfg for point in points], asked)
    if known:
        # A point that is given again may have other words that change no number: these are the last wish.
        given_now = {point.entry.configuration: point for point in points}
        known = [given_now.pop(point.entry.configuration, point) for point in sweep_points.check(known, sound, given)]
        points = [*known, *given_now.values()]
    sweep_points.check_own_folders([(point.entry.folder, point.words) for point in points], folder)
    if composer.whole.dry_run:
        for number, (point, own) in enumerate(
            zip(points, sweep_points.distinct([point.words for point in points]), strict=True)
        ):
            print(" ".join([f"#{number}", *own]))
            print(plan(point.cfg, program) if not point.done else "finished: its numbers are kept")
        return None
    of_now = _Annotations()
    _check_data(folder, points, of_now)
    _check_code(folder, points, composer.whole.resume_with_other_code)
    if composer.whole.reuse:
        root = Path(composer.whole.output_root).absolute()
        points = _taken_over(folder, points, finished_runs(root), program, of_now)
    ids = sweep_file.begin(folder, program, note, [point.entry for point in points])
    tried = {point.entry.folder: len(attempts(folder / point.entry.folder)) for point in points if point.entry.folder}
    # A folder that is named by the number of the job needs all of them to be numbered.
    left = [point.words for point in points if composer.numbers_folders or not point.done]
    return sweeps.Sweep(folder=folder, points=left, numbers=ids, attempts=tried, retries=retries)


def _corners(overrides: Mapping[str, Override]) -> list[list[str]]:
    """Points of a search that have each of its values, and both ends of its ranges, beside the first of the others."""
    values = {key: search.ends(each) for key, each in overrides.items() if each.is_sweep_override()}
    fixed = [each.input_line for key, each in overrides.items() if key not in values]
    first = {key: words[0] for key, words in values.items()}
    points = [{**first, key: word} for key, words in values.items() for word in words]
    return [[*fixed, *words] for words in dict.fromkeys(tuple(point.values()) for point in points)]


class _Annotations:
    """The annotations of datasets as they are now, each read once."""

    def __init__(self) -> None:
        self._read: dict[str, Annotations] = {}

    def of(self, cfg: Config) -> Callable[[str], Annotations]:
        """Gives those of a dataset of this configuration by its name."""

        def read(name: str) -> Annotations:
            key = repr((name, cfg.datasets[name]))
            if key not in self._read:
                self._read[key] = annotations.read(name, cfg.datasets[name])
            return self._read[key]

        return read


def _check_data(folder: Path, points: Sequence[_Point], of_now: _Annotations) -> None:
    """Raises ConfigError where finished jobs stand on other annotations than there are now."""
    changed: dict[str, list[str]] = {}
    for point in points:
        if point.done and point.entry.folder is not None:
            for which in changed_annotations(folder / point.entry.folder, of_now.of(point.cfg)):
                changed.setdefault(which, []).append(point.entry.folder)
    if changed:
        raise ConfigError(
            "\n".join(
                f"{which}: its annotations are no longer those that {len(names)} finished jobs in {folder} were made"
                f" with ({_some(names)}): restore them, or choose another folder (hydra.sweep.dir), so that one table"
                " does not have numbers of both"
                for which, names in changed.items()
            )
        )


def _check_code(folder: Path, points: Sequence[_Point], all_the_same: bool) -> None:
    """Raises ConfigError where numbers of other code would stand in one table with those of this, or be continued by
    it; with `all_the_same` it says so."""
    others: dict[str, list[str]] = {}
    for point in points:
        if point.entry.folder is None or not (point.done or point.how is Beginning.resumed):
            continue
        if changed := check_same_code(folder / point.entry.folder):
            done = "finished" if point.done else "interrupted"
            others.setdefault("; ".join(changed), []).append(f"{point.entry.folder} ({done})")
    sentences = [
        f"{folder} has {len(names)} jobs of other code or libraries, {changed}: {', '.join(names)}"
        for changed, names in others.items()
    ]
    if sentences and not all_the_same:
        raise ConfigError(
            "\n".join(
                f"{sentence}. Go back to that, choose another folder (hydra.sweep.dir), or go on all the same with"
                " resume_with_other_code=true: what is finished is kept then, and the rest made by this code"
                for sentence in sentences
            )
        )
    for sentence in sentences:
        print(f"resume_with_other_code=true: {sentence}.", file=sys.stderr)


def _taken_over(
    folder: Path,
    points: Sequence[_Point],
    runs: Mapping[tuple[str, str], list[Path]],
    program: str,
    of_now: _Annotations,
) -> list[_Point]:
    """The points, those of them done of which an identical run is among `runs`: their folder becomes a link to that.
    Left alone are those whose folder is there already, and runs on other annotations."""
    after = []
    for point in points:
        theirs = runs.get((program, configuration_sha256(point.cfg)), [])
        inside = point.entry.folder
        same = [each for each in theirs if not changed_annotations(each, of_now.of(point.cfg))]
        if point.how is Beginning.anew and inside is not None and same and not (folder / inside).exists():
            (folder / inside).parent.mkdir(parents=True, exist_ok=True)
            (folder / inside).symlink_to(os.path.relpath(same[0], (folder / inside).parent), target_is_directory=True)
            print(f"reuse=true: {' '.join(point.entry.words)} is {same[0]}", flush=True)
            point = replace(point, how=Beginning.done)
        after.append(point)
    return after


def _some(names: Sequence[str]) -> str:
    return ", ".join([*names[:3], *(["…"] if len(names) > 3 else [])])
