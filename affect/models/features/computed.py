"""Fills the cache of features: what a run needs and nobody has computed yet is computed once, before training."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from affect.config import FeaturesConfig
from affect.config.logs import LOG, is_first
from affect.data import Record
from affect.data.clip_cache import DECODING, of_picture
from affect.data.clips import ClipSource
from affect.data.features import store
from affect.data.features.store import CachedFeatures
from affect.data.media import SAMPLING_RATE, Clip, MediaError, Sampling
from affect.data.part import Part
from affect.data.progress import progress
from affect.data.workers import ahead
from affect.models.features.audio import Acoustic, Egemaps, SpeechStates
from affect.models.features.protocol import Extractor
from affect.models.features.text import TokenStates
from affect.models.features.video import Faces, FaceStates

TEXTS, CLIPS = 256, 8
"""Transcripts, and clips of similar length, that an extractor is given at a time."""

Sequences = dict[str, torch.Tensor]
"""Features of a record, float32[steps, width], by modality."""


@dataclass(frozen=True, slots=True)
class ComputedFeatures:
    """A FeatureSource of features that were computed here. It can be handed to other processes."""

    cached: CachedFeatures
    failed: Mapping[str, MediaError] = field(default_factory=dict)
    """By key of the cache, or id of a record without one, why a clip has no features."""
    loose: Mapping[str, Sequences] = field(default_factory=dict)
    """Features by id of records whose file is not as it was when the run looked at it first, which the cache cannot
    have: those of the file as it is now."""

    @property
    def widths(self) -> Mapping[str, int]:
        return self.cached.widths

    def of(self, record: Record) -> Sequences:
        """See `affect.data.features.FeatureSource`. Raises MediaError where the clip was usable when it was checked and
        could not be decoded any more when its features were computed."""
        if record.id in self.failed:
            raise self.failed[record.id]
        if record.id in self.loose:
            return dict(self.loose[record.id])
        for key in self.cached.keys.get(record.id, {}).values():
            if key in self.failed:
                raise self.failed[key]
        return self.cached.of(record)

    def identity(self) -> dict[str, Any]:
        return self.cached.identity()


def extractor(
    modality: str, config: FeaturesConfig, sampling: Sampling, cache_root: Path, device: torch.device
) -> Extractor:
    """The extractor of a modality that the group `features` names. Raises ConfigError where it cannot be had."""
    steps = config.max_steps
    if modality == "text":
        return TokenStates(config.text, config.text_layer, steps, cache_root, device)
    if modality == "audio":
        own: dict[str, Callable[[int], Extractor]] = {"acoustic": Acoustic, "egemaps": Egemaps}
        if config.audio in own:
            return own[config.audio](steps)
        return SpeechStates(config.audio, config.audio_layer, steps, sampling.max_seconds, cache_root, device)
    assert modality == "video", modality
    if config.video == "faces":
        return Faces(steps)
    return FaceStates(config.video, config.video_layer, steps, cache_root, device)


def prepare(
    parts: Sequence[Part],
    modalities: Sequence[str],
    config: FeaturesConfig,
    source: ClipSource,
    sampling: Sampling,
    cache_root: Path,
    device: torch.device,
    *,
    num_threads: int = 1,
    bar: bool = False,
) -> ComputedFeatures:
    """The features of all records of `parts` in these modalities (text, audio, video), after computing those that are
    not in the cache under `cache_root`.

    sampling: which frames are taken of a clip, and how large they are. num_threads: threads that decode clips, and that
    compute what no neural network computes. bar: whether a progress bar is shown.

    A clip that cannot be decoded any more is logged, and `of` raises its MediaError. Raises ConfigError where an
    extractor cannot be had, DataError where the features cannot be kept.
    """
    extractors = {name: extractor(name, config, sampling, cache_root, device) for name in modalities}
    identities = {name: {**each.identity, **_taken(name, sampling)} for name, each in extractors.items()}
    records = list({record.id: record for part in parts for record in part.records}.values())
    of_clips = bool({"audio", "video"} & extractors.keys())
    changed = [record for record in records if of_clips and source.key(record) is None]
    ids = {record.id for record in changed}
    known = [record for record in records if record.id not in ids]
    files = store.open_files(cache_root, config.cache_gb, LOG.warning)
    widths = {name: each.width for name, each in extractors.items()}
    cached = CachedFeatures(files, store.keys(known, source, identities), widths, identities)
    fill = _Fill(cached, extractors, source, sampling, num_threads, bar)
    fill.run(known)
    loose = {record.id: features for record in changed if (features := fill.loose(record)) is not None}
    return ComputedFeatures(cached, fill.failed, loose)


def _taken(modality: str, sampling: Sampling) -> dict[str, Any]:
    """What of a clip is given to an extractor, for its identity."""
    if modality == "text":
        return {}
    return {"decoding": [*DECODING, *([SAMPLING_RATE] if modality == "audio" else of_picture(sampling))]}


class _Fill:
    """Computes features. `failed` has those that could not be, see ComputedFeatures."""

    def __init__(
        self,
        cached: CachedFeatures,
        extractors: Mapping[str, Extractor],
        source: ClipSource,
        sampling: Sampling,
        num_threads: int,
        bar: bool,
    ) -> None:
        self.cached, self.extractors, self.source, self.sampling = cached, extractors, source, sampling
        self.num_threads, self.bar = num_threads, bar
        self.failed: dict[str, MediaError] = {}

    def run(self, records: Sequence[Record]) -> None:
        """Computes what is missing for `records`."""
        missing = self.cached.missing(records)
        texts, clips = missing.pop("text", []), _modalities_of(missing)
        if not texts and not clips:
            return
        if is_first():
            counts = Counter(name for _, names in clips for name in names) + Counter({"text": len(texts)})
            amounts = ", ".join(f"{name} of {counts[name]:,}" for name in self.extractors if counts[name])
            LOG.info(
                f"features: computing {amounts} of {len(records):,} records once, kept in {self.cached.files.folder}"
            )
        with progress(self.bar and is_first()) as bar:
            if texts:
                task = bar.add_task("features of transcripts", total=len(texts))
                for group in _shuffled(texts, TEXTS, lambda record: len(record.text)):
                    self._keep("text", self._absent(group, "text"))
                    bar.update(task, advance=len(group))
            if clips:
                task = bar.add_task("features of clips", total=len(clips))
                groups = _shuffled(clips, CLIPS, lambda item: self.source.seconds.get(item[0].id, 0.0))
                for group, computed in ahead(self._decoded, groups, self.num_threads):
                    self._finish(computed)
                    bar.update(task, advance=len(group))
        self._report()

    def loose(self, record: Record) -> Sequences | None:
        """The features of a record that has no key; None where its clip cannot be decoded."""
        try:
            clip = self._clip(record, [name for name in self.extractors if name != "text"])
        except MediaError as error:
            self._fail([record.id], record, error)
            return None
        return {name: each.of([record.text if name == "text" else clip])[0] for name, each in self.extractors.items()}

    def _absent(self, records: Sequence[Record], modality: str) -> list[Record]:
        """Those that no other process has computed in the meantime."""
        return self.cached.missing(records).get(modality, [])

    def _keep(self, modality: str, records: Sequence[Record], given: Sequence[Any] | None = None) -> None:
        """Computes and keeps features of transcripts, or of the clips that are `given`."""
        if records:
            inputs = [record.text for record in records] if given is None else given
            for record, features in zip(records, self.extractors[modality].of(inputs), strict=True):
                self.cached.put(record, modality, features)

    def _clip(self, record: Record, modalities: Sequence[str]) -> Clip:
        wanted = replace(self.sampling, audio="audio" in modalities, video="video" in modalities)
        return self.source.clip(record, wanted)

    def _decoded(self, group: list[tuple[Record, list[str]]]) -> list[tuple[str, Record, Any]]:
        """Modality, record, and the clip, or what a thread may compute of it: the features; in a thread."""
        ready: list[tuple[str, Record, Any]] = []
        for record, _ in group:
            absent = self.cached.missing([record])
            modalities = [name for name in ("audio", "video") if name in absent]
            if not modalities:
                continue
            try:
                clip = self._clip(record, modalities)
            except MediaError as error:
                self._fail([self.cached.keys[record.id][name] for name in modalities], record, error)
                continue
            for name in modalities:
                each = self.extractors[name]
                ready.append((name, record, each.of([clip])[0] if each.threads else clip))
        return ready

    def _finish(self, ready: Sequence[tuple[str, Record, Any]]) -> None:
        """Computes what only one thread may, and keeps all."""
        for name, each in self.extractors.items():
            own = [(record, content) for modality, record, content in ready if modality == name]
            if each.threads:
                for record, features in own:
                    self.cached.put(record, name, features)
            else:
                self._keep(name, [record for record, _ in own], [clip for _, clip in own])

    def _fail(self, keys: Sequence[str], record: Record, error: MediaError) -> None:
        LOG.warning(f"features: {record.id} cannot be decoded any more, and fails in its batch: {error}")
        self.failed |= dict.fromkeys(keys, error)

    def _report(self) -> None:
        """Says how many frames had no face, which their features do not show."""
        count = getattr(self.extractors.get("video"), "count", None)
        if count is not None and count.without and is_first():
            LOG.info(
                f"features.video: no face was found in {count.without:,} of {count.frames:,} frames, and the whole"
                " frame stands for it there"
            )


def _modalities_of(missing: Mapping[str, Sequence[Record]]) -> list[tuple[Record, list[str]]]:
    """Each record with its missing modalities."""
    by_id: dict[str, tuple[Record, list[str]]] = {}
    for modality, records in missing.items():
        for record in records:
            by_id.setdefault(record.id, (record, []))[1].append(modality)
    return list(by_id.values())


def _shuffled(items: Sequence[Any], size: int, length: Callable[[Any], float]) -> list[list[Any]]:
    """Groups of up to `size` items of similar length, in a random order, so that processes that fill the cache together
    seldom compute the same ones. The order changes nothing but rounding."""
    ordered = sorted(items, key=length)
    groups = [ordered[at : at + size] for at in range(0, len(ordered), size)]
    random.Random().shuffle(groups)
    return groups
