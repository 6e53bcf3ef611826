"""From the command line to a typed configuration: composing, help, and errors as sentences instead of stack traces.

Nothing here or below imports torch, so that a mistake is answered in about a second.
"""

import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from affect.config import FAMILIES, GROUPS, MODALITIES, Config, ConfigError, near, new_modalities, register
from affect.datasets import check_options
from affect.refusals import CONF, DELTAS, REFUSALS, choices, explain, refusal
from affect.rules import conflicts
from affect.run import read as read_run

PROGRAMS = {"train": "python train.py", "evaluate": "python evaluate.py", "show": "python -m affect.show"}

Main = Callable[[Config, str | None], None]


def entry(program: str, about: str) -> Callable[[Main], Callable[[], None]]:
    """Makes `main(cfg, job_folder)` the program `program`: train, evaluate or show. `job_folder` is the folder that a
    multirun gives to one of its jobs, None otherwise. With dry_run=true main is not called."""

    def decorate(main: Main) -> Callable[[], None]:
        begun = False
        unfinished: list[int] = []

        def run() -> None:
            given = sys.argv[1:]
            if {"-h", "--help"} & set(given):
                print(help_text(program, about))
                return
            register()
            # Hydra hands exceptions on, instead of printing its own shortened stack trace, only when this is set.
            os.environ["HYDRA_FULL_ERROR"] = "1"
            os.environ.setdefault("AFFECT_STAMP", f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{os.getpid()}")
            try:
                check_dashes(given)
                with ExitStack() as stack:
                    _register_sweep_folder(stack)
                    hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(job)()
            except Exception as error:
                if unfinished:
                    sys.exit(f"Not finished, for the reason above: {', '.join(f'#{number}' for number in unfinished)}")
                # Before the first job, OSError is a folder that cannot be made, ValueError a word Hydra refuses.
                if isinstance(error, REFUSALS) or (isinstance(error, (OSError, ValueError)) and not begun):
                    sys.exit(refusal(error, given))
                raise

        def job(raw: DictConfig) -> None:
            nonlocal begun
            begun = True
            hydra_config = HydraConfig.get()
            multirun = hydra_config.mode is RunMode.MULTIRUN
            try:
                if not multirun and hydra_config.runtime.choices["sweep"] is not None:
                    raise ConfigError(
                        f"sweep={hydra_config.runtime.choices['sweep']} is a list of runs: add -m, or leave it out"
                    )
                if raw.run is not None and program != "train":
                    raw = with_run(raw, list(hydra_config.overrides.task))
                cfg = load(raw, program)
                for dataset in cfg.datasets.values():
                    check_options(dataset)
                if cfg.dry_run:
                    print(plan(cfg, program))
                    return
                main(cfg, hydra_config.runtime.output_dir if multirun else None)
            except Exception as error:
                refused = isinstance(error, REFUSALS)
                if refused and not multirun:
                    sys.exit(refusal(error, sys.argv[1:]))
                if multirun:
                    # Said here, since the launcher hands on only the first of all failures, and only at the end.
                    said = refusal(error, sys.argv[1:]) if refused else "".join(traceback.format_exception(error))
                    print(f"#{hydra_config.job.num}: {said}", file=sys.stderr)
                    unfinished.append(hydra_config.job.num)
                raise

        return run

    return decorate


def check_dashes(given: Sequence[str]) -> None:
    """Raises ConfigError for `--seed 3` and the like: keys have no dashes here, and Hydra's parser would not say so."""
    known = {f.name for f in fields(Config)} | {*GROUPS, *DELTAS}
    wrong = [
        word for word in given if word.startswith("--") and re.split(r"[.=]", word[2:])[0].replace("-", "_") in known
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
    tasks = ", ".join(f"{name} ({', '.join(dataset.tasks)})" for name, dataset in cfg.datasets.items())
    lines = [
        f"{program}: {cfg.model.name} on {tasks}, modalities={cfg.modalities}, prompting={cfg.prompting.name},"
        f" seed={cfg.seed}"
    ]
    if program == "train":
        towers = ", ".join(
            f"{t} {getattr(cfg.finetuning, t).value}" for t in ("language", "audio", "vision", "projector")
        )
        lines.append(
            f"finetuning={cfg.finetuning.name}: {towers}; {cfg.trainer.max_epochs} epochs of batches of"
            f" {cfg.trainer.batch_size} × {cfg.trainer.accumulate}"
        )
    lines.append(f"evaluation on {cfg.evaluation.split}, readout={cfg.evaluation.readout.value}")
    return "\n".join([*lines, "The configuration is sound; nothing was run."])


def help_text(program: str, about: str) -> str:
    """What --help prints."""
    command = PROGRAMS[program]
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

All other keys, with what they do, are in affect/config.py; `{command} --cfg job` prints the configuration that would be
used; `-m` runs every combination of comma-separated values."""


def load(raw: DictConfig, program: str) -> Config:
    """The typed configuration of one job of `program` (train, evaluate, show), or one ConfigError with all its
    problems."""
    unknown = list(_unknown_keys(raw))
    if unknown:
        raise ConfigError("\n".join(unknown))
    missing = sorted(OmegaConf.missing_keys(raw))
    if missing:
        raise ConfigError("\n".join(f"{key} is not set: give it a value, {key}=…" for key in missing))
    cfg = OmegaConf.to_object(raw)
    assert isinstance(cfg, Config)
    for dataset in cfg.datasets.values():
        for name, task in dataset.task_definitions.items():
            task.name = name
    broken = list(conflicts(cfg, program))
    if broken:
        raise ConfigError("\n".join(broken))
    return cfg


def _unknown_keys(node: Any, path: str = "") -> Iterator[str]:
    """Keys that a `+key=…` brought past the schema."""
    if not isinstance(node, DictConfig) or OmegaConf.is_missing(DictConfig({"node": node}), "node") or node._is_none():
        return
    kind = OmegaConf.get_type(node)
    names = [f.name for f in fields(kind)] if is_dataclass(kind) else None
    for key in node:
        full = f"{path}.{key}" if path else str(key)
        if names is not None and key not in names:
            yield f"the key '{full}' is not in {kind.__name__}{near(str(key), names)} Its keys: {', '.join(names)}"
        elif not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
            yield from _unknown_keys(node._get_node(key), full)


LOCKED = ("model", "prompting", "finetuning", "knowledge", "experiment")
"""What a run brings with it: a trained model is only itself with the wording and the towers it was trained with. An
experiment may name any of them."""


def with_run(raw: DictConfig, given: list[str]) -> DictConfig:
    """The configuration for `run=…`: the run's own, changed by the words `given` on the command line.

    A dataset that the run has too keeps the run's settings, labels above all, unless they are given. Raises
    ConfigError, for all of them at once, where words would change what a run brings with it.
    """
    folder = Path(raw.run)
    keys = [word.lstrip("+~").split("=", 1)[0] for word in given]
    refused = [key for key in keys if key.split(".")[0] in LOCKED]
    if refused:
        raise ConfigError(
            "\n".join(
                f"{key} cannot be given beside run={folder}: a run brings its own {key.split('.')[0]}; leave it out"
                for key in refused
            )
        )
    own = run_config(folder)
    merged = own.copy()
    for dataset in merged.datasets.values():
        for place in ("data_root", "cache_root"):
            # Where data and derived files are is this machine's affair: the run may have been trained on another one.
            if Path(dataset.root).is_relative_to(own[place]):
                dataset.root = str(Path(raw[place]) / Path(dataset.root).relative_to(own[place]))
    if "dataset" in keys:
        merged.datasets = {
            name: merged.datasets[name] if name in merged.datasets else raw.datasets[name] for name in raw.datasets
        }
    absent = [key for key in keys if key.startswith("datasets.") and key.split(".")[1] not in merged.datasets]
    if absent:
        raise ConfigError(
            "\n".join(
                f"{key}: run={folder} is on {' and '.join(merged.datasets)}: to evaluate on another dataset choose it,"
                f" dataset={key.split('.')[1]}"
                for key in absent
            )
        )
    for key in keys:
        if key not in ("dataset", "sweep", "hydra") and not key.startswith("hydra."):
            OmegaConf.update(merged, key, OmegaConf.select(raw, key), merge=False)
    untrained = (set(merged.modalities) - set(own.modalities)) & set(new_modalities(OmegaConf.to_object(merged.model)))
    if untrained:
        raise ConfigError(
            f"modalities={merged.modalities} has {' and '.join(MODALITIES[m] for m in sorted(untrained))}, but"
            f" run={folder} was trained with modalities={own.modalities} and its encoder for that is still random:"
            " leave it out"
        )
    for key in ("run", "output_root", "cache_root", "data_root", "dry_run", "clip"):
        merged[key] = raw[key]
    return merged


def run_config(folder: Path) -> DictConfig:
    """The configuration of a run folder, typed; nothing in it is missing or an interpolation.

    Raises ConfigError where the folder is no run's, and where this version of affect does not know what stands in it.
    """
    plain = read_run(folder).config
    typed = OmegaConf.structured(Config)
    try:
        family = plain["model"]["family"]
        if family not in FAMILIES:
            raise ConfigError(f"model.family={family} is not one of {', '.join(FAMILIES)}")
        typed.model = OmegaConf.structured(FAMILIES[family])
        own = OmegaConf.merge(typed, plain)
        missing = sorted(OmegaConf.missing_keys(own))
        if missing:
            raise ConfigError(f"it lacks {', '.join(missing)}")
        return own
    except (ConfigError, OmegaConfBaseException, KeyError, TypeError) as error:
        why = explain(error, None) if isinstance(error, OmegaConfBaseException) else str(error)
        raise ConfigError(
            f"{folder / 'config.yaml'} does not fit this version of affect ({why}): use the version that"
            f" {folder / 'environment.json'} names, or another run"
        ) from error
