"""Adds descriptions to the records of a run: looked up in the store once, before any worker starts."""

import hashlib
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from affect.config import DESCRIPTIONS, Config, ConfigError, DataError, Missing, Source
from affect.config.logs import LOG
from affect.data.clip_checks import check_clips, exclude_failed
from affect.data.media import Sampling
from affect.data.part import Part
from affect.data.tables import Excluded
from affect.knowledge import store
from affect.knowledge.controls import control
from affect.knowledge.fill import Filled, clip_hashes, fill, lacking, loaded, requests, sources_of
from affect.knowledge.protocol import Description
from affect.knowledge.protocol import Source as Describer
from affect.prompting.messages import descriptions_shown

FIRST = 3
"""Ids that a message names of what is missing."""


@dataclass(slots=True, kw_only=True)
class Attached:
    """What was put into the records of a run."""

    generators: list[str] = field(default_factory=list)
    """Fingerprints, in the order in which their texts stand."""
    modalities: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """By record id, how long its descriptions took to make."""
    tokens: dict[str, int] = field(default_factory=dict)
    """By record id, tokens that were generated for its descriptions; only of generators that count them."""
    texts_sha256: str = ""
    """Over ids, modalities and texts of all records, before any control."""
    controlled: dict[str, int] = field(default_factory=dict)
    """As controls.control says it."""

    def summary(self) -> dict[str, Any]:
        """What a run folder keeps of it."""
        return {
            "generators": self.generators,
            "modalities": self.modalities,
            "clips": len(self.seconds),
            "texts_sha256": self.texts_sha256,
            "controlled": self.controlled,
        }


def attach(parts: Sequence[Part], cfg: Config) -> Attached:
    """Replaces the records of `parts` by copies with the descriptions that the prompts show, then applies
    knowledge.control. Records whose clip cannot be used for what is described are moved to their part's exclusions.

    Raises ConfigError where no source describes what the prompts show; DataError with the exact number of what the
    store lacks and the command that makes it, and what the store and the sources raise.
    """
    shown = descriptions_shown(cfg.prompting, cfg.modalities)
    if not shown:
        return Attached()
    done = Attached(modalities=shown)
    records = [record for part in parts for record in part.records]
    hashes = clip_hashes(records, cfg)
    texts: dict[str, dict[str, list[str]]] = {record.id: {name: [] for name in shown} for record in records}
    for source in sources_of(cfg):
        describer = loaded(cfg, source, parts)
        names = [name for name in shown if name in describer.modalities]
        if not names:
            continue
        done.generators.append(describer.fingerprint)
        for (key, name), row in _found(parts, cfg, source, describer, names, hashes).items():
            texts[key][name].append(row.text)
            done.seconds[key] = done.seconds.get(key, 0.0) + row.seconds
            if row.tokens is not None:
                done.tokens[key] = done.tokens.get(key, 0) + row.tokens
    used = [record for part in parts for record in part.records]
    undescribed = [name for name in shown if not any(texts[record.id][name] for record in used)]
    if undescribed:
        raise ConfigError(
            f"prompting.descriptions has {', '.join(undescribed)}, which"
            f" knowledge={'+'.join(source.value for source in sources_of(cfg))} does not describe: take it out of"
            " prompting.descriptions, or choose a source and knowledge.modalities that have it"
        )
    digest = hashlib.sha256()
    for part in parts:
        knowledge = {r.id: {name: "\n".join(texts[r.id][name]) for name in shown} for r in part.records}
        part.records = [replace(record, knowledge=knowledge[record.id]) for record in part.records]
        for key in sorted(knowledge):
            digest.update("\0".join([key, *(f"{name}\0{knowledge[key][name]}" for name in shown), ""]).encode())
    done.texts_sha256 = digest.hexdigest()
    kept = {record.id for record in used}
    done.seconds = {key: value for key, value in done.seconds.items() if key in kept}
    done.tokens = {key: value for key, value in done.tokens.items() if key in kept}
    done.controlled = control(parts, cfg)
    LOG.info(f"{len(used):,} clips have descriptions of {' and '.join(shown)} by {', '.join(done.generators)}")
    return done


def _found(
    parts: Sequence[Part],
    cfg: Config,
    source: Source,
    describer: Describer,
    names: Sequence[str],
    hashes: Mapping[str, str],
) -> Mapping[tuple[str, str], Description]:
    """The descriptions of all records of `parts` by one source, those that cannot have one being excluded."""
    folder, generator = store.folder_of(cfg), describer.fingerprint
    modalities = dict.fromkeys((part.dataset for part in parts), names)

    def look() -> tuple[store.Found, dict[str, list[str]]]:
        records = [record for part in parts for record in part.records]
        shown = requests(describer, records, modalities)
        found = store.look_up(folder, generator, {r.id: hashes[r.id] for r in records}, names, shown)
        return found, lacking(records, modalities, found)

    found, gaps = look()
    if gaps:
        _exclude_unusable(parts, cfg, source, names, gaps)
        gaps = {key: gaps[key] for part in parts for key in (r.id for r in part.records) if key in gaps}
    filled = None
    if gaps and cfg.knowledge.make:
        wanting = [record for part in parts for record in part.records if record.id in gaps]
        filled = fill(cfg, parts, source, wanting, modalities, hashes)
        LOG.info(f"{filled.made:,} descriptions made by {generator} in {filled.seconds:.0f} s, kept in {folder}")
        found, gaps = look()
    if gaps and cfg.knowledge.missing is Missing.exclude:
        if any(all(record.id in gaps for record in part.records) for part in parts):
            raise DataError(_report(parts, cfg, source, generator, names, gaps, found, filled))
        for part in parts:
            part.excluded += [
                Excluded(
                    id=record.id,
                    split=part.split,
                    reason="no description",
                    source=f"{', '.join(gaps[record.id])} by {generator}",
                )
                for record in part.records
                if record.id in gaps
            ]
            part.records = [record for record in part.records if record.id not in gaps]
        LOG.info(
            f"{len(gaps):,} clips have no description by {generator} and are left out; a run lists them in"
            " exclusions.csv"
        )
    elif gaps:
        raise DataError(_report(parts, cfg, source, generator, names, gaps, found, filled))
    return found.descriptions


def _exclude_unusable(
    parts: Sequence[Part], cfg: Config, source: Source, names: Sequence[str], gaps: Mapping[str, list[str]]
) -> None:
    """Moves records whose clip cannot be described to the exclusions, so that they are not asked for in vain. Only
    those that lack a description are looked at. Descriptions from a file need no clip."""
    if source is Source.file:
        return
    letters = {letter for name in names for letter in DESCRIPTIONS[name]}
    wanted = Sampling(
        audio="a" in letters,
        video="v" in letters,
        num_frames=cfg.model.num_frames,
        frame_size=cfg.model.frame_size,
        max_seconds=cfg.model.max_seconds,
    )
    for part in parts:
        wanting = [record for record in part.records if record.id in gaps]
        cache_root = Path(cfg.cache_root).expanduser()
        checks = check_clips(wanting, wanted, cache_root, num_workers=cfg.trainer.check_workers)
        exclude_failed(part, checks, "described")


def _report(
    parts: Sequence[Part],
    cfg: Config,
    source: Source,
    generator: str,
    names: Sequence[str],
    gaps: Mapping[str, list[str]],
    found: store.Found,
    filled: Filled | None,
) -> str:
    """What is missing, and what to do."""
    folder = store.folder_of(cfg)
    total = sum(map(len, gaps.values()))
    lines = [f"the store {folder} lacks {total:,} descriptions by {generator} that the prompts of this run show:"]
    for part in parts:
        here = [record.id for record in part.records if record.id in gaps]
        if here:
            counts = ", ".join(f"{count:,} {name}" for name in names if (count := sum(name in gaps[k] for k in here)))
            more = ", …" if len(here) > FIRST else ""
            lines.append(
                f"  {part.dataset} {part.split}: {counts}, of {len(here):,} clips: {', '.join(here[:FIRST])}{more}"
            )
    lines += [f"  {sentence}" for sentence in found.passed_over(gaps)]
    if filled is not None:
        first = filled.failures[0]
        lines.append(
            f"they could not be made; all reasons are in {filled.listed}, the first, of {first.id}, {first.modality}:"
            f" {first.reason}"
        )
    elif source is Source.file:
        lines.append(f"set knowledge.make=true to read them from knowledge.file_path={cfg.knowledge.file_path}")
    else:
        read = list(dict.fromkeys(part.split for part in parts))
        lines.append(f"make them with: {command(sys.argv[1:], cfg, read)}")
        lines.append("or on the way, with knowledge.make=true")
    lines.append("or leave these clips out, with knowledge.missing=exclude")
    return "\n".join(lines)


OF_TRAINING = (
    "dry_run",
    "evaluation",
    "finetuning",
    "hydra",
    "knowledge.control",
    "knowledge.control_split",
    "knowledge.make",
    "knowledge.missing",
    "knowledge.splits",
    "logger",
    "output_root",
    "resume_with_other_code",
    "seed",
    "trainer",
)
"""Keys that have no say in what is described."""


def command(words: Sequence[str], cfg: Config, splits: Sequence[str]) -> str:
    """The command that fills the store for the run that `words` of the command line ask for, and that reads
    `splits`."""
    kept = []
    for word in words:
        key = re.split(r"[@=]", word.lstrip("+~"), maxsplit=1)[0]
        if word in ("-m", "--multirun"):
            kept.append(word)
        elif key == "resume":
            kept.append(f"run={cfg.resume}")
        elif "=" in word and not any(key == of or key.startswith(f"{of}.") for of in OF_TRAINING):
            kept.append(word)
    # What a run brings with it cannot be given beside it.
    if set(splits) != set(cfg.knowledge.splits) and not any(word.startswith("run=") for word in kept):
        kept.append(f"knowledge.splits=[{','.join(splits)}]")
    return shlex.join(["affect", "knowledge", *kept])
