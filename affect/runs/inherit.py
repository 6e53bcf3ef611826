"""The configuration of a run folder, for evaluating it (`run=…`) or resuming it (`resume=…`)."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from affect.config import (
    FAMILIES,
    MODALITIES,
    Config,
    ConfigError,
    KnowledgeConfig,
    Task,
    Tower,
    chosen_tasks,
    new_modalities,
)
from affect.config.compose import typed
from affect.config.fields import Phase
from affect.config.hydra_errors import explain
from affect.config.roles import MAY_DIFFER_IN_EVALUATION, MAY_DIFFER_ON_RESUME, ROOTS, groups_of, is_one_of
from affect.runs.run_environment import check_same_code, program_of
from affect.runs.run_summary import read

LOCKED = (*groups_of(Phase.model, Phase.training), "experiment")
"""Groups that come with a run: a trained model needs the prompts and towers that it was trained with. An experiment may
set any of them."""

ENVIRONMENT = {"data_root": "AFFECT_DATA", "cache_root": "AFFECT_CACHE"}
"""Environment variables for ROOTS, which words override."""


def with_run(raw: DictConfig, given: list[str]) -> DictConfig:
    """The configuration for `run=…`: the run's own, changed by the words `given` on the command line.

    A dataset that the run has too keeps the run's settings, labels above all, unless they are given. Raises
    ConfigError, for all of them at once, where words would change what a run brings with it.
    """
    folder = Path(raw.run)
    keys = [word.lstrip("+~").split("=", 1)[0] for word in given]
    # A group may be put in another place: model@knowledge.mllm_models.main
    locked = [key for key in keys if re.split("[.@]", key)[0] in LOCKED]
    if raw.judge:  # then the model is the judge, and that of the run is not asked anything
        locked = [key for key in locked if key.split(".")[0] != "model"]
    refused = [key for key in locked if not is_one_of(key, MAY_DIFFER_IN_EVALUATION)]
    if refused:
        raise ConfigError(
            "\n".join(
                f"{key} cannot be given beside run={folder}: a run brings its own {re.split('[.@]', key)[0]}; leave it"
                " out"
                for key in refused
            )
        )
    run_cfg = run_config(folder)
    merged = run_cfg.copy()
    # Where data and derived files are is this machine's affair: the run may have been trained on another one.
    _move_datasets(merged, *(_root(key, raw, run_cfg, keys) for key in ROOTS))
    if "dataset" in keys:
        merged.datasets = {
            name: merged.datasets[name] if name in merged.datasets else raw.datasets[name] for name in raw.datasets
        }
    _check_datasets(keys, merged, folder)
    if raw.judge:
        merged.model = raw.model
        keys = [key for key in keys if key.split(".")[0] != "model"]
    for key in keys:
        if key not in ("dataset", "sweep", "launcher", "hydra") and not key.startswith("hydra."):
            OmegaConf.update(merged, key, OmegaConf.select(raw, key), merge=False)
    added = set(merged.modalities) - set(run_cfg.modalities)
    untrained = added & set(new_modalities(OmegaConf.to_object(merged.model)))
    if untrained:
        raise ConfigError(
            f"modalities={merged.modalities} has {' and '.join(MODALITIES[m] for m in sorted(untrained))}, but"
            f" run={folder} was trained with modalities={run_cfg.modalities} and its encoder for that is still random:"
            " leave it out"
        )
    for letter, tower in (("a", "audio"), ("v", "vision")):
        # A tower of a modality that a run did without was not even loaded.
        modes = run_cfg.finetuning
        trained = [key for key in (tower, "projector") if modes[key] in (Tower.lora, Tower.full)]
        if letter in added and trained:
            raise ConfigError(
                f"modalities={merged.modalities} has {MODALITIES[letter]}, but run={folder} was trained with"
                f" modalities={run_cfg.modalities}, and finetuning.{trained[0]}={modes[trained[0]].value} did"
                f" nothing for what was not there: leave it out, or train with modalities={merged.modalities}"
            )
    for key in ("run", "output_root", "dry_run", "clip"):
        merged[key] = raw[key]
    if merged.model.family == "server":
        merged.run = None  # such a run has no weights: what goes on from it is zero-shot again
    return merged


def _root(key: str, raw: DictConfig, run_cfg: DictConfig, given: list[str]) -> str:
    """Which of ROOTS a run's data are looked for in: what is given now, by a word or in the environment, else the run's
    own where that is on this machine."""
    stated = key in given or ENVIRONMENT[key] in os.environ
    return run_cfg[key] if not stated and Path(run_cfg[key]).is_dir() else raw[key]


def _move_datasets(cfg: DictConfig, data_root: str, cache_root: str) -> None:
    """Sets data_root and cache_root, and moves the roots of the datasets inside them."""
    for place, new in (("data_root", data_root), ("cache_root", cache_root)):
        for dataset in cfg.datasets.values():
            if Path(dataset.root).is_relative_to(cfg[place]):
                dataset.root = str(Path(new) / Path(dataset.root).relative_to(cfg[place]))
        cfg[place] = new


def with_resume(raw: DictConfig, given: list[str]) -> DictConfig:
    """The configuration for `resume=…`: the run's own. Raises ConfigError where words would make it another run, where
    there is nothing to continue, and where code or libraries are not those it was begun with."""
    folder = Path(raw.resume)
    keys = [word.lstrip("+~").split("=", 1)[0] for word in given]
    refused = [key for key in keys if not is_one_of(key, MAY_DIFFER_ON_RESUME) and not key.startswith("hydra.")]
    if refused:
        raise ConfigError(
            "\n".join(
                f"{key} cannot be given beside resume={folder}: a run ends with the configuration it began with; leave"
                " it out, or start a new run"
                for key in refused
            )
        )
    run_cfg = run_config(folder)
    _check_datasets(keys, run_cfg, folder)
    status = read(folder).status
    if program_of(folder) != "train":
        raise ConfigError(f"resume={folder} is an evaluation, and those are not continued: run evaluate.py again")
    if status["state"] == "finished":
        raise ConfigError(
            f"resume={folder} is finished, with {run_cfg.trainer.max_epochs} epochs: evaluate it, python evaluate.py"
            f" run={folder}, or start a new run with more"
        )
    if status["state"] == "running":
        raise ConfigError(
            f"resume={folder} is still running, as process {status['pid']} on {status['host']}: wait for"
            " it, or stop it first"
        )
    changed = check_same_code(folder)
    if changed and not raw.resume_with_other_code:
        raise ConfigError(
            f"resume={folder} cannot end as it would have, because this is no longer what it was begun with:"
            f" {'; '.join(changed)}: go back to that (environment.json has all versions), or continue all the same with"
            " resume_with_other_code=true"
        )
    _move_datasets(
        run_cfg,
        raw.data_root if "data_root" in keys else run_cfg.data_root,
        raw.cache_root if "cache_root" in keys else run_cfg.cache_root,
    )
    for key in keys:
        if is_one_of(key, MAY_DIFFER_ON_RESUME) and key not in ROOTS:
            OmegaConf.update(run_cfg, key, OmegaConf.select(raw, key), merge=False)
    return run_cfg


def _check_datasets(keys: list[str], cfg: DictConfig, folder: Path) -> None:
    """Raises ConfigError for keys of datasets that the configuration has not."""
    absent = [key for key in keys if key.startswith("datasets.") and key.split(".")[1] not in cfg.datasets]
    if absent:
        raise ConfigError(
            "\n".join(
                f"{key}: run={folder} is on {' and '.join(cfg.datasets)}, and has no dataset {key.split('.')[1]}: to"
                f" evaluate on another dataset choose it, dataset={key.split('.')[1]}"
                for key in absent
            )
        )


def run_config(folder: Path) -> DictConfig:
    """The configuration of a run folder, typed; nothing in it is missing or an interpolation.

    Raises ConfigError where the folder is no run's, and where this version of affect does not know what stands in it.
    """
    plain = read(folder).config
    typed = OmegaConf.structured(Config)
    try:
        typed.model = _schema("model", plain["model"])
        typed.knowledge = OmegaConf.structured(KnowledgeConfig)
        for name, generator in plain["knowledge"]["mllm_models"].items():
            typed.knowledge.mllm_models[name] = _schema(f"knowledge.mllm_models.{name}", generator)
        merged = OmegaConf.merge(typed, plain)
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise ConfigError(f"it lacks {', '.join(missing)}")
        return merged
    except (ConfigError, OmegaConfBaseException, KeyError, TypeError) as error:
        why = explain(error, None) if isinstance(error, OmegaConfBaseException) else str(error)
        raise ConfigError(
            f"{folder / 'config.yaml'} does not fit this version of affect ({why}): use the version that"
            f" {folder / 'environment.json'} names, or another run"
        ) from error


def trained_tasks(folder: Path) -> list[Task]:
    """The tasks that the run of a folder was trained on, of all its datasets. Raises ConfigError as `run_config`."""
    return chosen_tasks(typed(run_config(folder)))


def on_this_machine(folder: Path, roots: Mapping[str, str]) -> Config:
    """The configuration of a run folder, with data and derived files where this machine has them: in `roots`
    (data_root, cache_root), in the environment, as the run had them, or where they are by default. Raises ConfigError
    as `run_config`."""
    run_cfg = run_config(folder)
    raw = OmegaConf.merge(OmegaConf.structured(Config), roots)
    places = [_root(key, raw, run_cfg, list(roots)) for key in ROOTS]
    _move_datasets(run_cfg, *places)
    return typed(run_cfg)


def _schema(key: str, plain: dict[str, Any]) -> DictConfig:
    """The schema of the family of a model's plain configuration, which stands under `key`."""
    family = plain["family"]
    if family not in FAMILIES:
        raise ConfigError(f"{key}.family={family} is not one of {', '.join(FAMILIES)}")
    return OmegaConf.structured(FAMILIES[family])
