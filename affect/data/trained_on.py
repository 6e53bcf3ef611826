"""The clips on which the models of a run were trained before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from affect.config import Config, ConfigError, DataError, DatasetConfig, Source, read_yaml
from affect.data import annotations, clip_rows, readers
from affect.data.facts import TRAINING, Ids
from affect.data.overlap import Content
from affect.data.record import Record
from affect.data.subsets import draw


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a model of this run was trained on, or its checkpoint chosen by."""

    key: str
    """The key of the configuration that names the model: `run=outputs/x`."""
    evaluated: bool
    """Whether it is the model that is evaluated as it is. Other models are trained further, or describe clips, and may
    know the clips that train here."""
    datasets: Mapping[str, DatasetConfig]
    """By name; empty for an exported model, which is without the configuration of its run."""
    readers: Mapping[str, str]
    """By dataset."""
    records: Sequence[Record] = ()
    """Those of the splits train and val."""
    contents: dict[str, Content] = field(default_factory=dict)
    """By record id."""
    texts: frozenset[str] = frozenset()
    """Hashes of the transcripts."""
    unknown: tuple[str, ...] = ()
    """Why the clips of a dataset are unknown, a clause each."""

    def of(self, dataset: str) -> list[Record]:
        return [record for record in self.records if record.dataset == dataset]


def trained_models(cfg: Config) -> list[Trained]:
    """The models of a configuration that affect trained before: that of run=…, the generator of knowledge.mllm_run=…,
    and exported ones that checkpoints name.

    Raises ConfigError where a run's configuration, or its list of clips, cannot be read.
    """
    models = []
    if cfg.run is not None:
        models += _of_run(cfg, "run", Path(cfg.run), evaluated=True)
    describes = Source.mllm in (cfg.knowledge.source, *cfg.knowledge.also)
    if describes and cfg.knowledge.mllm_run is not None:
        models += _of_run(cfg, "knowledge.mllm_run", Path(cfg.knowledge.mllm_run), evaluated=False)
    groups = {"model": cfg.model}
    if describes and cfg.knowledge.mllm_run is None:
        groups |= {f"knowledge.mllm_models.{name}": config for name, config in cfg.knowledge.mllm_models.items()}
    for group, config in groups.items():
        for key in ("checkpoint", "language"):
            folder = Path(getattr(config, key, None) or "")
            if folder.name == "language" and (folder.parent / "composed.json").is_file():
                folder = folder.parent  # of an exported composed model
            if folder.name and folder.is_dir() and (kept := clip_rows.read(folder)) is not None:
                models += _from_rows(f"{group}.{key}={folder}", kept, evaluated=False, datasets={})
    return models


def same_selection(theirs: DatasetConfig, config: DatasetConfig) -> bool:
    """Whether two configurations read the same clips into the same splits, if they find the same data."""
    return (theirs.reader, theirs.options) == (config.reader, config.options)


def same_source(trained: str, theirs: DatasetConfig, name: str, config: DatasetConfig) -> bool:
    """Whether a dataset of a model is one of this run, as it is here."""
    return trained == name and same_selection(theirs, config) and theirs.root == config.root


def _of_run(cfg: Config, key: str, folder: Path, *, evaluated: bool) -> list[Trained]:
    """The model of a run, and those it was made from."""
    if not (folder / "config.yaml").is_file():
        what = "is not a run folder, it has no config.yaml" if folder.is_dir() else "does not exist"
        raise ConfigError(f"{key}={folder}: the folder {what}: name that of a run")
    before = read_yaml(folder / "config.yaml").get("run")
    if before is not None and Path(before).is_dir():  # an evaluation: the model is that of the run it names
        folder = Path(before)
    name, datasets = f"{key}={folder}", _datasets_of(folder, cfg)
    if (kept := clip_rows.read(folder)) is not None:
        return _from_rows(name, kept, evaluated=evaluated, datasets=datasets)
    # A run of an earlier version, or one that was killed before it knew its clips: read its datasets.
    records: list[Record] = []
    unknown = []
    for trained, theirs in datasets.items():
        if all(same_source(trained, theirs, other, config) for other, config in cfg.datasets.items()):
            continue  # the splits of one dataset were checked when it trained
        try:
            records += _training_records(trained, theirs, cfg.datasets.get(trained))
        except DataError as error:
            unknown.append(
                f"{folder} has no {clip_rows.FILE}, since an earlier version of affect made it, and its dataset"
                f" '{trained}' cannot be read here ({str(error).splitlines()[0]})"
            )
    old = Trained(
        key=name,
        evaluated=evaluated,
        datasets=datasets,
        readers={trained: config.reader for trained, config in datasets.items()},
        records=records,
        texts=frozenset(clip_rows.text_hash(record.text) for record in records),
        unknown=tuple(unknown),
    )
    return [old]


def _training_records(name: str, theirs: DatasetConfig, here: DatasetConfig | None) -> list[Record]:
    """The records that a dataset gave to training and validation, read where it was, or where this run has the same
    published set. Raises DataError."""
    try:
        by_split = annotations.read(name, theirs).splits(TRAINING)
    except DataError:
        ids = readers.constant(theirs.reader, "IDS", Ids.dataset)
        if here is None or not same_selection(theirs, here) or ids is Ids.table:
            raise
        by_split = annotations.read(name, replace(theirs, root=here.root)).splits(TRAINING)
    return [record for split, (records, _) in by_split.items() for record in draw(theirs, split, records)[0]]


def _from_rows(
    key: str, kept: Mapping[str, Any], *, evaluated: bool, datasets: Mapping[str, DatasetConfig]
) -> list[Trained]:
    """The model whose clips clip_rows has kept, and those it was made from."""
    models = []
    for run in (kept, *kept["earlier"]):
        rows = [row for row in run["rows"] if row["split"] in TRAINING]
        models.append(
            Trained(
                key=key,
                evaluated=evaluated and run is kept,
                datasets=datasets if run is kept else {},
                readers=run["readers"],
                records=clip_rows.as_records(rows),
                contents=clip_rows.as_contents(rows),
                texts=frozenset(row["text"] for row in rows),
            )
        )
    return models


def _datasets_of(folder: Path, cfg: Config) -> dict[str, DatasetConfig]:
    """The datasets that the run of a folder was trained on, with data_root and cache_root as they are here.

    Raises ConfigError where the run's configuration does not say.
    """
    path = folder / "config.yaml"
    plain = read_yaml(path)
    datasets = {}
    try:
        for name, values in plain["datasets"].items():
            config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(DatasetConfig), values))
            assert isinstance(config, DatasetConfig)
            for task_name, task in config.task_definitions.items():
                task.name = task_name
            for place, here in (("data_root", cfg.data_root), ("cache_root", cfg.cache_root)):
                if Path(config.root).is_relative_to(plain[place]):
                    config.root = str(Path(here) / Path(config.root).relative_to(plain[place]))
            datasets[name] = config
    except (OmegaConfBaseException, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} does not say what the run was trained on ({str(error).splitlines()[0]}): restore the file, or name"
            " another run"
        ) from error
    return datasets
