"""Runs a command: composing, help, multirun, and errors as sentences instead of stack traces.

Nothing here or below imports torch, so that a mistake is answered in about a second.
"""

import logging
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import fields
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from affect.cli.programs import PROGRAMS
from affect.cli.validate import conflicts
from affect.config import GROUPS, Config, ConfigError, Media, launch, register, text_for_null
from affect.config.compose import load
from affect.config.groups import CONF, DELTAS, choices
from affect.config.hydra_errors import REFUSALS, refusal
from affect.config.logs import FOLLOWED, is_first
from affect.config.roles import has_key, make_absolute
from affect.data.readers import check_options
from affect.runs import interrupts, sweep_points, sweeps
from affect.runs.inherit import datasets_chosen, run_config, with_resume, with_run
from affect.runs.lifecycle import Stopped
from affect.runs.run_folder import check_unused, is_done

Main = Callable[[Config, str | None], None]


def entry(program: str, about: str) -> Callable[[Main], Callable[[], None]]:
    """Makes `main(cfg, job_folder)` the program `program`, one of PROGRAMS. `job_folder` is the folder that a
    multirun gives to one of its jobs, None otherwise. With dry_run=true main is not called."""

    def decorate(main: Main) -> Callable[[], None]:
        begun = False
        command: list[str] = []
        sweep: sweeps.Sweep | None = None

        def run() -> None:
            with interrupts.taken():
                started(sys.argv[1:])

        def started(given: list[str]) -> None:
            nonlocal sweep, begun, command
            begun, command = False, given
            if {"-h", "--help"} & set(given):
                print(help_text(program, about))
                return
            register()
            # peft imports it in every run, and it then asks for kernels, which it would fetch from the hub as code.
            logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
            # Hydra hands exceptions on, instead of printing its own shortened stack trace, only when this is set.
            os.environ["HYDRA_FULL_ERROR"] = "1"
            os.environ.setdefault("AFFECT_STAMP", f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{os.getpid()}")
            try:
                check_dashes(given)
                sweep_points.check_deltas(given)
                with ExitStack() as stack:
                    _register_sweep_folder(stack)
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
                    elif (sweep := planned(given, program)) is not None:
                        sweeps.launch(sweep, start)
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
                if isinstance(error, REFUSALS) or (isinstance(error, (OSError, ValueError)) and not begun):
                    sys.exit(refusal(error, given))
                raise
            finally:
                sys.argv[1:] = given

        def job(raw: DictConfig) -> None:
            nonlocal begun
            begun = True
            hydra_config = HydraConfig.get()
            sys.argv[1:] = command
            words = OmegaConf.to_container(hydra_config.overrides.task)  # unresolved: a word may hold ${…}
            words = _own_words(words, command)
            if hydra_config.mode is RunMode.MULTIRUN:
                assert sweep is not None, "Hydra takes for a multirun what sweep_points.is_multirun did not"
                folder = Path(hydra_config.runtime.output_dir)
                once = partial(checked_main, raw, words, str(folder))
                claim = partial(claimed, folder, raw, words)
                sweeps.run_job(sweep, folder, hydra_config.job.num, words, once, sys.argv[1:], claim)
                return
            try:
                if hydra_config.runtime.choices["sweep"] is not None:
                    raise ConfigError(
                        f"sweep={hydra_config.runtime.choices['sweep']} is a list of runs: add -m, or leave it out"
                    )
                checked_main(raw, words, None)
            except REFUSALS as error:
                sys.exit(refusal(error, sys.argv[1:]))

        def claimed(folder: Path, raw: DictConfig, words: list[str]) -> bool:
            """Whether a job's folder has its numbers already. Raises ConfigError where it is another run's."""
            if not (folder / "config.yaml").is_file() or not PROGRAMS[program].makes_runs:
                return False
            cfg = checked(raw, words, program)
            if is_done(folder, cfg):
                return True
            check_unused(folder, cfg)
            return False

        def checked_main(raw: DictConfig, words: list[str], job_folder: str | None) -> None:
            cfg = checked(raw, words, program)
            if cfg.dry_run:
                print(plan(cfg, program))
                return
            main(cfg, job_folder)

        return run

    return decorate


def checked(raw: DictConfig, words: list[str], program: str) -> Config:
    """The typed configuration of the job that is given `words`, with all that can be said against it before its data
    are read. Raises ConfigError."""
    for key in ("run", "resume"):  # which are read before all else is checked
        if sentence := text_for_null(key, raw[key], optional=True):
            raise ConfigError(sentence)
    if not is_first():
        raw = run_config(Path(os.environ[FOLLOWED]))
    elif raw.resume is not None and has_key(program, "resume"):
        raw = with_resume(raw, words)
    elif raw.run is not None and has_key(program, "run"):
        raw = with_run(raw, words)
    if is_first():
        launch.settle_devices(raw, program, words)
    cfg = load(raw, program, conflicts)
    for dataset in cfg.datasets.values():
        check_options(dataset)
    make_absolute(cfg)
    check_uniform_settings(words, cfg)
    return cfg


def check_uniform_settings(words: Sequence[str], cfg: Config) -> None:
    """Raises ConfigError for settings of uniform frames that are given beside model.media=native."""
    unused = sorted({word.lstrip("+~").split("=", 1)[0] for word in words} & {"model.num_frames", "model.frame_size"})
    if unused and cfg.model.media is Media.native:
        raise ConfigError(
            "\n".join(
                f"{key} does nothing beside model.media=native, where the checkpoint's own processor decides: leave it"
                " out, or set model.media=uniform"
                for key in unused
            )
        )


def planned(given: Sequence[str], program: str) -> sweeps.Sweep | None:
    """The multirun of these words of the command line, every point of it checked; None where it is a dry run, which is
    over when that is printed. Raises ConfigError for all refused points together."""
    composer = sweep_points.Composer([*given, *datasets_chosen(given)])
    folder = Path(composer.whole.hydra.sweep.dir)
    if not composer.enumerable:
        print("This sweeper chooses its points as it goes: each is checked when its turn comes.", file=sys.stderr)
        return sweeps.Sweep(folder, [])

    def sound(point: list[str]) -> Config:
        raw = composer.compose(point)
        for key in ("output_root", "dry_run"):
            if raw[key] != composer.whole[key]:
                raise ConfigError(f"{key}={raw[key]} at one point alone: {key} is the same for a whole multirun")
        cfg = checked(raw, _own_words(point, given), program)
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


def _own_words(words: Sequence[str], given: Sequence[str]) -> list[str]:
    """`words` without the one that `datasets_chosen` has added."""
    return [word for word in words if not (datasets_chosen(given) and word.startswith("dataset="))]


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


def _register_sweep_folder(stack: ExitStack) -> None:
    """Defines conf/config.yaml's `affect.sweep_folder`. Hydra makes the folder of a multirun whatever its jobs do, so
    that of a dry run is a temporary one."""

    @cache
    def folder(output_root: str, dry_run: bool) -> str:
        if dry_run:
            return stack.enter_context(tempfile.TemporaryDirectory(prefix="affect-dry-run-"))
        return str(Path(output_root) / "sweeps" / os.environ["AFFECT_STAMP"])

    OmegaConf.register_new_resolver("affect.sweep_folder", folder, replace=True)


def plan(cfg: Config, program: str) -> str:
    """What a run of this configuration would do, for dry_run."""
    return f"{program}: {PLANS.get(program, _plan_run)(cfg)}\nThe configuration is sound; nothing was run."


def _plan_doctor(cfg: Config) -> str:
    roots = ", ".join(f"{name} in {dataset.root}" for name, dataset in cfg.datasets.items())
    return f"{roots}, modalities={cfg.modalities}"


def _plan_knowledge(cfg: Config) -> str:
    sources = " and ".join(source.value for source in (cfg.knowledge.source, *cfg.knowledge.also))
    share = "" if cfg.knowledge.shard is None else f", share {cfg.knowledge.shard}"
    return f"{sources} on {', '.join(cfg.datasets)}, {' and '.join(cfg.knowledge.splits)}{share}"


def _plan_transcribe(cfg: Config) -> str:
    splits = " and ".join(cfg.transcription.splits) or "all splits"
    return f"{cfg.transcription.model} on {', '.join(cfg.datasets)}, {splits}"


def _plan_export(cfg: Config) -> str:
    return f"{cfg.export_as.value} of {cfg.run}"


def _plan_run(cfg: Config) -> str:
    tasks = ", ".join(f"{name} ({', '.join(dataset.tasks)})" for name, dataset in cfg.datasets.items())
    return (
        f"{cfg.model.name} on {tasks}, modalities={cfg.modalities}, prompting={cfg.prompting.name},"
        f" knowledge={cfg.knowledge.source.value}, seed={cfg.seed}\n"
        f"evaluation on {cfg.evaluation.split}, readout={cfg.evaluation.readout.value}"
    )


def _plan_training(cfg: Config) -> str:
    modes = ", ".join(
        f"{tower} {getattr(cfg.finetuning, tower).value}" for tower in ("language", "audio", "vision", "projector")
    )
    run, evaluation = _plan_run(cfg).split("\n")
    return (
        f"{run}\nfinetuning={cfg.finetuning.name}: {modes}; {cfg.trainer.max_epochs} epochs of batches of"
        f" {cfg.trainer.batch_size} × {cfg.trainer.accumulate}\n{evaluation}"
    )


PLANS = {
    "train": _plan_training,
    "doctor": _plan_doctor,
    "knowledge": _plan_knowledge,
    "transcribe": _plan_transcribe,
    "export": _plan_export,
}
"""What each command would do; the others evaluate."""


def help_text(program: str, about: str) -> str:
    """What --help prints."""
    command = PROGRAMS[program].command
    groups = "\n".join(f"  {group:<12}{', '.join(choices(group))}" for group in (*GROUPS, *DELTAS))
    return f"""{about}

usage: {command} [GROUP=CHOICE …] [KEY=VALUE …]

Groups and their choices (conf/config.yaml says which are taken where none is given; dataset takes several,
dataset=[meld,demo]; an experiment changes the rest; a sweep is a list of runs, for -m):
{groups}

Keys of every run:
  modalities=t|a|v|ta|tv|av|tav   what the model is given        seed=1
  data_root=DIR   where datasets live (or AFFECT_DATA)           cache_root=DIR    what is derived (or AFFECT_CACHE)
  output_root=DIR                 where run folders are made     dry_run=true      check everything, run nothing

`affect config GROUP` explains all keys of a group; `{command} --cfg job` prints the configuration that would be used;
`-m` runs every combination of comma-separated values."""
