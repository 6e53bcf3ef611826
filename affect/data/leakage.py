"""Clips shared by two datasets, or by the training and test data of a run: excluded on request, refused otherwise.

Every check runs twice. splits.read compares ids, paths and windows, before torch is imported;
duplicates.compare_contents compares what the files hold too, once clips have been checked.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from affect.config import Config, ConfigError, CrossSplitDuplicates, DataError, DatasetConfig, Source, read_yaml
from affect.config.logs import LOG
from affect.data import clip_rows
from affect.data import readers as datasets
from affect.data.overlap import WITHOUT_PUBLISHED_IDS, Content, Contents, overlap, related, same_clips, shared_source
from affect.data.record import SPLITS, Record

if TYPE_CHECKING:
    from affect.data.part import Part


MIN_WORDS = 5
"""Of a transcript: shorter ones ("Oh my God!") are the same in many clips, which says nothing."""


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
    """Why the clips of a dataset cannot be known, a clause each."""

    def of(self, dataset: str) -> list[Record]:
        return [record for record in self.records if record.dataset == dataset]


def trained_models(cfg: Config) -> list[Trained]:
    """The models of a configuration that were trained by affect before: that of run=…, the generator of
    knowledge.mllm_run=…, and exported ones that checkpoints name.

    Raises ConfigError where a run's configuration, or its list of clips, cannot be read.
    """
    found = []
    if cfg.run is not None:
        found += _of_run(cfg, "run", Path(cfg.run), evaluated=True)
    describes = Source.mllm in (cfg.knowledge.source, *cfg.knowledge.also)
    if describes and cfg.knowledge.mllm_run is not None:
        found += _of_run(cfg, "knowledge.mllm_run", Path(cfg.knowledge.mllm_run), evaluated=False)
    named = {"model": cfg.model}
    if describes and cfg.knowledge.mllm_run is None:
        named |= {f"knowledge.mllm_models.{name}": config for name, config in cfg.knowledge.mllm_models.items()}
    for group, config in named.items():
        for key in ("checkpoint", "language"):
            folder = Path(getattr(config, key, None) or "")
            if folder.name == "language" and (folder.parent / "composed.json").is_file():
                folder = folder.parent  # of an exported composed model
            if folder.name and folder.is_dir() and (kept := clip_rows.read(folder)) is not None:
                found += _from_rows(f"{group}.{key}={folder}", kept, evaluated=False, of={})
    return found


def _of_run(cfg: Config, key: str, folder: Path, *, evaluated: bool) -> list[Trained]:
    """The model of a run, and those it was made from."""
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"{key}={folder}: {folder} is not a run folder, it has no config.yaml: name one that has")
    before = read_yaml(folder / "config.yaml").get("run")
    if before is not None and Path(before).is_dir():  # an evaluation: the model is that of the run it names
        folder = Path(before)
    name, of = f"{key}={folder}", _datasets_of(folder, cfg)
    if (kept := clip_rows.read(folder)) is not None:
        return _from_rows(name, kept, evaluated=evaluated, of=of)
    # A run of an earlier version, or one that was killed before it knew its clips: what it reads tells.
    records: list[Record] = []
    unknown = []
    for trained, theirs in of.items():
        if all(_same_source(trained, theirs, other, config) for other, config in cfg.datasets.items()):
            continue  # the splits of one dataset were checked when it trained
        here = cfg.datasets.get(trained)
        moved = here is not None and _same_selection(theirs, here) and theirs.reader not in WITHOUT_PUBLISHED_IDS
        problem = ""
        # Read where it was, and where this run has the same published set.
        for config in (theirs, replace(theirs, root=here.root)) if moved else (theirs,):
            try:
                records += [
                    record
                    for split in ("train", "val")
                    for record in datasets.draw(config, split, datasets.read(trained, config, split)[0])[0]
                ]
                break
            except DataError as error:
                problem = problem or str(error).splitlines()[0]
        else:
            unknown.append(
                f"{folder} has no {clip_rows.FILE}, since an earlier version of affect made it, and its dataset"
                f" '{trained}' cannot be read here ({problem})"
            )
    old = Trained(
        key=name,
        evaluated=evaluated,
        datasets=of,
        readers={trained: config.reader for trained, config in of.items()},
        records=records,
        texts=frozenset(clip_rows.text_hash(record.text) for record in records),
        unknown=tuple(unknown),
    )
    return [old]


def _from_rows(key: str, kept: Mapping[str, Any], *, evaluated: bool, of: Mapping[str, DatasetConfig]) -> list[Trained]:
    found = []
    for lot in (kept, *kept["earlier"]):
        rows = [row for row in lot["rows"] if row["split"] in ("train", "val")]
        found.append(
            Trained(
                key=key,
                evaluated=evaluated and lot is kept,
                datasets=of if lot is kept else {},
                readers=lot["readers"],
                records=clip_rows.as_records(rows),
                contents=clip_rows.as_contents(rows),
                texts=frozenset(row["text"] for row in rows),
            )
        )
    return found


def known_datasets(cfg: Config, models: Sequence[Trained]) -> dict[str, DatasetConfig]:
    """By name, what exclude_overlap_with can name: the datasets of this run and of the models."""
    return {name: config for model in models for name, config in model.datasets.items()} | cfg.datasets


def left_out_for(
    name: str, config: DatasetConfig, known: Mapping[str, DatasetConfig], models: Sequence[Trained] = ()
) -> dict[str, tuple[str, list[Record]]]:
    """Reader and records, by name, of the datasets in `exclude_overlap_with`; `known` has those that can be named.

    Of all splits, whichever the run reads: what is left has to be the same in training and in every later evaluation.
    Where a dataset of one of the `models` cannot be read here, the clips that the model was trained on.
    Raises ConfigError for a name that is not known, and DataError as `datasets.read` does.
    """
    others = {}
    for other in config.exclude_overlap_with:
        if other == name or other not in known:
            raise ConfigError(
                f"datasets.{name}.exclude_overlap_with names '{other}', which is not another dataset of this run:"
                f" choose from {', '.join(sorted(set(known) - {name})) or 'none, there is no other'}"
            )
        trained_on = [record for model in models if other in model.datasets for record in model.of(other)]
        try:
            records = [r for s in SPLITS for r in datasets.read(other, known[other], s)[0]]
        except DataError:
            if not trained_on:
                raise
            records = trained_on
        others[other] = (known[other].reader, records)
    return others


def check_splits(config: DatasetConfig, parts: Sequence["Part"], contents: Contents | None = None) -> None:
    """Does what cross_split_duplicates says where a clip is in two of `parts`, the splits of one dataset: raises
    DataError, takes the copy in the earlier split out, or prints how many there are. Raises DataError too where a
    speaker is in two splits of a speaker-independent dataset. `contents` are what is known of the files.
    """
    policy, known = config.cross_split_duplicates, contents or {}
    by_place = sorted(parts, key=lambda part: SPLITS.index(part.split))
    for earlier, later in combinations(by_place, 2) if policy is not CrossSplitDuplicates.refuse else ():
        # What paths and windows tell has been said before.
        told = [] if contents is None else same_clips(earlier.records, later.records)
        before = {(a.id, b.id) for a, b in told}
        pairs = [
            (a, b) for a, b in same_clips(earlier.records, later.records, (known, known)) if (a.id, b.id) not in before
        ]
        if policy is CrossSplitDuplicates.exclude:
            earlier.leave_out({first.id: f"same clip in split {later.split}" for first, _ in pairs})
        if pairs:
            done = "left out of it" if policy is CrossSplitDuplicates.exclude else "used in both"
            LOG.info(
                f"{later.dataset}: {len({b.id for _, b in pairs}):,} clips of split '{later.split}' are in split"
                f" '{earlier.split}' too, and {done}, since cross_split_duplicates={policy.value}; for example"
                f" {pairs[0][1].id} is {pairs[0][0].id}"
            )
    datasets.check_disjoint(
        {part.split: part.records for part in parts},
        speaker_independent=config.speaker_independent,
        duplicates=policy is not CrossSplitDuplicates.refuse,
        contents=contents,
    )


def check_datasets(cfg: Config, used: Mapping[str, Sequence[Record]], contents: Contents | None = None) -> None:
    """Raises DataError where two datasets of a run share a clip that trains in one and tests in the other, or trains in
    both because one published set contains the other. Prints where two sets are cut from one programme.

    `used` has the records by dataset, of all splits together, `contents` what is known of their files.
    """
    known = contents or {}
    for first, second in combinations(used, 2):
        readers = (cfg.datasets[first].reader, cfg.datasets[second].reader)
        pairs = [
            (a, b)
            for a, b in overlap(used[first], used[second], readers, (known, known))
            # One file in two tables is also how several annotations of one clip are trained together.
            if a.split != b.split or (a.split == "train" and related(*readers))
        ]
        if pairs:
            larger, smaller = (second, first) if len(used[second]) >= len(used[first]) else (first, second)
            raise DataError(
                f"{_shared(pairs)}: they would be trained on and tested on, or trained on twice. Leave them out of one"
                f" with datasets.{larger}.exclude_overlap_with=[{smaller}], or use one of the two datasets"
            )
        if contents is None:
            _note_source(first, second, readers)


def check_training(
    cfg: Config, parts: Sequence["Part"], models: Sequence[Trained], contents: Contents | None = None
) -> None:
    """Raises DataError where a clip that tests a model trained it before, or chose its checkpoint: as a clip of another
    dataset, of the same one with other options, or in another split. With cross_split_duplicates=exclude the clips are
    left out instead. What cannot be known is refused too, unless allow_unknown_overlap says otherwise.

    A split of the very same dataset may be looked at again under its own name. `contents` are what is known of the
    files of `parts`.
    """
    for model in models:
        foreign = [
            name
            for name, config in cfg.datasets.items()
            if not any(_same_source(trained, theirs, name, config) for trained, theirs in model.datasets.items())
        ]
        if model.unknown and foreign and contents is None:
            sentence = (
                f"whether {' and '.join(foreign)} has clips that {model.key} was trained on is not known:"
                f" {'; '.join(model.unknown)}"
            )
            if not cfg.allow_unknown_overlap:
                raise DataError(
                    f"{sentence}. Put the data where data_root=… or the dataset's root finds it, or go on without"
                    " knowing, with allow_unknown_overlap=true"
                )
            LOG.info(f"{sentence}. It is gone on all the same, since allow_unknown_overlap=true")
        for part in parts:
            for trained in model.readers:
                _check_part(cfg, part, model, trained, contents)
        if contents is None:
            for trained, name in ((t, n) for t in model.readers for n in foreign):
                _note_source(trained, name, (model.readers[trained], cfg.datasets[name].reader))
            for sentence in _same_texts(parts, model, foreign):
                LOG.info(sentence)


def _check_part(cfg: Config, part: "Part", model: Trained, trained: str, contents: Contents | None) -> None:
    """One split of one dataset against one dataset that a model was trained on."""
    config = cfg.datasets[part.dataset]
    theirs = model.datasets.get(trained)
    # Of a dataset that the run has as it is here, only clips that have changed their split are in question.
    same = any(_same_source(name, own, part.dataset, config) for name, own in model.datasets.items())
    # Under another root it is the same set where ids are the same too.
    moved = theirs is not None and trained == part.dataset and _same_selection(theirs, config)
    readers = (model.readers[trained], config.reader)
    known = ({}, {}) if contents is None else (model.contents, contents)
    pairs = [
        (a, b)
        for a, b in overlap(model.of(trained), part.records, readers, known)
        if _tests(a, b, evaluated=model.evaluated, same=same or (moved and a.id == b.id))
    ]
    if not pairs:
        return
    if config.cross_split_duplicates is CrossSplitDuplicates.exclude or trained in config.exclude_overlap_with:
        part.leave_out({b.id: f"a training clip of {model.key}" for _, b in pairs})
        LOG.info(
            f"{part.dataset} {part.split}: {len({b.id for _, b in pairs}):,} clips are left out, since {model.key} was"
            f" trained with them or its checkpoint chosen, for example {pairs[0][1].id}, which is {pairs[0][0].id}"
        )
        return
    if same and config.cross_split_duplicates is CrossSplitDuplicates.allow:
        LOG.info(
            f"{part.dataset} {part.split}: {len({b.id for _, b in pairs}):,} clips are in another split that"
            f" {model.key} was trained with, and used, since cross_split_duplicates=allow"
        )
        return
    leave = (
        f"datasets.{part.dataset}.exclude_overlap_with=[{trained}]"
        if trained != part.dataset and trained in model.datasets
        else f"datasets.{part.dataset}.cross_split_duplicates=exclude"
    )
    remedy = f"leave them out with {leave}"
    if trained == part.dataset and model.evaluated:
        remedy = f"evaluate with the options of that run, or {remedy}"
    tested = "it" if model.evaluated else "what is made with it"
    raise DataError(
        f"{_shared(pairs)}, with which {model.key} was trained or its checkpoint chosen: they cannot test {tested}, so"
        f" {remedy}, or choose another split or dataset"
    )


def _tests(trained: Record, here: Record, *, same: bool, evaluated: bool) -> bool:
    """Whether a clip that trained a model, or chose its checkpoint, may not be where it is now."""
    if here.split == "train" and not evaluated:
        return False  # it trains again
    # A split may be looked at again under its own name, and val that chose a checkpoint may choose the next.
    return here.split != trained.split if same or not evaluated else True


def _same_texts(parts: Sequence["Part"], model: Trained, foreign: Sequence[str]) -> Iterator[str]:
    """Transcripts that are word for word those of training clips are no proof of the same clip, but worth a line."""
    for part in parts:
        if part.dataset not in foreign or part.split == "train":
            continue
        long = [record for record in part.records if len(record.text.split()) >= MIN_WORDS]
        shared = [record.id for record in long if clip_rows.text_hash(record.text) in model.texts]
        if shared:
            yield (
                f"{part.dataset} {part.split}: {len(shared):,} of {len(long):,} transcripts of {MIN_WORDS} words and"
                f" more are word for word those of clips that {model.key} was trained with, for example that of"
                f" {shared[0]}"
            )


def _datasets_of(folder: Path, cfg: Config) -> dict[str, DatasetConfig]:
    """The datasets that the run of a folder was trained on, with data_root and cache_root as they are here.

    Raises ConfigError where the run's configuration does not say.
    """
    path = folder / "config.yaml"
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


def _same_selection(theirs: DatasetConfig, config: DatasetConfig) -> bool:
    """Whether two configurations read the same clips into the same splits, if they find the same data."""
    return (theirs.reader, theirs.options) == (config.reader, config.options)


def _same_source(trained: str, theirs: DatasetConfig, name: str, config: DatasetConfig) -> bool:
    return trained == name and _source(theirs) == _source(config)


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
        LOG.info(
            f"{first} and {second} are both cut from {programme}, in different ways: the same actors are in both, and"
            " scenes may be, which no id tells. A score on one after training on the other is not one on unseen people."
        )
