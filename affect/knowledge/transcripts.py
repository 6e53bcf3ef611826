"""Transcripts by a speech recogniser, for clips whose dataset has none or whose own are not to be used.

Like descriptions they are made once, kept in the store (store.py) and put into the records of a run before anything
reads them. A transcript belongs to the content of a clip, the recogniser and the language; ids play no part, so a table
that gets further rows asks for the new clips alone. What is missing is made when a run begins; `affect transcribe`
makes it ahead.
"""

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from affect.baselines.reads import reads_feature_files
from affect.config import Config, DataError, Source, Transcribe
from affect.config.logs import LOG, is_first
from affect.data import Record, leakage
from affect.data.clip_checks import check_clips, exclude_failed
from affect.data.clips import ClipSource
from affect.data.file_hashes import content_hashes
from affect.data.files import write_json
from affect.data.media import OUTCOMES, MediaError, Sampling
from affect.data.part import Part
from affect.data.trained_on import trained_models
from affect.knowledge import store, store_lookup
from affect.knowledge.fill import Filled, Progress, clip_hashes, describe, finish, note_generator
from affect.knowledge.protocol import TRANSCRIPT, Description, Failure, request_hash
from affect.models import checkpoint_files, precision

VERSION = 1
"""Raise it when a change of this module, of affect.models.recogniser or of decoding changes the texts. Stored
transcripts are then those of another recogniser."""

SETTINGS = (*checkpoint_files.SETTINGS, "generation_config.json")
"""Files besides the weights that change a transcript. Whisper's generation_config.json names its tokens."""

FILE = "transcripts.json"
"""In a run folder: who made the transcripts, and what of."""

REMEDIES = {
    "no_audio": "give the clip its sound, or write its transcript into the table",
    "too_long": "raise transcription.max_seconds or cut the clip",
}
"""What to do about a clip that cannot be transcribed, where a model's remedy would be another."""

MAX_IDS = 3
"""Ids that a message lists."""


class Whisper:
    """A speech recogniser as a source of texts (affect.knowledge.Describer); loaded when it is first asked."""

    modalities = (TRANSCRIPT,)

    def __init__(self, cfg: Config) -> None:
        """Raises ConfigError where the checkpoint is not available, DataError where a file of it cannot be read."""
        from affect.models.recogniser import DECODING

        self.config, self.cache_root = cfg.transcription, Path(cfg.cache_root).expanduser()
        self.device = precision.device(cfg.trainer)
        files = checkpoint_files.files(
            "transcription.model", self.config.model, self.config.revision, self.cache_root, SETTINGS
        )
        self.folder = next(iter(files.values())).parent
        hashes = content_hashes(map(str, files.values()), self.cache_root, num_workers=2)
        self.settings: dict[str, Any] = {
            "version": VERSION,
            "decoding": DECODING,
            "files": {name: hashes[str(path)] for name, path in files.items()},
        }
        """The fingerprint is the hash of these."""
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()
        # Of a folder its last part, so that the same weights have one name wherever they lie.
        self.fingerprint = f"{Path(self.config.model).name}-{digest[:16]}"

    def language(self, record: Record) -> str:
        """What is spoken in the record's clip, as far as the configuration tells."""
        return record.language if self.config.language is None else self.config.language

    def request(self, record: Record, modality: str = TRANSCRIPT) -> str:
        """See affect.knowledge.Describer."""
        return request_hash({"language": self.language(record)})

    def describe(self, records: Sequence[Record], hashes: Mapping[str, str]) -> Iterator[Description | Failure]:
        """See affect.knowledge.Describer. Clips are decoded as they are needed: a batch is in memory at a time."""
        from affect.models.recogniser import Recogniser

        recogniser = Recogniser(self.config.model, str(self.folder), self.device)
        by_language = defaultdict(list)
        for record in records:
            by_language[self.language(record)].append(record)
        for language, spoken in by_language.items():
            named = "datasets.X.language" if self.config.language is None else "transcription.language"
            recogniser.check(language, named.replace("X", spoken[0].dataset))
        for language, spoken in by_language.items():
            for at in range(0, len(spoken), self.config.batch_size):
                begin = time.perf_counter()
                heard = []
                for record in spoken[at : at + self.config.batch_size]:
                    try:
                        heard.append((record, ClipSource().clip(record, sampling(self.config.max_seconds)).waveform))
                    except MediaError as error:
                        yield Failure(id=record.id, modality=TRANSCRIPT, reason=str(error))
                transcripts = recogniser.transcribe([waveform for _, waveform in heard], language)
                seconds = (time.perf_counter() - begin) / max(1, len(heard))
                for (record, _), transcript in zip(heard, transcripts, strict=True):
                    yield Description(
                        id=record.id,
                        sha256=hashes[record.id],
                        modality=TRANSCRIPT,
                        generator=self.fingerprint,
                        text=transcript.text,
                        tokens=transcript.tokens,
                        seconds=seconds,
                        time=datetime.now(UTC).isoformat(timespec="microseconds"),
                        request=self.request(record),
                    )


def sampling(max_seconds: float) -> Sampling:
    """The sound of a clip of at most `max_seconds`."""
    return Sampling(audio=True, video=False, num_frames=1, frame_size=1, max_seconds=max_seconds)


def made_for(record: Record, cfg: Config) -> bool:
    """Whether the recogniser makes the transcript of a record, as the configuration of its dataset says."""
    transcribe = cfg.datasets[record.dataset].transcribe
    return transcribe is Transcribe.all or (transcribe is Transcribe.missing and not record.text.strip())


def read_by(cfg: Config) -> bool:
    """Whether the method of a run reads transcripts."""
    return ("t" in cfg.modalities and not reads_feature_files(cfg)) or shown_to_generators(cfg)


def shown_to_generators(cfg: Config) -> bool:
    """Whether the generator of descriptions is shown transcripts."""
    sources = {cfg.knowledge.source, *cfg.knowledge.also}
    return cfg.knowledge.show_transcript and bool(sources & {Source.mllm, Source.server})


@dataclass(slots=True, kw_only=True)
class Transcripts:
    """The transcripts that a recogniser has given to the records of a run."""

    generator: str = ""
    """Fingerprint of the recogniser."""
    settings: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Description] = field(default_factory=dict)
    """By record id."""
    parts: list[dict[str, Any]] = field(default_factory=list)
    """Counts of each part that has transcripts of the recogniser."""

    def of_datasets(self) -> dict[str, str]:
        """The recogniser by the name of each dataset with transcripts of it."""
        return {part["dataset"]: self.generator for part in self.parts}

    def write(self, folder: Path) -> None:
        """Writes FILE into a run folder; nothing where no transcript is of the recogniser."""
        if self.rows and is_first():
            content = {"generator": self.generator, **self.settings, "parts": self.parts}
            write_json(folder / FILE, content)


def attach(parts: Sequence[Part], cfg: Config) -> Transcripts:
    """Replaces the records of `parts` whose transcript is to be recognised by copies that have it, and makes what the
    store lacks.

    Clips without a sound, or longer than transcription.max_seconds, are moved to their part's exclusions. Where the
    recogniser hears no speech, the transcript is empty. Raises ConfigError where the recogniser cannot be had, and
    DataError where a transcript cannot be made.
    """
    wanted = [record for part in parts for record in part.records if made_for(record, cfg)]
    if not wanted or not read_by(cfg):
        return Transcripts()
    _check_sound(wanted, cfg)
    for part in parts:
        check(part, cfg)
    wanted = [record for part in parts for record in part.records if made_for(record, cfg)]
    recogniser = Whisper(cfg)
    filled, rows = transcribe(wanted, cfg, recogniser)
    if filled.failures:
        first = filled.failures[0]
        raise DataError(
            f"{len(filled.failures):,} clips could not be transcribed by {filled.generator}; the first, {first.id}:"
            f" {first.reason}\nAll are listed in {filled.listed}; finished transcripts are kept"
        )
    transcripts = Transcripts(
        generator=recogniser.fingerprint,
        settings={"transcription": _plain(cfg), **recogniser.settings},
        rows=rows,
    )
    for part in parts:
        part.records = [replace(r, text=rows[r.id].text) if r.id in rows else r for r in part.records]
        if made := [record for record in part.records if record.id in rows]:
            transcripts.parts.append(summary(part, made, recogniser))
    _say(transcripts, filled, cfg)
    leakage.note_same_texts(cfg, parts, trained_models(cfg))
    return transcripts


def _check_sound(wanted: Sequence[Record], cfg: Config) -> None:
    for name, dataset in cfg.datasets.items():
        silent = [record for record in wanted if record.dataset == name]
        if silent and "a" not in dataset.modalities:
            raise DataError(
                f"{len(silent):,} clips of dataset '{name}' have no transcript, for example {silent[0].id}, and"
                f" datasets.{name}.transcribe={dataset.transcribe.value} asks for one, but"
                f" datasets.{name}.modalities={dataset.modalities} has no sound to make it from: add a there, write"
                f" their transcripts into the table, or set datasets.{name}.transcribe=none"
            )


def check(part: Part, cfg: Config) -> None:
    """Moves the records whose sound cannot be transcribed to the exclusions of `part`, whether or not a transcript of
    it is in the store."""
    records = [record for record in part.records if made_for(record, cfg)]
    checks = check_clips(
        records,
        sampling(cfg.transcription.max_seconds),
        Path(cfg.cache_root).expanduser(),
        num_workers=cfg.trainer.check_workers,
    )
    remedied = {
        key: replace(check, detail=check.detail.replace(OUTCOMES[check.outcome], REMEDIES[check.outcome]))
        if check.outcome in REMEDIES
        else check
        for key, check in checks.items()
    }
    exclude_failed(part, remedied, "transcribed")


def transcribe(
    records: Sequence[Record],
    cfg: Config,
    recogniser: Whisper,
    *,
    begin: Callable[[int, int], None] | None = None,
    progress: Progress | None = None,
) -> tuple[Filled, dict[str, Description]]:
    """The transcripts of records by id: out of the store, and what it lacks by the recogniser. Each is kept as soon as
    it is made. Of records with one clip one is asked for.

    begin: called before the first is made with the numbers of known and of missing ones. Raises DataError where the
    store cannot be read or written, and what the recogniser raises.
    """
    folder, hashes = store.folder_of(cfg), clip_hashes(records, cfg)
    keys = {record.id: (hashes[record.id], recogniser.request(record)) for record in records}
    filled = Filled(generator=recogniser.fingerprint)
    found = store_lookup.by_content(folder, recogniser.fingerprint, TRANSCRIPT, set(hashes.values()))
    missing = {keys[record.id]: record for record in reversed(records) if keys[record.id] not in found}
    filled.known = sum(key in found for key in keys.values())
    if begin is not None:
        begin(filled.known, len(missing))
    if missing:
        if is_first():
            LOG.info(f"{len(missing):,} clips are transcribed by {recogniser.fingerprint}, kept in {folder}")
        started = time.monotonic()
        with store.Writer(folder) as writer:
            note_generator(folder, recogniser.fingerprint, TRANSCRIPT, {"settings": recogniser.settings})
            asked = list(reversed(missing.values()))
            describe(recogniser, asked, hashes, writer, filled, progress or (lambda made, failed: None))
        finish(filled, writer, started)
        found = store_lookup.by_content(folder, recogniser.fingerprint, TRANSCRIPT, set(hashes.values()))
    return filled, {record_id: found[key] for record_id, key in keys.items() if key in found}


def summary(part: Part, made: Sequence[Record], recogniser: Whisper) -> dict[str, Any]:
    """What there is to know of the transcripts of a part: languages, counts, and a hash over ids and texts."""
    from affect.models.recogniser import repeats

    digest = hashlib.sha256("\0".join(f"{r.id}\0{r.text}" for r in sorted(made, key=lambda r: r.id)).encode())
    return {
        "dataset": part.dataset,
        "split": part.split,
        "languages": sorted({recogniser.language(record) for record in made}),
        "clips": len(made),
        "own": len(part.records) - len(made),
        "empty": sorted(record.id for record in made if not record.text),
        "repeating": sorted(record.id for record in made if repeats(record.text)),
        "texts_sha256": digest.hexdigest(),
    }


def in_words(counts: Mapping[str, Any]) -> str:
    """`summary` in a sentence's end: what is to be looked at."""
    clauses = []
    for key, words in (("empty", "in which no speech is heard"), ("repeating", "whose transcript repeats itself")):
        if ids := counts[key]:
            more = ", …" if len(ids) > MAX_IDS else ""
            clauses.append(f"{len(ids):,} {words} ({', '.join(ids[:MAX_IDS])}{more})")
    return f", among them {' and '.join(clauses)}" if clauses else ""


def _say(transcripts: Transcripts, filled: Filled, cfg: Config) -> None:
    for part in transcripts.parts:
        LOG.info(
            f"{part['dataset']} {part['split']}: {part['clips']:,} clips have a transcript by {transcripts.generator}"
            f" (datasets.{part['dataset']}.transcribe={cfg.datasets[part['dataset']].transcribe.value}),"
            f" {part['own']:,} one of their own{in_words(part)}"
        )
    if filled.made:
        LOG.info(f"{filled.made:,} of them made in {filled.seconds:.0f} s, {filled.made / filled.seconds:.2f} a second")


def _plain(cfg: Config) -> dict[str, Any]:
    config = cfg.transcription
    return {"model": config.model, "revision": config.revision, "language": config.language}
