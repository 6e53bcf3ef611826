"""The source `cues`: measured signals in words, without a model or a download.

Acoustic and visual cues (affect/data/cues) are measured and told in one of five phrases (cue_words.py), one
for each fifth of a population, since no level means the same in two recordings. knowledge.cues_reference chooses the
population:

- train: the training split of the clip's dataset, as this run uses it. No other split is read.
- speaker: the clips of the same speaker in the same split, so that a high voice is high for this speaker. No label is
  used, but the description of a test clip depends on the speaker's other test clips, which rules out claims about
  single utterances of unknown speakers. Clips without a speaker, and of speakers with fewer than MIN_CLIPS clips, are
  told relative to the training split, and counted.

Faces, smiles and cuts are told as they are. Datasets are never compared with each other. Raw measurements are kept by
content (affect.data.clip_checks), so a description in another language or relative to other clips decodes nothing.
"""

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import av
import cv2
import numpy as np

from affect.config import Config, ConfigError, CuesForm, CuesReference, DataError
from affect.config.logs import LOG
from affect.data import SPLITS, Record, loading
from affect.data.annotations import Annotations
from affect.data.clip_checks import TRANSIENT, measure_clips
from affect.data.clips import ClipSource
from affect.data.cues import acoustic, visual
from affect.data.file_hashes import content_hashes
from affect.data.media import VERSION as DECODE_VERSION
from affect.data.media import MediaError, Sampling
from affect.data.part import Part
from affect.data.progress import progress
from affect.knowledge.protocol import Description, Failure, request_hash
from affect.knowledge.sources import cue_words

VERSION = 2
"""Raise it when the words or the levels change."""

LETTERS = {"audio": "a", "video": "v"}

MAX_SECONDS = 600.0
"""Longer clips are not described: ten minutes of audio are 40 MB, and no utterance is that long."""

MIN_CLIPS = 10
"""Clips that a speaker needs to be a population: two for each of the five phrases."""

SAMPLINGS = {
    "audio": Sampling(audio=True, video=False, num_frames=1, frame_size=1, max_seconds=MAX_SECONDS, only_needed=True),
    "video": Sampling(
        audio=False,
        video=True,
        num_frames=visual.NUM_FRAMES,
        frame_size=visual.FRAME_SIZE,
        max_seconds=MAX_SECONDS,
        only_needed=True,
    ),
}

NAMES = {
    "audio": f"cues audio {acoustic.VERSION} decode {DECODE_VERSION} av {av.__version__} {visual.LIBRARY}",
    "video": f"cues video {visual.VERSION} decode {DECODE_VERSION} av {av.__version__} {visual.LIBRARY}",
}
"""Keys under which measurements are kept, with the versions of everything that decodes, transforms and detects."""

Population = tuple[str, str, str | None]
"""Dataset, split, and speaker; None for all speakers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    cues: Mapping[str, float | None] | None
    """Values by cue; None where the clip could not be decoded."""
    seconds: float
    """Processor time of decoding and measuring."""
    problem: str
    """Why there are no cues, with the remedy; empty where there are some."""


def load(cfg: Config, parts: Sequence[Part]) -> "Cues":
    """Raises ConfigError for modalities that are not described; DataError where the populations cannot be read."""
    wanted = cfg.knowledge.modalities
    if not set(wanted) & set(LETTERS):
        raise ConfigError(
            f"knowledge.modalities=[{','.join(wanted)}] has nothing that knowledge=cues describes: add audio or video"
        )
    return Cues(cfg, {part.split for part in parts})


class Cues:
    """See affect.knowledge.Describer. Populations are read from the annotations and not from the parts of a run, which
    change with the clips that a run leaves out."""

    def __init__(self, cfg: Config, splits: set[str]) -> None:
        self.cfg, self.knowledge, self.splits = cfg, cfg.knowledge, splits
        self.modalities = tuple(modality for modality in LETTERS if modality in self.knowledge.modalities)
        self.cache_root = Path(cfg.cache_root).expanduser()
        in_phrases = self.knowledge.cues_form is CuesForm.phrases
        self.tell = cue_words.tell if in_phrases else cue_words.tell_levels
        self.by_speaker = self.knowledge.cues_reference is CuesReference.speaker
        self.bounds: dict[tuple[str, Population], dict[str, list[float]]] = {}
        self.chosen = {
            modality: chosen or list(cue_words.phrases(modality, "en"))
            for modality, chosen in (("audio", self.knowledge.cues_audio), ("video", self.knowledge.cues_video))
        }

    @cached_property
    def fingerprint(self) -> str:
        """`cues-<reference>-<hash>`. The hash is over versions, settings and the content of the clips of every
        population, which decide every quantile; so clips have to be hashed for it, but not measured."""
        clips = [r for records in self.populations.values() for r in records if r.media and Path(r.media).is_file()]
        hashes = content_hashes({r.media for r in clips if r.media}, self.cache_root, num_workers=self._workers)
        content = {
            "/".join(map(str, key)): sorted(
                [hashes[r.media], r.start or 0.0, -1.0 if r.end is None else r.end]
                for r in records
                if r.media in hashes
            )
            for key, records in self.populations.items()
        }
        languages = {name: config.language for name, config in sorted(self.cfg.datasets.items())}
        hashed = [VERSION, NAMES, self.knowledge.cues_reference.value, self.chosen, languages, content]
        if self.knowledge.cues_form is not CuesForm.phrases:  # which descriptions had before there was another form
            hashed.append(self.knowledge.cues_form.value)
        digest = hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()
        return f"cues-{self.knowledge.cues_reference.value}-{digest[:16]}"

    @property
    def note(self) -> str:
        """A sentence for reports that names the population."""
        if not self.by_speaker:
            return "cues are told relative to the training split of each dataset"
        return (
            "cues are told relative to the clips of the same speaker in the same split: without labels, but the"
            " description of a test clip depends on the speaker's other test clips"
        )

    @cached_property
    def populations(self) -> dict[Population, list[Record]]:
        """The records of each population: the training split of every dataset, and for cues_reference=speaker every
        speaker with MIN_CLIPS clips in a split."""
        populations: dict[Population, list[Record]] = {}
        read: dict[str, Annotations] = {}
        for name in self.cfg.datasets:
            for split in SPLITS if self.by_speaker else ("train",):
                try:
                    records = loading.records(self.cfg, name, split, read)
                except DataError as error:
                    # A dataset may have no validation or training clips, but those described must be there.
                    if split in self.splits or not self.by_speaker:
                        raise DataError(
                            f"knowledge.cues_reference={self.knowledge.cues_reference.value} cannot describe the clips"
                            f" of dataset '{name}', since split '{split}' cannot be read: {error}"
                        ) from error
                    continue
                if split == "train":
                    populations[name, split, None] = records
                if self.by_speaker:
                    populations |= _by_speaker(name, split, records)
        return dict(sorted(populations.items(), key=lambda item: tuple(map(str, item[0]))))

    def request(self, record: Record, modality: str) -> str:
        """Language and population."""
        return request_hash({"language": record.language, "population": self._population(record)})

    def describe(self, records: Sequence[Record], hashes: Mapping[str, str]) -> Iterator[Description | Failure]:
        """Yields one Description or Failure for every record and modality of its dataset."""
        for modality in self.modalities:
            clips = [r for r in records if LETTERS[modality] in self.cfg.datasets[r.dataset].modalities]
            if not clips:
                continue
            quantiles = self.quantiles(modality, {self._population(record) for record in clips})
            others = sum(self._population(record)[2] is None for record in clips)
            if self.by_speaker and others:
                LOG.info(
                    f"{others} of {len(clips)} clips have no speaker, or one with fewer than {MIN_CLIPS} clips in the"
                    f" split: their {modality} is told relative to the training split instead of the speaker"
                )
            for record, measurement in self._measured(clips, modality):
                if measurement.cues is None:
                    yield Failure(id=record.id, modality=modality, reason=measurement.problem)
                    continue
                levels = levels_of(measurement.cues, quantiles[self._population(record)])
                text = self.tell(modality, record.language, levels, self.chosen[modality])
                sha256, seconds = hashes[record.id], measurement.seconds
                yield Description.now(self, record, modality, sha256, text, tokens=None, seconds=seconds)

    def quantiles(self, modality: str, wanted: set[Population]) -> dict[Population, dict[str, list[float]]]:
        """The bounds between the phrases of each cue by population, measured with a progress bar unless they are kept.
        Raises DataError where no clip of a population can be measured."""
        for population in sorted(wanted, key=lambda key: tuple(map(str, key))):
            if (modality, population) in self.bounds:
                continue
            members = self.populations[population]
            with progress(self.cfg.trainer.progress and population[2] is None) as bar:
                task = bar.add_task(f"measuring {modality} of {population[0]} {population[1]}", total=len(members))
                rows = self._measured(members, modality, partial(bar.advance, task))
                measurements = [measurement for _, measurement in rows]
            usable = [m.cues for m in measurements if m.cues is not None]
            where = " ".join(filter(None, population))
            if not usable:
                raise DataError(
                    f"knowledge.cues_reference={self.knowledge.cues_reference.value}: the {modality} of none of the"
                    f" {len(members)} clips of {where} can be measured; the first: {measurements[0].problem}"
                )
            if len(usable) < len(members):
                problem = next(m.problem for m in measurements if m.cues is None)
                LOG.info(
                    f"{where}: {len(members) - len(usable)} of {len(members)} clips cannot be measured and are left out"
                    f" of the reference for {modality}; the first: {problem}"
                )
            self.bounds[modality, population] = quantiles_of(usable)
        return {population: self.bounds[modality, population] for population in wanted}

    def _measured(
        self, records: Sequence[Record], modality: str, progress: Callable[[int], None] | None = None
    ) -> Iterator[tuple[Record, Measurement]]:
        return measured(records, modality, self.cache_root, num_workers=self._workers, progress=progress)

    @property
    def _workers(self) -> int:
        return self.cfg.trainer.check_workers

    def _population(self, record: Record) -> Population:
        of_speaker = (record.dataset, record.split, record.speaker)
        if self.by_speaker and record.speaker is not None and of_speaker in self.populations:
            return of_speaker
        of_training = (record.dataset, "train", None)
        if of_training not in self.populations:
            raise DataError(
                f"{record.source or record.id}: {record.id} cannot be told relative to its speaker"
                f" ({record.speaker or 'none is named'}), who needs {MIN_CLIPS} clips in split '{record.split}', and"
                f" dataset '{record.dataset}' has no training split instead: name the speakers, or choose another"
                " source"
            )
        return of_training


def measured(
    records: Sequence[Record],
    modality: str,
    cache_root: Path,
    *,
    num_workers: int,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[Record, Measurement]]:
    """The cues of each record's clip, in order: those that are kept by content, others by decoding the clip. `modality`
    is audio or video. Raises as measure_clips."""
    measure = partial(_as_text, modality=modality)
    rows = measure_clips(records, NAMES[modality], measure, cache_root, num_workers=num_workers, progress=progress)
    for record, _, text in rows:
        found = json.loads(text)
        problem = ""
        if found["cues"] is None:
            problem = str(MediaError(found["outcome"], record.media or record.source or record.id, found["detail"]))
        yield record, Measurement(cues=found["cues"], seconds=found["seconds"], problem=problem)


def by_clip(
    records: Sequence[Record], modality: str, cache_root: Path, *, num_workers: int, show: bool
) -> tuple[dict[str, Mapping[str, float | None] | None], list[str]]:
    """The cues of each clip by record id, None where it cannot be decoded; and a sentence for each of these. `show`s a
    progress bar. Raises as measure_clips."""
    found: dict[str, Mapping[str, float | None] | None] = {}
    problems = []
    with progress(show) as bar:
        task = bar.add_task(f"measuring {modality}", total=len(records))
        advance = partial(bar.advance, task)
        for record, measurement in measured(records, modality, cache_root, num_workers=num_workers, progress=advance):
            found[record.id] = measurement.cues
            problems += [measurement.problem] if measurement.problem else []
    return found, problems


def quantiles_of(measured: Sequence[Mapping[str, float | None]]) -> dict[str, list[float]]:
    """By cue, the four bounds between five equal shares of the clips in which it was measured; not for cues that are
    counted."""
    bounds = {}
    for cue in measured[0]:
        values = [cues[cue] for cues in measured if cues[cue] is not None]
        if values and not cue_words.is_counted(cue):
            shares = np.arange(1, cue_words.LEVELS) / cue_words.LEVELS
            bounds[cue] = np.quantile(np.array(values, dtype=np.float64), shares).tolist()
    return bounds


def levels_of(cues: Mapping[str, float | None], bounds: Mapping[str, list[float]]) -> dict[str, int | None]:
    """The index of each cue's phrase; None where nothing was measured.

    A value that equals several bounds gets the middle one of their phrases, so a cue that never varies is told as
    medium; so is a cue that no clip of the population has.
    """
    levels: dict[str, int | None] = {}
    for cue, value in cues.items():
        if value is None:
            levels[cue] = None
        elif cue_words.is_counted(cue):
            levels[cue] = cue_words.level_of_count(cue, value)
        elif cue not in bounds:
            levels[cue] = cue_words.LEVELS // 2
        else:
            below, up_to = (int(np.searchsorted(bounds[cue], value, side)) for side in ("left", "right"))
            levels[cue] = (below + up_to) // 2
    return levels


def _by_speaker(name: str, split: str, records: Sequence[Record]) -> dict[Population, list[Record]]:
    clips: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.speaker is not None:
            clips[record.speaker].append(record)
    if not clips:
        raise DataError(
            f"knowledge.cues_reference=speaker: dataset '{name}' names no speaker in split '{split}'; set"
            " knowledge.cues_reference=train"
        )
    return {(name, split, speaker): some for speaker, some in clips.items() if len(some) >= MIN_CLIPS}


def _as_text(record: Record, modality: str) -> tuple[str, bool]:
    """The measurement of a clip as JSON, and whether it may be kept. Numbers have six digits: further ones differ
    between processors."""
    begin = time.thread_time()
    # Clips are measured in parallel already.
    cv2.setNumThreads(1)
    if record.media is None:
        outcome, detail = "missing", "the dataset has no file for it"
        return json.dumps({"cues": None, "outcome": outcome, "detail": detail, "seconds": 0.0}), False
    try:
        clip = ClipSource().clip(record, SAMPLINGS[modality])
    except MediaError as error:
        seconds = time.thread_time() - begin
        failed = {"cues": None, "outcome": error.outcome, "detail": error.detail, "seconds": seconds}
        return json.dumps(failed), error.outcome not in TRANSIENT
    if modality == "audio":
        assert clip.waveform is not None
        cues = acoustic.measure(clip.waveform)
    else:
        assert clip.frames is not None
        cues = visual.measure(clip.frames, clip.seconds)
    rounded = {cue: None if value is None else float(f"{value:.6g}") for cue, value in cues.items()}
    return json.dumps({"cues": rounded, "seconds": round(time.thread_time() - begin, 4)}), True
