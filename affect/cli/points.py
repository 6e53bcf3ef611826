"""The points of a multirun, each checked before the first job."""

import sys
from collections.abc import Sequence
from pathlib import Path

from affect.cli.checked import checked
from affect.cli.plan import plan
from affect.cli.programs import PROGRAMS
from affect.config import Config, ConfigError
from affect.config.groups import datasets_chosen, own_words
from affect.runs import launchers, sweep_points, sweeps
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
