"""The source `cues`: measured signals in words, without a model or a download.

Acoustic cues (acoustic.py) and visual ones (visual.py) are measured, and told in one of five phrases each
(cue_words.py), a fifth of a population for each: what is "loud" is so among other clips, since no level means the same
in two recordings. Which population that is, is a setting:

- train: the training split of the clip's dataset, as this run uses it. No other split is looked at.
- speaker: the clips of the same speaker in the same split, so that a high voice is one that is high for this speaker.
  No label is used, but every description of a test clip depends on the speaker's other test clips: not a setting for
  claims about single utterances of unknown people. Speakers of fewer than MIN_CLIPS clips, and clips without a
  speaker, are told relative to the training split, and counted.

Faces, smiles and cuts are told as they are. Datasets are never compared with each other.

Raw measurements are kept by content (affect.data.clip_checks), so that telling a clip anew, in another language or
relative to other clips, decodes nothing."""

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path

import av
import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from affect.config import Config, ConfigError, CuesReference, DataError
from affect.config.logs import LOG
from affect.data import SPLITS, Record, loading
from affect.data.annotations import Annotations
from affect.data.clip_checks import TRANSIENT, measure_clips
from affect.data.clips import ClipSource
from affect.data.file_hashes import content_hashes
from affect.data.media import VERSION as DECODE_VERSION
from affect.data.media import MediaError, Sampling
from affect.data.part import Part
from affect.knowledge.protocol import Description, Failure, request_hash
from affect.knowledge.sources import acoustic, cue_words, visual

VERSION = 2
"""To be raised when the words or the levels change."""

LETTERS = {"audio": "a", "video": "v"}

MAX_SECONDS = 600.0
"""Longer clips are not described: ten minutes of sound are 40 MB, and no utterance lasts as long."""

MIN_CLIPS = 10
"""Of a speaker, to be told relative to them: two clips for each of the five phrases."""

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
"""What measurements are kept under. With the versions of what decodes, transforms and detects: another may find
something else."""

Population = tuple[str, str, str | None]
"""Dataset, split, and speaker; None is everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    cues: Mapping[str, float | None] | None
    """By cue; None where the clip could not be decoded."""
    seconds: float
    """Processor time that decoding and measuring took."""
    problem: str
    """Why there are no cues, with the remedy; empty where there are."""


def load(cfg: Config, parts: Sequence[Part]) -> "Cues":
    """Raises ConfigError for modalities that are not described; DataError where the populations cannot be read."""
    wanted = cfg.knowledge.modalities
    if not set(wanted) & set(LETTERS):
        raise ConfigError(
            f"knowledge.modalities=[{','.join(wanted)}] has nothing that knowledge=cues describes: add audio or video"
        )
    return Cues(cfg, {part.split for part in parts})


class Cues:
    """See Source. Its populations are read from the annotations, not from the parts of a run: those change with the
    clips that a run leaves out, and the words must not."""

    def __init__(self, cfg: Config, splits: set[str]) -> None:
        self.cfg, self.knowledge, self.splits = cfg, cfg.knowledge, splits
        self.modalities = tuple(modality for modality in LETTERS if modality in self.knowledge.modalities)
        self.cache_root = Path(cfg.cache_root).expanduser()
        self.by_speaker = self.knowledge.cues_reference is CuesReference.speaker
        self.known: dict[tuple[str, Population], dict[str, list[float]]] = {}
        self.chosen = {
            modality: chosen or list(cue_words.WORDS[modality]["en"])
            for modality, chosen in (("audio", self.knowledge.cues_audio), ("video", self.knowledge.cues_video))
        }

    @cached_property
    def fingerprint(self) -> str:
        """`cues-<reference>-<hash>`. The hash is over versions, settings and the content of the clips of every
        population, which together decide every quantile; so no clip has to be measured to know it, only hashed."""
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
        decides = [VERSION, NAMES, self.knowledge.cues_reference.value, self.chosen, languages, content]
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        return f"cues-{self.knowledge.cues_reference.value}-{digest[:16]}"

    @property
    def note(self) -> str:
        """A sentence for reports: what the words are relative to."""
        if not self.by_speaker:
            return "cues are told relative to the training split of each dataset"
        return (
            "cues are told relative to the clips of the same speaker in the same split: without labels, but the"
            " description of a test clip depends on the speaker's other test clips"
        )

    @cached_property
    def populations(self) -> dict[Population, list[Record]]:
        """The records that clips are told relative to. The training split of every dataset; and by speaker, those who
        have MIN_CLIPS clips in a split."""
        found: dict[Population, list[Record]] = {}
        read: dict[str, Annotations] = {}
        for name in self.cfg.datasets:
            for split in SPLITS if self.by_speaker else ("train",):
                try:
                    records = loading.records(self.cfg, name, split, read)
                except DataError as error:
                    # A dataset can be without validation or training clips. What is evaluated has to be there.
                    if split in self.splits or not self.by_speaker:
                        raise DataError(
                            f"knowledge.cues_reference={self.knowledge.cues_reference.value} cannot describe the clips"
                            f" of dataset '{name}', since split '{split}' cannot be read: {error}"
                        ) from error
                    continue
                if split == "train":
                    found[name, split, None] = records
                if self.by_speaker:
                    found |= _by_speaker(name, split, records)
        return dict(sorted(found.items(), key=lambda item: tuple(map(str, item[0]))))

    def request(self, record: Record, modality: str) -> str:
        """The language of the words, and the population that they are relative to."""
        return request_hash({"language": record.language, "population": self._population(record)})

    def describe(self, records: Sequence[Record], hashes: Mapping[str, str]) -> Iterator[Description | Failure]:
        """One Description or Failure for every record and modality that its dataset has."""
        for modality in self.modalities:
            mine = [r for r in records if LETTERS[modality] in self.cfg.datasets[r.dataset].modalities]
            if not mine:
                continue
            quantiles = self.quantiles(modality, {self._population(record) for record in mine})
            others = sum(self._population(record)[2] is None for record in mine)
            if self.by_speaker and others:
                LOG.info(
                    f"{others} of {len(mine)} clips are of speakers with fewer than {MIN_CLIPS} in their split, or of"
                    f" none: their {modality} is told relative to the training split instead of to the speaker"
                )
            for record, measured in self._measured(mine, modality):
                if measured.cues is None:
                    yield Failure(id=record.id, modality=modality, reason=measured.problem)
                    continue
                levels = levels_of(measured.cues, quantiles[self._population(record)])
                yield Description(
                    id=record.id,
                    sha256=hashes[record.id],
                    modality=modality,
                    generator=self.fingerprint,
                    text=cue_words.tell(modality, record.language, levels, self.chosen[modality]),
                    tokens=None,
                    seconds=measured.seconds,
                    time=datetime.now(UTC).isoformat(timespec="seconds"),
                    request=self.request(record, modality),
                )

    def quantiles(self, modality: str, wanted: set[Population]) -> dict[Population, dict[str, list[float]]]:
        """The bounds between the phrases of each cue, by population, measured with a progress bar where they are not
        kept yet. Raises DataError where no clip of a population can be measured."""
        for population in sorted(wanted, key=lambda key: tuple(map(str, key))):
            if (modality, population) in self.known:
                continue
            members = self.populations[population]
            with _progress(self.cfg.trainer.progress and population[2] is None) as bar:
                task = bar.add_task(f"measuring {modality} of {population[0]} {population[1]}", total=len(members))
                measured = [m for _, m in self._measured(members, modality, partial(bar.advance, task))]
            usable = [m.cues for m in measured if m.cues is not None]
            where = " ".join(filter(None, population))
            if not usable:
                raise DataError(
                    f"knowledge.cues_reference={self.knowledge.cues_reference.value}: the {modality} of none of the"
                    f" {len(members)} clips of {where} can be measured; the first: {measured[0].problem}"
                )
            if len(usable) < len(members):
                problem = next(m.problem for m in measured if m.cues is None)
                LOG.info(
                    f"{where}: {len(members) - len(usable)} of {len(members)} clips are not in the population that"
                    f" {modality} is told relative to, since they cannot be measured; the first: {problem}"
                )
            self.known[modality, population] = quantiles_of(usable)
        return {population: self.known[modality, population] for population in wanted}

    @property
    def _workers(self) -> int:
        return self.cfg.trainer.check_workers

    def _population(self, record: Record) -> Population:
        own = (record.dataset, record.split, record.speaker)
        if self.by_speaker and record.speaker is not None and own in self.populations:
            return own
        everybody = (record.dataset, "train", None)
        if everybody not in self.populations:
            raise DataError(
                f"{record.source or record.id}: {record.id} cannot be told relative to its speaker"
                f" ({record.speaker or 'none is named'}), who needs {MIN_CLIPS} clips in split '{record.split}', and"
                f" dataset '{record.dataset}' has no training split instead: name the speakers, or take another source"
            )
        return everybody

    def _measured(
        self, records: Sequence[Record], modality: str, progress: Callable[[int], None] | None = None
    ) -> Iterator[tuple[Record, Measurement]]:
        measure = partial(_as_text, modality=modality)
        rows = measure_clips(
            records, NAMES[modality], measure, self.cache_root, num_workers=self._workers, progress=progress
        )
        for record, _, text in rows:
            kept = json.loads(text)
            problem = ""
            if kept["cues"] is None:
                problem = str(MediaError(kept["outcome"], record.media or record.source or record.id, kept["detail"]))
            yield record, Measurement(cues=kept["cues"], seconds=kept["seconds"], problem=problem)


def quantiles_of(measured: Sequence[Mapping[str, float | None]]) -> dict[str, list[float]]:
    """The four bounds between five equal shares of the clips, by cue that is told relatively; clips where there was
    nothing to measure are not counted."""
    bounds = {}
    for cue in measured[0]:
        values = [cues[cue] for cues in measured if cues[cue] is not None]
        if values and not cue_words.told_as_counted(cue):
            shares = np.arange(1, cue_words.LEVELS) / cue_words.LEVELS
            bounds[cue] = np.quantile(np.array(values, dtype=np.float64), shares).tolist()
    return bounds


def levels_of(cues: Mapping[str, float | None], bounds: Mapping[str, list[float]]) -> dict[str, int | None]:
    """The phrase of each cue, None where nothing was measured. A value that several bounds equal lies in the middle of
    them, so that a cue which never varies is told as middling; so is one that no clip of the population has."""
    levels: dict[str, int | None] = {}
    for cue, value in cues.items():
        if value is None:
            levels[cue] = None
        elif cue_words.told_as_counted(cue):
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
    return {(name, split, speaker): mine for speaker, mine in clips.items() if len(mine) >= MIN_CLIPS}


def _as_text(record: Record, modality: str) -> tuple[str, bool]:
    """What measure_clips keeps of a clip. Numbers have six digits: more are not measured, and on another processor the
    last ones differ."""
    begin = time.thread_time()
    # Clips are measured in parallel already; OpenCV's own threads would only get into each other's way.
    cv2.setNumThreads(1)
    if record.media is None:
        outcome, detail = "missing", "the dataset has no file for it"
        return json.dumps({"cues": None, "outcome": outcome, "detail": detail, "seconds": 0.0}), False
    try:
        clip = ClipSource().clip(record, SAMPLINGS[modality])
    except MediaError as error:
        kept = {"cues": None, "outcome": error.outcome, "detail": error.detail, "seconds": time.thread_time() - begin}
        return json.dumps(kept), error.outcome not in TRANSIENT
    if modality == "audio":
        assert clip.waveform is not None
        cues = acoustic.measure(clip.waveform)
    else:
        assert clip.frames is not None
        cues = visual.measure(clip.frames, clip.seconds)
    rounded = {cue: None if value is None else float(f"{value:.6g}") for cue, value in cues.items()}
    return json.dumps({"cues": rounded, "seconds": round(time.thread_time() - begin, 4)}), True


def _progress(enabled: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not (enabled and console.is_terminal))
