"""The configuration of one job, with all that can be said against it before its data are read."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig

from affect.cli.validate import conflicts
from affect.config import GROUPS, BaselineConfig, Config, ConfigError, Media, NetworkConfig, launch, text_for_null
from affect.config.compose import load
from affect.config.logs import FOLLOWED, is_first
from affect.config.roles import OF_ANY_TRAINING, has_key, leaves, make_absolute, unused
from affect.data.readers import check_options


def checked(raw: DictConfig, words: list[str], program: str) -> Config:
    """The typed configuration of the job that is given `words`. Raises ConfigError."""
    for key in ("run", "resume"):  # which are read before all else is checked
        if sentence := text_for_null(key, raw[key], optional=True):
            raise ConfigError(sentence)
    raw = _inherited(raw, words, program)
    if is_first():
        launch.settle_devices(raw, program, words)
    cfg = load(raw, program, conflicts)
    for dataset in cfg.datasets.values():
        check_options(dataset)
    make_absolute(cfg)
    check_uniform_settings(words, cfg)
    return cfg


def _inherited(raw: DictConfig, words: list[str], program: str) -> DictConfig:
    """`raw`, or the configuration of the run that it is to be continued or evaluated."""
    resumes, evaluates = (raw[key] is not None and has_key(program, key) for key in ("resume", "run"))
    if is_first() and not resumes and not evaluates:
        return raw
    # Reading run folders is left to the jobs that have one.
    from affect.runs.inherit import run_config, with_resume, with_run

    if not is_first():
        return run_config(Path(os.environ[FOLLOWED]))
    if resumes:
        return with_resume(raw, words)
    merged = with_run(raw, words)
    if program == "quality":  # which needs the predictions of a run, also of one that has no weights
        merged.run = raw.run
    return merged


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


def words_without_effect(words: Sequence[str], cfg: Config) -> str | None:
    """A sentence that names the words which say something to language models, or to other methods, where the run's
    method is no language model; None where there are none. A multirun over methods of both kinds may give them."""
    if not isinstance(cfg.model, BaselineConfig):
        return None
    plain = json.loads(json.dumps(asdict(cfg)))  # choices become texts, as a run folder has them
    idle = unused(plain)

    def says_nothing(key: str) -> bool:
        if key in GROUPS and isinstance(plain.get(key), dict):
            return all(idle(each) or each in OF_ANY_TRAINING for each, _ in leaves(plain[key], f"{key}."))
        return idle(key)

    keys = dict.fromkeys(word.lstrip("+~").split("=", 1)[0] for word in words if word != "knowledge=none")
    if not (found := [key for key in keys if says_nothing(key)]):
        return None
    own = ", whose learning rate is model.learning_rate" if isinstance(cfg.model, NetworkConfig) else ""
    verb = "has" if len(found) == 1 else "have"
    named = " and ".join([", ".join(found[:-1]), found[-1]] if found[1:] else found)
    return f"{named} {verb} no effect on model={cfg.model.name}{own}"
