"""The points of a multirun, each checked before the first job."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override

from affect.cli.checked import checked
from affect.cli.plan import plan
from affect.cli.programs import PROGRAMS
from affect.config import Config, ConfigError
from affect.config.groups import datasets_chosen, own_words
from affect.runs import launchers, search, sweep_points, sweeps
from affect.runs.run_folder import check_unused, is_done


def planned(given: Sequence[str], program: str) -> sweeps.Sweep | None:
    """The multirun of these words of the command line, every point of it checked; None where it is a dry run, which is
    over when that is printed. Raises ConfigError for all refused points together."""
    composer = sweep_points.Composer([*given, *datasets_chosen(given)])
    folder = Path(composer.whole.hydra.sweep.dir)
    if "launcher" in (overrides := composer.overrides()) and overrides["launcher"].is_sweep_override():
        raise ConfigError(f"{overrides['launcher'].input_line}: one launcher starts all jobs of a multirun: name one")
    if not composer.whole.dry_run:
        launchers.check(composer.whole.hydra)
    if composer.searches:
        search.check(composer.whole.hydra, overrides, program, composer.whole.evaluation.split)
        sweep_points.check(
            _corners(overrides), lambda point: checked(composer.compose(point), own_words(point, given), program), given
        )
        if composer.whole.dry_run:
            print("A search chooses its points as it goes; the ends of its ranges, and each of its values, are sound.")
            return None
    if not composer.enumerable:
        print("This sweeper chooses its points as it goes: each is checked when its turn comes.", file=sys.stderr)
        return sweeps.Sweep(folder, [])

    def sound(point: list[str]) -> Config:
        raw = composer.compose(point)
        for key in ("output_root", "dry_run"):
            if raw[key] != composer.whole[key]:
                raise ConfigError(f"{key}={raw[key]} at one point alone: {key} is the same for a whole multirun")
        cfg = checked(raw, own_words(point, given), program)
        if PROGRAMS[program].makes_runs:
            job_folder = composer.folder(numbers[id(point)], point, raw)
            sweep_points.check_own_folder(job_folder, point, taken)
            if job_folder is not None and not is_done(job_folder, cfg):
                check_unused(job_folder, cfg)
        return cfg

    points = composer.points()
    numbers = {id(point): number for number, point in enumerate(points)}
    taken: dict[Path, Sequence[str]] = {}
    configs = sweep_points.check(points, sound, given)
    sweep_points.check_different(configs, points)
    if not composer.whole.dry_run:
        return sweeps.Sweep(folder, points)
    for number, (cfg, words) in enumerate(zip(configs, sweep_points.distinct(points), strict=True)):
        print(" ".join([f"#{number}", *words]))
        print(plan(cfg, program))
    return None


def _corners(overrides: Mapping[str, Override]) -> list[list[str]]:
    """Points of a search that have each of its values, and both ends of its ranges, beside the first of the others."""
    values = {key: search.ends(each) for key, each in overrides.items() if each.is_sweep_override()}
    fixed = [each.input_line for key, each in overrides.items() if key not in values]
    first = {key: words[0] for key, words in values.items()}
    points = [{**first, key: word} for key, words in values.items() for word in words]
    return [[*fixed, *words] for words in dict.fromkeys(tuple(point.values()) for point in points)]
