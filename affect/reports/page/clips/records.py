"""What the annotations of a dataset have on the clips of a report, where the dataset is on this machine.

A run folder holds ids, answers and hashes. Transcripts, context, speakers and the places of files are read from the
dataset again, from where the run's configuration says, or AFFECT_DATA or AFFECT_CACHE.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from affect.config import ConfigError, DataError, DatasetConfig, OnBadRows
from affect.config.fields import Tag, tagged
from affect.data import Record, annotations, readers
from affect.data.annotations import Annotations
from affect.runs.inherit import ENVIRONMENT


@dataclass(slots=True, kw_only=True)
class Dataset:
    """A dataset as one or several runs have it."""

    name: str
    config: DatasetConfig | None
    why: str | None = None
    """Why nothing can be read of it."""
    read: Annotations | None = None
    _by_split: dict[str, dict[str, Record]] = field(default_factory=dict)
    _hashes: dict[str, str] = field(default_factory=dict)

    def split(self, split: str) -> Mapping[str, Record]:
        """The records of a split by id; none where they cannot be read (`why`)."""
        if split not in self._by_split:
            records: list[Record] = []
            if self.read is not None:
                try:
                    records = self.read.split(split, OnBadRows.exclude).records
                except (ConfigError, DataError) as error:
                    self.why = self.why or str(error)
            self._by_split[split] = {record.id: record for record in records}
        return self._by_split[split]

    def sha256(self, split: str) -> str | None:
        """The hash that data.json of a run has of these annotations; None where they cannot be read."""
        if self.read is None:
            return None
        if split not in self._hashes:
            self._hashes[split] = self.read.sha256(split)
        return self._hashes[split]


class Datasets:
    """The datasets of the runs of a report, each read once."""

    def __init__(self) -> None:
        self._by_key: dict[str, Dataset] = {}

    def of(self, name: str, config: Mapping[str, Any]) -> Dataset:
        """The dataset called `name` in the configuration of a run."""
        plain = config["datasets"][name]
        root = located(plain["root"], config)
        relevant = {key: value for key, value in plain.items() if key not in tagged(DatasetConfig, Tag.selects)}
        key = json.dumps([name, str(root), relevant], sort_keys=True)
        if key not in self._by_key:
            self._by_key[key] = _read(name, plain, root)
        return self._by_key[key]


def located(root: str, config: Mapping[str, Any]) -> Path:
    """Where the root of a dataset, or another place of a run, is on this machine: where it was, or else in the folder
    that AFFECT_DATA or AFFECT_CACHE names."""
    path = Path(root).expanduser()
    if path.exists():
        return path
    for key, variable in ENVIRONMENT.items():
        place = Path(config[key]).expanduser()
        if variable in os.environ and path.is_relative_to(place):
            return Path(os.environ[variable]) / path.relative_to(place)
    return path


def typed(schema: type, plain: Mapping[str, Any]) -> Any:
    """A part of a run's configuration as an object. Raises ConfigError where this version does not know it."""
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), plain))
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        why = str(error).splitlines()[0]
        raise ConfigError(f"the configuration does not fit this version of affect ({why})") from error


def _read(name: str, plain: Mapping[str, Any], root: Path) -> Dataset:
    if not root.exists():
        # Reading would make a dataset that can be made.
        why = f"{root} is not on this machine: set AFFECT_DATA to the folder of datasets, and make the page again"
        return Dataset(name=name, config=None, why=why)
    try:
        config = typed(DatasetConfig, {**plain, "root": str(root)})
        for task_name, task in config.task_definitions.items():
            task.name = task_name
        if "require_clips" in readers.all_options(config):
            # A clip that is gone has a transcript all the same.
            config.options["require_clips"] = False
        return Dataset(name=name, config=config, read=annotations.read(name, config))
    except (ConfigError, DataError) as error:
        return Dataset(name=name, config=None, why=str(error))
