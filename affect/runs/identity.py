"""What decides the numbers of a run, as one hash."""

import fnmatch
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from affect.config import Config, Options
from affect.config.fields import Tag
from affect.config.roles import (
    NEUTRAL,
    PLACES,
    ROOTS,
    WITHOUT_RUNS,
    default_of,
    is_one_of,
    keys_tagged,
    keys_used_by,
    leaves,
)

RUNS = ("run", "resume")
"""Keys that name another run: what comes of it depends on that run's model."""

DIGITS = 8
"""Hexadecimal digits of the hash in the name of a job's folder. Two of 2,000 jobs have the same ones in one of 2,000
sweeps; the second is then refused, as two jobs of one folder always are."""


ADDED = {key: default_of(key) for key in keys_tagged(Tag.younger)}
"""Keys that are younger than this hash, with the value at which a run is as it was before them. At that value they have
no part in it, so that the folders of earlier sweeps are found again."""

OPTIONS_WORDINGS = tuple(key for options in Options for key in keys_used_by(options.value))
"""Wordings as young, which a prompt with its options as words has no use for."""


def configuration_sha256(cfg: Config) -> str:
    """Hash of the values of a checked configuration that may change a number, wherever its data lie in `data_root` and
    `cache_root`."""
    plain = asdict(cfg)  # OmegaConf would take 70 ms
    roots = {root: plain[root] for root in ROOTS}

    def anchored(place: str) -> str:
        for root, path in roots.items():
            if Path(place).is_relative_to(path):
                return f"${{{root}}}/{Path(place).relative_to(path)}"
        return place

    return _sha256(
        {
            key: anchored(value) if isinstance(value, str) and is_one_of(key, PLACES) else value
            for key, value in leaves(plain)
        }
    )


def composed_sha256(raw: DictConfig) -> str:
    """Likewise of a configuration as Hydra composes it, before it is checked: of what stands in it, so that a place in
    another folder, written `${data_root}/meld`, is the same. Two configurations with one hash are the same run; those
    of a run with `run=…` may have two, since only checking reads what that run brings along."""
    plain = OmegaConf.to_container(raw, resolve=False, enum_to_str=True)
    assert isinstance(plain, dict)
    plain.pop("hydra", None)
    return _sha256(dict(leaves(plain)))


def _sha256(values: Mapping[str, Any]) -> str:
    counted = {k: value for k, value in values.items() if is_one_of(k, WITHOUT_RUNS) or not is_one_of(k, NEUTRAL)}
    counted["intervention"] = counted.pop("intervention.name")  # as it was called before it had strengths
    wordings = OPTIONS_WORDINGS if counted.get("prompting.options") == Options.words else ()
    counted = {
        key: value
        for key, value in counted.items()
        if not key.startswith(wordings)
        and not any(value == before and fnmatch.fnmatchcase(key, pattern) for pattern, before in ADDED.items())
    }
    counted["modalities"] = "".join(sorted(values["modalities"]))  # the order of the letters makes no difference
    counted |= {key: os.path.abspath(values[key]) for key in RUNS if values[key] is not None}
    return hashlib.sha256(json.dumps(counted, sort_keys=True, default=str).encode()).hexdigest()


def register() -> None:
    """Defines conf/config.yaml's `affect.configuration`, the digits that tell the folders of a multirun apart."""

    def digits(*, _root_: DictConfig) -> str:
        return composed_sha256(_root_)[:DIGITS]

    OmegaConf.register_new_resolver("affect.configuration", digits, replace=True)


# On import, since a launcher runs jobs in processes that unpickle them and do nothing else beforehand.
register()
