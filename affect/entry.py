"""From the command line to a typed configuration: composing, help, and errors as sentences instead of stack traces.

Nothing here or below imports torch, so that a mistake is answered in about a second.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from affect.config import FAMILIES, GROUPS, Config, ConfigError, near, register
from affect.datasets import check_options
from affect.record import DataError
from affect.rules import conflicts
from affect.run import read as read_run

CONF = Path(__file__).resolve().parent.parent / "conf"

Main = Callable[[Config, str | None], None]


def entry(program: str, about: str) -> Callable[[Main], Callable[[], None]]:
    """Makes `main(cfg, job_folder)` the program `program`: train, evaluate or show. `job_folder` is the folder that a
    multirun gives to one of its jobs, None otherwise. With dry_run=true main is not called."""

    def decorate(main: Main) -> Callable[[], None]:
        def run() -> None:
            if {"-h", "--help"} & set(sys.argv[1:]):
                print(help_text(program, about))
                return
            register()
            # Hydra hands exceptions on, instead of printing its own shortened stack trace, only when this is set.
            os.environ["HYDRA_FULL_ERROR"] = "1"
            os.environ.setdefault("AFFECT_STAMP", f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{os.getpid()}")
            OmegaConf.register_new_resolver("affect.stamp", lambda: os.environ["AFFECT_STAMP"], replace=True)
            try:
                hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(job)()
            except (ConfigError, DataError, HydraException, OmegaConfBaseException) as error:
                sys.exit(refusal(error))

        def job(raw: DictConfig) -> None:
            hydra_config = HydraConfig.get()
            try:
                if raw.run is not None and program != "train":
                    raw = with_run(raw, list(hydra_config.overrides.task))
                cfg = load(raw, program)
                for dataset in cfg.datasets.values():
                    check_options(dataset)
                if cfg.dry_run:
                    print(plan(cfg, program))
                    return
                main(cfg, hydra_config.runtime.output_dir if hydra_config.mode is RunMode.MULTIRUN else None)
            except (ConfigError, DataError, OmegaConfBaseException) as error:
                if hydra_config.mode is RunMode.MULTIRUN:
                    raise  # the launcher notes the failed job and goes on to the next
                sys.exit(refusal(error))

        return run

    return decorate


def refusal(error: Exception) -> str:
    """What the user reads: one sentence a problem, with the remedy."""
    if isinstance(error, DataError):
        return f"The data cannot be used:\n{error}"
    text = str(error) if isinstance(error, ConfigError) else explain(error)
    return "The configuration cannot be run:\n" + "\n".join(f"  - {line}" for line in text.splitlines())


def explain(error: Exception) -> str:
    """A sentence for what Hydra or OmegaConf refused."""
    cause = error.__cause__ or error
    text = str(error)
    if match := re.search(r"Could not find '([^'/]+)/([^']+)'", text):
        group, choice = match.groups()
        options = choices(group)
        if options:
            return f"{group}={choice} does not exist{near(choice, options)} Choices: {', '.join(options)}"
    if match := re.search(r"Could not override '([^'@]+)'", text):
        key = match[1].split("/")[0]
        if "No match in the defaults list" in text:
            return f"there is no group '{key}'{near(key, GROUPS)} Groups: {', '.join((*GROUPS, 'experiment', 'sweep'))}"
    if match := re.search(r"Key '([^']+)' (?:not in '(\w+)'|is not in struct)", f"{text}\n{cause}"):
        key, owner = match.groups()
        full = re.search(r"full_key: (\S+)", f"{text}\n{cause}")
        where = re.match(r"In '([^']+)': ", text)
        place = f"conf/{where[1]}.yaml: " if where else ""
        return f"{place}the key '{full[1] if full else key}' {_not_in(owner, key)}"
    if match := re.search(r"(?s)^Value .*?(?=\n\s*full_key|$)", str(cause)):
        full = re.search(r"full_key: (\S+)", str(cause))
        where = re.match(r"In '([^']+)': ", text)
        place = f"conf/{where[1]}.yaml: " if where else ""
        return f"{place}{full[1] if full else 'a key'}: {match[0].strip()}"
    if match := re.search(r"Invalid value '([^']*)', expected one of \[([^\]]*)\]", f"{text}\n{cause}"):
        full = re.search(r"full_key: (\S+)", f"{text}\n{cause}")
        options = match[2].split(", ")
        return f"{full[1] if full else 'a key'}={match[1]} is not a choice{near(match[1], options)} Choices: {', '.join(options)}"
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and "HYDRA_FULL_ERROR" not in line)


def _not_in(owner: str | None, key: str) -> str:
    """The end of the sentence about an unknown key: whose it is not, the nearest one, all of them."""
    import affect.config as schema

    if owner is None:
        return "does not exist: a dataset's keys can be set only when the dataset is chosen, dataset=…"
    names = list(getattr(schema, owner).__dataclass_fields__) if hasattr(schema, owner) else []
    if owner == "Task":
        from affect.tasks import Task

        names = list(Task.__dataclass_fields__)
    close = get_close_matches(key, names, n=1, cutoff=0.6)
    group = get_close_matches(key, [*GROUPS, "experiment", "sweep"], n=1) if owner == "Config" and not close else []
    hint = f", did you mean '{(close or group)[0]}'?" if close or group else "."
    return f"is not in {owner}{hint} Its keys: {', '.join(names)}"


def plan(cfg: Config, program: str) -> str:
    """What a run of this configuration would do, for dry_run."""
    tasks = ", ".join(f"{name} ({', '.join(dataset.tasks)})" for name, dataset in cfg.datasets.items())
    lines = [f"{program}: {cfg.model.name} on {tasks}, modalities={cfg.modalities}, prompting={cfg.prompting.name}, seed={cfg.seed}"]
    if program == "train":
        towers = ", ".join(f"{t} {getattr(cfg.finetuning, t).value}" for t in ("language", "audio", "vision", "projector"))
        lines.append(
            f"finetuning={cfg.finetuning.name}: {towers}; {cfg.trainer.max_epochs} epochs of batches of"
            f" {cfg.trainer.batch_size} × {cfg.trainer.accumulate}"
        )
    lines.append(f"evaluation on {cfg.evaluation.split}, readout={cfg.evaluation.readout.value}")
    return "\n".join([*lines, "The configuration is sound; nothing was run."])


def choices(group: str) -> list[str]:
    """The files of conf/<group>/."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def help_text(program: str, about: str) -> str:
    """What --help prints."""
    width = max(map(len, (*GROUPS, "experiment")))
    groups = "\n".join(f"  {group:<{width}}  {', '.join(choices(group))}" for group in (*GROUPS, "experiment", "sweep"))
    return f"""{about}

usage: {program} [GROUP=CHOICE …] [KEY=VALUE …]

Groups and their choices (the first line of conf/config.yaml's defaults says which are taken; dataset takes several,
dataset=[meld,demo]; experiment and sweep are deltas over the rest):
{groups}

Keys of every run:
  modalities=t|a|v|ta|tv|av|tav   what the model is given        seed=1
  data_root=DIR   where datasets live (or AFFECT_DATA)           cache_root=DIR    what is derived (or AFFECT_CACHE)
  output_root=DIR                 where run folders are made     dry_run=true      check everything, run nothing

All other keys, with what they do, are in affect/config.py; `{program} --cfg job` prints the configuration that would be
used; `-m` runs every combination of comma-separated values."""


def load(raw: DictConfig, program: str) -> Config:
    """The typed configuration of one job of `program` (train, evaluate, show), or one ConfigError with all its problems."""
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


LOCKED = ("model", "prompting", "finetuning", "knowledge")
"""What a run brings with it: a trained model is only itself with the wording and the towers it was trained with."""


def with_run(raw: DictConfig, given: list[str]) -> DictConfig:
    """The configuration for `run=…`: the run's own, changed by the words `given` on the command line.

    A dataset that the run has too keeps the run's settings, labels above all, unless they are given. Raises ConfigError, for
    all of them at once, where words would change what a run brings with it.
    """
    folder = Path(raw.run)
    keys = [word.lstrip("+~").split("=", 1)[0] for word in given]
    refused = [key for key in keys if key.split(".")[0] in LOCKED]
    if refused:
        raise ConfigError(
            "\n".join(f"{key} cannot be given beside run={folder}: a run brings its own {key.split('.')[0]}; leave it out" for key in refused)
        )
    read_run(folder)
    own = OmegaConf.load(folder / "config.yaml")
    merged = OmegaConf.structured(Config)
    merged.model = OmegaConf.structured(FAMILIES[own.model.family])
    merged = OmegaConf.merge(merged, own)
    if "dataset" in keys:
        merged.datasets = {name: merged.datasets[name] if name in merged.datasets else raw.datasets[name] for name in raw.datasets}
    for key in keys:
        if key not in ("dataset", "experiment", "hydra") and not key.startswith("hydra."):
            OmegaConf.update(merged, key, OmegaConf.select(raw, key), merge=False)
    for key in ("run", "output_root", "cache_root", "data_root", "dry_run", "clip"):
        merged[key] = raw[key]
    return merged
