"""Runs a command with Hydra: composing, multirun, and errors as sentences instead of stack traces.

Nothing here or below imports torch, so that a mistake is answered in about a second; and what only some jobs need, such
as run folders and multiruns, is imported where it is needed.
"""

import logging
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hydra
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from affect.cli.programs import PROGRAMS, TRANSFERS
from affect.config import GROUPS, Config, ConfigError, launch, register
from affect.config.groups import CONF, DELTAS, datasets_chosen, own_words
from affect.config.hydra_errors import REFUSALS, refusal
from affect.config.logs import LOG, is_first
from affect.config.roles import MAY_DIFFER_ON_RESUME, has_key, is_one_of
from affect.runs import identity, interrupts, launchers, sweep_points
from affect.runs.lifecycle import Stopped

if TYPE_CHECKING:
    from affect.runs.sweeps import Sweep


Main = Callable[[Config, str | None], None]


class Job:
    """What Hydra calls with the configuration of each job. It consists of plain values, since a launcher may pickle it
    and call it in another process, on another machine: there, only the sweep's folder tells what others have done."""

    def __init__(self, program: str, main: Main, given: list[str]) -> None:
        self.program, self.main, self.given = program, main, given
        self.home = launchers.Home()
        self.sweep: Sweep | None = None
        self.begun = False

    def __call__(self, raw: DictConfig) -> None:
        self.begun = True
        # peft imports it in every run, and it then asks for kernels, which it would fetch from the hub as code.
        logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
        hydra_config = HydraConfig.get()
        sys.argv[1:] = self.given
        words = OmegaConf.to_container(hydra_config.overrides.task)  # unresolved: a word may hold ${…}
        words = own_words(words, self.given)
        if hydra_config.mode is RunMode.MULTIRUN:
            assert self.sweep is not None, "Hydra takes for a multirun what sweep_points.is_multirun did not"
            from affect.runs import search, sweeps
            from affect.runs.sweep_file import Entry

            folder = os.path.relpath(hydra_config.runtime.output_dir, self.sweep.folder)
            with self.home.entered(), search.in_trial(hydra_config):
                sweeps.run_job(
                    self.sweep,
                    Entry(words=words, folder=folder, configuration=identity.composed_sha256(raw)),
                    partial(self._checked, raw, words),
                    lambda cfg, folder: self._do(cfg, words, str(folder)),
                    self.given,
                    keeps=PROGRAMS[self.program].makes_runs,
                )
            return
        try:
            for group, what in (("sweep", "is a list of runs"), ("launcher", "starts the jobs of a multirun")):
                if (choice := hydra_config.runtime.choices[group]) is not None:
                    raise ConfigError(f"{group}={choice} {what}: add -m, or leave it out")
            cfg = self._checked(raw, words)
            _check_for_one_run(cfg)
            self._do(cfg, words, None)
        except REFUSALS as error:
            sys.exit(refusal(error, self.given))

    def _checked(self, raw: DictConfig, words: list[str], resume: Path | None = None) -> Config:
        from affect.cli.checked import checked

        if resume is None:
            return checked(raw, words, self.program)
        continued = raw.copy()
        continued.resume = str(resume)
        # The others are those that the run began with, or it would have another folder.
        may_differ = [word for word in words if is_one_of(word.lstrip("+~").split("=", 1)[0], MAY_DIFFER_ON_RESUME)]
        return checked(continued, [*may_differ, f"resume={resume}"], self.program)

    def _do(self, cfg: Config, words: list[str], job_folder: str | None) -> None:
        from affect.cli.checked import words_without_effect

        if is_first() and (sentence := words_without_effect(words, cfg)) is not None:
            LOG.warning(sentence)
        if cfg.dry_run:
            from affect.cli.plan import plan

            print(plan(cfg, self.program))
            return
        self.main(cfg, job_folder)


def _check_for_one_run(cfg: Config) -> None:
    """Raises ConfigError for keys that say something about several runs, or about another one."""
    problems = [
        f"{key}={value} is about the jobs of a multirun: add -m, or leave it out"
        for key, value in {"retries": cfg.retries, "reuse": str(cfg.reuse).lower()}.items()
        if value not in (0, "false")
    ]
    if cfg.resume_with_other_code and cfg.resume is None:
        problems.append(
            "resume_with_other_code=true is about resume=…, or a multirun that is started again: add one, or leave it"
            " out"
        )
    if problems:
        raise ConfigError("\n".join(problems))


def execute(program: str, main: Main, given: list[str], resumed: bool = False) -> None:
    """Runs `main` (see `entry`) with each configuration that the words `given` make; with `resumed` also those that
    their multirun's folder knows. A mistake in the words or a signal ends the process with a sentence."""
    job = Job(program, main, given)
    register()
    # Hydra hands exceptions on, instead of printing its own shortened stack trace, only when this is set.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ.setdefault("AFFECT_STAMP", f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{os.getpid()}")
    try:
        check_dashes(given)
        sweep_points.check_deltas(given)
        if any(f"sweep={kind}" in given for kind in TRANSFERS):
            from affect.cli import transfer

            transfer.run(given, program)
            return
        with ExitStack() as stack:
            _register_sweep_folder(stack)
            stack.enter_context(_mode_of_words())
            start = hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(job)
            sys.argv[1:] = [*given, *datasets_chosen(given)]
            if PROGRAMS[program].makes_runs and (not is_first() or launch.given() is not None):
                from affect.training import distributed

                if distributed.follows():
                    distributed.follow(start)
                    return
                stack.enter_context(distributed.leading())
            if not sweep_points.is_multirun(given):
                start()
                return
            from affect.cli.points import planned
            from affect.runs import sweeps

            if (sweep := planned(given, program, resumed)) is not None:
                job.sweep = sweep
                # What the processes of a launcher could not know, and what they are handed has to be picklable.
                OmegaConf.clear_resolver("affect.sweep_folder")
                sys.argv.append(f'hydra.sweep.dir="{sweep.folder}"')
                try:
                    sweeps.launch(sweep, partial(launchers.started, start, sweep.folder))
                finally:
                    from affect.cli.best_setting import say_best

                    say_best(sweep.folder)
    except Stopped as stopped:
        resumes = has_key(program, "resume")
        again = f"Continue with: {PROGRAMS[program].command} resume=" if resumes else "Run it again; it left "
        print(f"Stopped by {stopped}. {again}{stopped.folder}", file=sys.stderr)
        # As a shell says it of a process that a signal ended.
        sys.exit(128 + stopped.signum)
    except KeyboardInterrupt as interrupted:
        _end_interrupted(interrupted, program)
    except Exception as error:
        # A library may have made something else of it.
        if interrupts.asked is not None:
            _end_interrupted(interrupts.Interrupted(interrupts.asked), program)
        # Before the first job, OSError is a folder that cannot be made, ValueError a word Hydra refuses.
        if isinstance(error, REFUSALS) or (isinstance(error, (OSError, ValueError)) and not job.begun):
            sys.exit(refusal(error, given))
        raise
    finally:
        sys.argv[1:] = given


def _end_interrupted(interrupted: KeyboardInterrupt, program: str) -> NoReturn:
    signum = interrupted.signum if isinstance(interrupted, interrupts.Interrupted) else signal.SIGINT
    when = " before the run had begun: there is nothing to continue" if PROGRAMS[program].makes_runs else ""
    print(f"Stopped by {signal.Signals(signum).name}{when}.", file=sys.stderr)
    sys.exit(128 + signum)


def check_dashes(given: Sequence[str]) -> None:
    """Raises ConfigError for `--seed 3` and the like: keys have no dashes here, and Hydra's parser would not say so."""
    keys = {f.name for f in fields(Config)} | {*GROUPS, *DELTAS}
    wrong = [
        word for word in given if word.startswith("--") and re.split(r"[.=]", word[2:])[0].replace("-", "_") in keys
    ]
    if wrong:
        raise ConfigError(
            "\n".join(f"{word} has dashes: keys are given as KEY=VALUE, {_key(word[2:])}=…" for word in wrong)
        )


def _key(word: str) -> str:
    return word.split("=", 1)[0].replace("-", "_")


@contextmanager
def _mode_of_words() -> Iterator[None]:
    """Lets the words alone say whether Hydra runs one job or several (`sweep_points.is_multirun`). It would compose the
    whole configuration once more, a fifth of the time to an answer, to see whether a file sets hydra.mode."""
    composed = Hydra.get_mode

    def mode(_: Hydra, config_name: str | None, overrides: list[str]) -> RunMode | None:
        values = [word.removeprefix("hydra.mode=") for word in overrides if word.startswith("hydra.mode=")]
        return RunMode.__members__.get(values[-1]) if values else None

    Hydra.get_mode = mode
    try:
        yield
    finally:
        Hydra.get_mode = composed


def _register_sweep_folder(stack: ExitStack) -> None:
    """Defines conf/config.yaml's `affect.sweep_folder`. Hydra makes the folder of a multirun whatever its jobs do, so
    that of a dry run is a temporary one."""

    @cache
    def folder(output_root: str, dry_run: bool) -> str:
        if dry_run:
            return stack.enter_context(tempfile.TemporaryDirectory(prefix="affect-dry-run-"))
        return str(Path(output_root) / "sweeps" / os.environ["AFFECT_STAMP"])

    OmegaConf.register_new_resolver("affect.sweep_folder", folder, replace=True)
