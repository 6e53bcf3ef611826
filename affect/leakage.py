"""Clips that are in two datasets: left out where that is asked for, and otherwise refused where they train and test."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from affect import datasets
from affect.config import Config, ConfigError, DatasetConfig, read_yaml
from affect.datasets.overlap import overlap, related, shared_source
from affect.record import SPLITS, DataError, Record


def left_out_for(
    name: str, config: DatasetConfig, known: Mapping[str, DatasetConfig]
) -> dict[str, tuple[str, list[Record]]]:
    """Reader and records, by name, of the datasets in `exclude_overlap_with`; `known` has those that can be named.

    Of all splits, whichever the run reads: what is left has to be the same in training and in every later evaluation.
    Raises ConfigError for a name that is not known, and DataError as `datasets.read` does.
    """
    others = {}
    for other in config.exclude_overlap_with:
        if other == name or other not in known:
            raise ConfigError(
                f"datasets.{name}.exclude_overlap_with names '{other}', which is not another dataset of this run:"
                f" choose from {', '.join(sorted(set(known) - {name})) or 'none, there is no other'}"
            )
        others[other] = (known[other].reader, [r for s in SPLITS for r in datasets.read(other, known[other], s)[0]])
    return others


def check_datasets(cfg: Config, used: Mapping[str, Sequence[Record]]) -> None:
    """Raises DataError where two datasets of a run share a clip that trains in one and tests in the other, or trains in
    both because one published set contains the other. Prints where two sets are cut from one programme.

    `used` has the records by dataset, of all splits together.
    """
    for first, second in combinations(used, 2):
        readers = (cfg.datasets[first].reader, cfg.datasets[second].reader)
        pairs = [
            (a, b)
            for a, b in overlap(used[first], used[second], readers)
            # One file in two tables is also how several annotations of one clip are trained together.
            if a.split != b.split or (a.split == "train" and related(*readers))
        ]
        if pairs:
            larger, smaller = (second, first) if len(used[second]) >= len(used[first]) else (first, second)
            raise DataError(
                f"{_shared(pairs)}: they would be trained on and tested on, or trained on twice. Leave them out of one"
                f" with datasets.{larger}.exclude_overlap_with=[{smaller}], or use one of the two datasets"
            )
        _note_source(first, second, readers)


def check_training(cfg: Config, used: Mapping[str, Sequence[Record]], of_run: Mapping[str, DatasetConfig]) -> None:
    """Raises DataError where a clip to be evaluated trained the model of run=…, or chose its checkpoint, as a clip of
    another dataset or of the same one with other options. `of_run` has the datasets of that run (`datasets_of_run`).

    A dataset that is the very same is let pass: its splits were checked when it trained. Prints which of the run's
    datasets cannot be read here, so that nothing is known of them.
    """
    for trained, theirs in of_run.items():
        foreign = [name for name in used if name != trained or _source(cfg.datasets[name]) != _source(theirs)]
        if not foreign:
            continue
        try:
            records = [
                r for s in ("train", "val") for r in datasets.draw(theirs, s, datasets.read(trained, theirs, s)[0])[0]
            ]
        except DataError as error:
            print(
                f"whether {' and '.join(foreign)} has clips that run={cfg.run} was trained on is not known, since its"
                f" dataset '{trained}' cannot be read here ({str(error).splitlines()[0]})"
            )
            continue
        for name in foreign:
            readers = (theirs.reader, cfg.datasets[name].reader)
            if pairs := overlap(records, used[name], readers):
                remedy = (
                    f"leave them out with datasets.{name}.exclude_overlap_with=[{trained}]"
                    if name != trained
                    else "evaluate with the options of that run"
                )
                raise DataError(
                    f"{_shared(pairs)}, with which run={cfg.run} was trained or its checkpoint chosen: they cannot"
                    f" test it, so {remedy}, or choose another split or dataset"
                )
            _note_source(trained, name, readers)


def datasets_of_run(cfg: Config) -> dict[str, DatasetConfig]:
    """The datasets that the model of run=… was trained on, with data_root and cache_root as they are here.

    Raises ConfigError where the run's configuration does not say.
    """
    assert cfg.run is not None
    path = Path(cfg.run) / "config.yaml"
    plain = read_yaml(path)
    made = {}
    try:
        for name, values in plain["datasets"].items():
            config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(DatasetConfig), values))
            assert isinstance(config, DatasetConfig)
            for task_name, task in config.task_definitions.items():
                task.name = task_name
            for place, here in (("data_root", cfg.data_root), ("cache_root", cfg.cache_root)):
                if Path(config.root).is_relative_to(plain[place]):
                    config.root = str(Path(here) / Path(config.root).relative_to(plain[place]))
            made[name] = config
    except (OmegaConfBaseException, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} does not say what the run was trained on ({str(error).splitlines()[0]}): restore the file, or name"
            " another run"
        ) from error
    return made


def _source(config: DatasetConfig) -> tuple[str, str, dict[str, Any]]:
    """What decides which clip is in which split."""
    return config.reader, config.root, config.options


def _shared(pairs: Sequence[tuple[Record, Record]]) -> str:
    """The beginning of a sentence: how many clips are in both datasets, in which splits, and one of them."""
    first, second = pairs[0]
    counts = Counter((b.split, a.split) for a, b in pairs)
    where = ", ".join(f"{n:,} in its {b} and the other's {a}" for (b, a), n in sorted(counts.items()))
    return (
        f"dataset '{second.dataset}' has {len(pairs):,} clips of dataset '{first.dataset}' ({where}; for example"
        f" {second.id} is {first.id})"
    )


def _note_source(first: str, second: str, readers: tuple[str, str]) -> None:
    if programme := shared_source(*readers):
        print(
            f"{first} and {second} are both cut from {programme}, in different ways: the same actors are in both, and"
            " scenes may be, which no id tells. A score on one after training on the other is not one on unseen people."
        )
