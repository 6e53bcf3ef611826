"""Clips shared by two datasets, or by the training and test data of a run: excluded on request, refused otherwise.

Every check runs twice: loading.read compares ids, paths and windows before torch is imported, and
duplicates.compare_contents the content of files too, once clips have been checked.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from affect.config import Config, ConfigError, CrossSplitDuplicates, DataError, DatasetConfig
from affect.config.logs import LOG
from affect.data import annotations, clip_rows
from affect.data.annotations import Annotations
from affect.data.overlap import Contents, overlap, related, same_clips, shared_source, window
from affect.data.part import Part
from affect.data.problems import Problems
from affect.data.record import SPLITS, Record
from affect.data.trained_on import Trained, same_selection, same_source

MIN_WORDS = 5
"""Of a transcript: shorter ones ("Oh my God!") are the same in many clips, which says nothing."""


def excluded_datasets(
    name: str, cfg: Config, models: Sequence[Trained], read: dict[str, Annotations]
) -> dict[str, tuple[str, list[Record]]]:
    """Reader and records, by name, of the datasets in `exclude_overlap_with` of dataset `name`.

    They have all splits, whichever the run reads: what is left has to be the same in training and in every later
    evaluation. Where a dataset of one of the `models` cannot be read here, they are the clips that the model was
    trained on. `read` has the annotations that the run has read so far, by name; what is read here is added.

    Raises ConfigError for a name that is neither a dataset of the run nor of a model, and DataError as
    annotations.read.
    """
    named = {other: config for model in models for other, config in model.datasets.items()} | cfg.datasets
    others = {}
    for other in cfg.datasets[name].exclude_overlap_with:
        if other == name or other not in named:
            raise ConfigError(
                f"datasets.{name}.exclude_overlap_with names '{other}', which is not another dataset of this run:"
                f" choose from {', '.join(sorted(set(named) - {name})) or 'none, there is no other'}"
            )
        trained_on = [record for model in models if other in model.datasets for record in model.of(other)]
        try:
            if other not in read:
                read[other] = annotations.read(other, named[other])
            records = [record for split in read[other].splits(SPLITS).values() for record in split.records]
        except DataError:
            if not trained_on:
                raise
            records = trained_on
        others[other] = (named[other].reader, records)
    return others


def check_splits(config: DatasetConfig, parts: Sequence[Part], contents: Contents | None = None) -> None:
    """Applies cross_split_duplicates where a clip is in two of `parts`, the splits of one dataset: raises DataError,
    leaves out the copy in the earlier split, or prints how many there are. Raises DataError too where a speaker is in
    two splits of a speaker-independent dataset. `contents` is what is known of the files.
    """
    policy, of_files = config.cross_split_duplicates, contents or {}
    in_order = sorted(parts, key=lambda part: SPLITS.index(part.split))
    for earlier, later in combinations(in_order, 2) if policy is not CrossSplitDuplicates.refuse else ():
        # What paths and windows tell has been said before.
        said = [] if contents is None else same_clips(earlier.records, later.records)
        said_ids = {(a.id, b.id) for a, b in said}
        pairs = [
            (a, b)
            for a, b in same_clips(earlier.records, later.records, (of_files, of_files))
            if (a.id, b.id) not in said_ids
        ]
        if policy is CrossSplitDuplicates.exclude:
            earlier.leave_out({first.id: f"same clip in split {later.split}" for first, _ in pairs})
        if pairs:
            action = "left out of it" if policy is CrossSplitDuplicates.exclude else "used in both"
            LOG.info(
                f"{later.dataset}: {len({b.id for _, b in pairs}):,} clips of split '{later.split}' are in split"
                f" '{earlier.split}' too, and {action}, since cross_split_duplicates={policy.value}; for example"
                f" {pairs[0][1].id} is {pairs[0][0].id}"
            )
    check_disjoint(
        {part.split: part.records for part in parts},
        speaker_independent=config.speaker_independent,
        duplicates=policy is not CrossSplitDuplicates.refuse,
        contents=contents,
    )


def check_disjoint(
    by_split: Mapping[str, Sequence[Record]],
    *,
    speaker_independent: bool,
    duplicates: bool = False,
    contents: Contents | None = None,
) -> None:
    """Raises DataError where a clip is in two splits, unless `duplicates` are allowed, or a speaker, if
    `speaker_independent`. `contents` is what is known of the files."""
    problems = Problems()
    of_files = contents or {}
    for (first, earlier), (second, later) in combinations(by_split.items(), 2):
        reported = set()
        for one, record in [] if duplicates else same_clips(earlier, later, (of_files, of_files)):
            if record.id in reported:  # one line per row, also where many are the same
                continue
            reported.add(record.id)
            problems.add(
                record.source or record.id,
                f"split '{second}' has the clip of {one.source or one.id} in split '{first}'"
                f" ({_how_the_same(one, record)}): leave it in one of them, or set"
                f" datasets.{record.dataset}.cross_split_duplicates to exclude (the copy in '{first}' is left out) or"
                " allow",
            )
        if speaker_independent:
            spoken = [Counter(r.speaker for r in side if r.speaker is not None) for side in (earlier, later)]
            for speaker in sorted(spoken[0].keys() & spoken[1].keys()):
                problems.add(
                    f"speaker '{speaker}'",
                    f"has {spoken[0][speaker]:,} clips in split '{first}' and {spoken[1][speaker]:,} in split"
                    f" '{second}', but the splits are to be speaker-independent: leave the speaker in one of them",
                )
    problems.check()


def check_datasets(cfg: Config, parts: Sequence[Part], contents: Contents | None = None) -> None:
    """Raises DataError where two datasets of a run share a clip that trains in one and tests in the other, or trains in
    both because one published set contains the other. Prints where two sets are cut from one programme. `contents` is
    what is known of the files."""
    of_files = contents or {}
    used = {name: [r for part in parts if part.dataset == name for r in part.records] for name in cfg.datasets}
    for first, second in combinations(used, 2):
        readers = (cfg.datasets[first].reader, cfg.datasets[second].reader)
        pairs = [
            (a, b)
            for a, b in overlap(used[first], used[second], readers, (of_files, of_files))
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
    cfg: Config, parts: Sequence[Part], models: Sequence[Trained], contents: Contents | None = None
) -> None:
    """Raises DataError where a clip that tests a model trained it before, or chose its checkpoint: as a clip of another
    dataset, of the same one with other options, or in another split. With cross_split_duplicates=exclude the clips are
    left out instead. Raises DataError too where a model's clips are unknown, unless allow_unknown_overlap=true.

    A model may be evaluated again on a split of the same dataset. `contents` is what is known of the files of `parts`.
    """
    for model in models:
        foreign = _foreign(cfg, model)
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
            LOG.info(f"{sentence}. The run goes on, since allow_unknown_overlap=true")
        for part in parts:
            for trained in model.readers:
                _check_part(cfg, part, model, trained, contents)
        if contents is None:
            for trained, name in ((t, n) for t in model.readers for n in foreign):
                _note_source(trained, name, (model.readers[trained], cfg.datasets[name].reader))
            for sentence in _same_texts(parts, model, foreign):
                LOG.info(sentence)


def _foreign(cfg: Config, model: Trained) -> list[str]:
    """The datasets of a run that a model does not have as they are here."""
    return [
        name
        for name, config in cfg.datasets.items()
        if not any(same_source(trained, theirs, name, config) for trained, theirs in model.datasets.items())
    ]


def note_same_texts(cfg: Config, parts: Sequence[Part], models: Sequence[Trained]) -> None:
    """Says which transcripts are those of training clips, once recognised ones are there; `check_training` has seen
    those of the datasets."""
    for model in models:
        for sentence in _same_texts(parts, model, _foreign(cfg, model)):
            LOG.info(sentence)


def _check_part(cfg: Config, part: Part, model: Trained, trained: str, contents: Contents | None) -> None:
    """One split of one dataset against one dataset that a model was trained on."""
    config = cfg.datasets[part.dataset]
    theirs = model.datasets.get(trained)
    # Of a dataset that the run has as it is here, only clips that have changed their split are in question.
    same = any(same_source(name, own, part.dataset, config) for name, own in model.datasets.items())
    # Under another root it is the same set where ids are the same too.
    moved = theirs is not None and trained == part.dataset and same_selection(theirs, config)
    readers = (model.readers[trained], config.reader)
    of_files = ({}, {}) if contents is None else (model.contents, contents)
    pairs = [
        (a, b)
        for a, b in overlap(model.of(trained), part.records, readers, of_files)
        if _tests(a, b, evaluated=model.evaluated, same=same or (moved and a.id == b.id))
    ]
    if not pairs:
        return
    num_clips = f"{part.dataset} {part.split}: {len({b.id for _, b in pairs}):,} clips"
    if config.cross_split_duplicates is CrossSplitDuplicates.exclude or trained in config.exclude_overlap_with:
        part.leave_out({b.id: f"a training clip of {model.key}" for _, b in pairs})
        LOG.info(
            f"{num_clips} are left out, since {model.key} was trained with them or its checkpoint chosen, for example"
            f" {pairs[0][1].id}, which is {pairs[0][0].id}"
        )
        return
    if same and config.cross_split_duplicates is CrossSplitDuplicates.allow:
        LOG.info(
            f"{num_clips} are in another split that {model.key} was trained with, and used, since"
            " cross_split_duplicates=allow"
        )
        return
    option = (
        f"datasets.{part.dataset}.exclude_overlap_with=[{trained}]"
        if trained != part.dataset and trained in model.datasets
        else f"datasets.{part.dataset}.cross_split_duplicates=exclude"
    )
    remedy = f"leave them out with {option}"
    if trained == part.dataset and model.evaluated:
        remedy = f"evaluate with the options of that run, or {remedy}"
    tested = "it" if model.evaluated else "what is made with it"
    raise DataError(
        f"{_shared(pairs)}, with which {model.key} was trained or its checkpoint chosen: they cannot test {tested}, so"
        f" {remedy}, or choose another split or dataset"
    )


def _tests(trained: Record, here: Record, *, same: bool, evaluated: bool) -> bool:
    """Whether a clip that trained a model, or chose its checkpoint, must not be where it is now."""
    if here.split == "train" and not evaluated:
        return False  # it trains again
    # A model may be evaluated on its own val split, and val that chose a checkpoint may choose the next.
    return here.split != trained.split if same or not evaluated else True


def _same_texts(parts: Sequence[Part], model: Trained, foreign: Sequence[str]) -> Iterator[str]:
    """Transcripts that are word for word those of training clips: no proof of the same clip, but worth a line."""
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


def _how_the_same(first: Record, second: Record) -> str:
    """How two records of one clip differ: in their files' names or in their windows; `a.mp4` where in neither."""
    if first.media != second.media:
        return f"{second.media} holds what {first.media} does"
    windows = ["{:g} to {:g} s".format(*window(record)) for record in (first, second)]
    return f"{second.media}" + ("" if windows[0] == windows[1] else f", {windows[1]} and {windows[0]}")


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
