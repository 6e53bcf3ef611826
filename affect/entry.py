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
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from affect import config as schema
from affect.config import FAMILIES, GROUPS, MODALITIES, Config, ConfigError, near, new_modalities, register
from affect.datasets import check_options
from affect.record import DataError
from affect.rules import conflicts
from affect.run import read as read_run

CONF = Path(__file__).resolve().parent.parent / "conf"

PROGRAMS = {"train": "python train.py", "evaluate": "python evaluate.py", "show": "python -m affect.show"}

DELTAS = ("experiment", "sweep")
"""Groups of files that change the rest."""

REFUSALS = (ConfigError, DataError, HydraException, OmegaConfBaseException, MarkedYAMLError)
"""What is answered by a sentence and not by a stack trace."""

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


def refusal(error: Exception, given: Sequence[str]) -> str:
    """What the user reads: one sentence a problem, with the remedy. `given` are the words of the command line."""
    if isinstance(error, DataError):
        return f"The data cannot be used:\n{error}"
    text = str(error) if isinstance(error, ConfigError) else explain(error, given)
    return "The configuration cannot be run:\n" + "\n".join(f"  - {line}" for line in text.splitlines())


def explain(error: Exception, given: Sequence[str] | None) -> str:
    """A sentence for what Hydra, OmegaConf or the YAML parser refused. Where it is in none of the words `given`, the
    file of conf/ that has it is named; None is for a configuration that comes from elsewhere."""
    if isinstance(error, OverrideParseException):
        return _unreadable_word(error)
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark
        where = f"{mark.name}, line {mark.line + 1}" if mark is not None else "a file of conf"
        return (
            f"{where} is not YAML ({error.problem}): correct it; text with a colon, a bracket or a # has to be quoted"
        )
    text = "\n".join(str(e) for e in (error, error.__cause__) if e is not None)
    if match := re.search(r"Could not (?:find|load) '([^'/]+)/([^']*)'", text):
        group, choice = match.groups()
        options = choices(group)
        if options:
            return (
                f"{_place(text, choice, given)}{group}={choice} does not exist{near(choice, options)} Choices:"
                f" {', '.join(options)}"
            )
    no_group = (
        r"Could not override '([^']+)'\.\s+(?:No match in the defaults list|Did you mean)"
        r"|config group '([^']+)' does not exist"
    )
    if match := re.search(no_group, text):
        named = match[1] or match[2]
        group = re.split("[/@]", named)[0]
        return (
            f"{_place(text, named, given)}there is no group '{named}'{near(group, (*GROUPS, *DELTAS))} Groups:"
            f" {', '.join((*GROUPS, *DELTAS))}"
        )
    if match := re.search(r"Multiple values for (\w+)|force-add of config groups is not supported: '\++(\w+)", text):
        group = match[1] or match[2]
        return f"+{group} would add a second {group}: to choose another one leave out the +, {group}=…"
    if "Config group override" in text:
        words = [
            word for word in given or () if word.lstrip("+~").split("=", 1)[0].split("@")[0] in ("", *GROUPS, *DELTAS)
        ]
        return (
            f"{' '.join(words)}: a group is given as GROUP=CHOICE, dataset=demo, as a list of choices,"
            " dataset=[demo,meld], or not at all"
        )
    if "Merge error" in text:
        return "two choices of one group do not go together: give a single one, model=smollm2"
    if match := re.search(r"Ambiguous value for argument '([^'=]+)=(.*)'", text):
        key, value = match.groups()
        return f"{key}={value} is several values: add -m for a run with each of them, or write a list, {key}=[{value}]"
    if isinstance(error, OSError):
        return f"{error.filename} cannot be written ({error.strerror}): set output_root to a folder that can"
    if re.search(r"list is not a subclass of \w+\. value: .*\n\s*full_key: *\n", text):
        return f"{_place(text, '', given)}the file holds a list: write KEY: VALUE lines without the dashes"
    full = re.search(r"full_key: (\S+)", text)
    if full is None:
        return " ".join(line.strip() for line in text.splitlines() if line.strip())
    key = full[1]
    named = re.search(r"(?:Environment variable|Interpolation key) '([^']+)' not found", text)
    place = _place(text, named[1] if named else key.rsplit(".", 1)[-1], given)
    if match := re.search(r"Key '[^']+' (?:not in '(\w+)'|is not in struct)", text):
        return f"{place}the key '{key}' {_unknown(key, match[1], place)}"
    return place + _unfit_value(key, text)


def _unreadable_word(error: OverrideParseException) -> str:
    """The sentence about a word that Hydra's grammar has no reading for."""
    word = error.override
    if "=" not in word and not word.startswith("~"):
        return f"'{word}' is not KEY=VALUE: write {word}=…, and where a value has a space, quote the word as a whole"
    key, _, value = word.partition("=")
    if not re.fullmatch(r"[+~]*[\w/@-]+(\.[\w/@-]+)*", key):
        return (
            f"{word} is not KEY=VALUE: the parts of a key are names with single dots between them, trainer.max_epochs=3"
        )
    return (
        f"{word} cannot be read: close every bracket, brace and quote of a list, {key}=[a,b]; text that has any of"
        f" []{{}}(),:='\" or ${{}} in it is quoted twice, the outer quotes being for the shell: '{key}=\"{value}\"'"
    )


def _place(text: str, word: str, given: Sequence[str] | None) -> str:
    """ "conf/<file>: " where the mistake is in a file and not on the command line, else nothing."""
    file = re.search(r"In '([^']+)': ", text)
    if file and file[1] != "config":
        return f"conf/{file[1]}.yaml: "
    mentions = re.compile(rf"(?m)^[^#\n]*(?<!\w){re.escape(word)}(?!\w)")
    # What an experiment or a sweep asks for is refused in the name of conf/config.yaml, or of nobody: look who says it.
    if given is None or any(mentions.search(one) for one in given):
        return ""
    files = [path for path in sorted(CONF.rglob("*.yaml")) if mentions.search(path.read_text(encoding="utf-8"))]
    return f"{' or '.join(f'conf/{path.relative_to(CONF)}' for path in files)}: " if files else ""


def _unknown(key: str, owner: str | None, place: str) -> str:
    """The end of the sentence about an unknown key: whose it is not, the nearest one, all of them."""
    parts = key.split(".")
    if key in DELTAS or (key == "dataset" and place):
        return (
            "is not in Config: the file's first line has to be `# @package"
            f" {'datasets.NAME' if key == 'dataset' else '_global_'}`"
        )
    if parts[0] == "hydra":
        return "is not one of Hydra's: leave it out; a sweep gives its values under hydra.sweeper.params"
    names = [f.name for f in fields(getattr(schema, owner))] if owner is not None and hasattr(schema, owner) else []
    if owner == "Config":
        group = near(parts[-1], names) == "." and near(parts[-1], (*GROUPS, *DELTAS))
        return f"is not in Config{group or near(parts[-1], names)} Its keys: {', '.join(names)}"
    if names:
        return f"is not in {owner}{near(parts[-1], names)} Its keys: {', '.join(names)}"
    if parts[0] == "datasets" and len(parts) == 2:
        return f"does not exist: a dataset's keys can be set only when the dataset is chosen, dataset={parts[1]}"
    file = CONF / "dataset" / f"{parts[1]}.yaml"
    if parts[0] == "datasets" and len(parts) == 4 and file.is_file():
        there = list(OmegaConf.to_container(OmegaConf.load(file)).get(parts[2]) or {})
        return (
            f"is not in conf/dataset/{file.name}{near(parts[3], there)} Its {parts[2]}: {', '.join(there) or 'none'};"
            f" what the file does not have is added with a +, +{key}=…"
        )
    return f"does not exist yet: add it with a +, +{key}=…"


def _unfit_value(key: str, text: str) -> str:
    """The sentence about a known key whose value cannot be."""
    kinds = {"Integer": "a whole number", "Float": "a number"}
    if match := re.search(r"Value '(.*)' of type '\w+' could not be converted to (Integer|Float)", text):
        return f"{key}={match[1]} has to be {kinds[match[2]]}"
    if match := re.search(r"Value '(.*)' is not a valid bool", text):
        return f"{key}={match[1]} has to be true or false"
    if match := re.search(r"Invalid value '([^']*)', expected one of \[([^\]]*)\]", text):
        options = match[2].split(", ")
        return f"{key}={match[1]} is not a choice{near(match[1], options)} Choices: {', '.join(options)}"
    if re.search(r"is not Optional|Incompatible value 'None'|does not support deletion", text):
        return f"{key} has to have a value: null and ~{key} are refused, leave the word out to keep the default"
    if "is not a ListConfig" in text:
        return f"{key} has to be a list, {key}=[…]"
    if "is not a subclass of DatasetConfig" in text:
        return (
            f"there is no dataset '{key}' to take these keys: choose it first, dataset=… (it needs a file"
            f" conf/dataset/{key}.yaml)"
        )
    if re.search(r"Cannot assign \w+ to Dict|Cannot merge DictConfig|is not a subclass of", text):
        return f"{key} is not a single value: give the keys under it, {key}.KEY=…"
    if "Cannot convert" in text:
        return f"{key} is a text: it has no keys under it"
    if match := re.search(r"Environment variable '([^']+)' not found", text):
        return f"{key} needs the environment variable {match[1]}: set it, or give another value"
    if match := re.search(r"Interpolation key '([^']+)' not found", text):
        return f"{key} refers to ${{{match[1]}}}, and there is no such key: correct the name"
    return f"{key}: {text.splitlines()[0]}"


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


def choices(group: str) -> list[str]:
    """The files of conf/<group>/, or the names of the schemas."""
    if group == "schema":
        return [name.removesuffix(".yaml") for name in ConfigStore.instance().list(group)]
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


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
