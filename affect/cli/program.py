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
from affect.config.roles import has_key
from affect.runs import interrupts, sweep_points
from affect.runs.lifecycle import Stopped

if TYPE_CHECKING:
    from affect.runs.sweeps import Sweep


def execute(program: str, main: Callable[[Config, str | None], None], given: list[str]) -> None:
    """Runs `main` (see `entry`) with each configuration that the words `given` make. A mistake in them or a signal ends
    the process with a sentence."""
    begun = False
    sweep: Sweep | None = None

    def job(raw: DictConfig) -> None:
        nonlocal begun
        begun = True
        hydra_config = HydraConfig.get()
        sys.argv[1:] = given
        words = OmegaConf.to_container(hydra_config.overrides.task)  # unresolved: a word may hold ${…}
        words = own_words(words, given)
        if hydra_config.mode is RunMode.MULTIRUN:
            assert sweep is not None, "Hydra takes for a multirun what sweep_points.is_multirun did not"
            from affect.runs import sweeps

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
        from affect.cli.checked import checked
        from affect.runs.run_folder import check_unused, is_done

        cfg = checked(raw, words, program)
        if is_done(folder, cfg):
            return True
        check_unused(folder, cfg)
        return False

    def checked_main(raw: DictConfig, words: list[str], job_folder: str | None) -> None:
        from affect.cli.checked import checked, words_without_effect

        cfg = checked(raw, words, program)
        if is_first() and (sentence := words_without_effect(words, cfg)) is not None:
            LOG.warning(sentence)
        if cfg.dry_run:
            from affect.cli.plan import plan

            print(plan(cfg, program))
            return
        main(cfg, job_folder)

    register()
    # peft imports it in every run, and it then asks for kernels, which it would fetch from the hub as code.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
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

            if (sweep := planned(given, program)) is not None:
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
