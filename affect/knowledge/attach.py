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
from affect.config.roles import NOT_DESCRIBING
from affect.data.clip_checks import check_clips, exclude_failed
from affect.data.media import Sampling
from affect.data.part import Part
from affect.data.problems import Excluded
from affect.knowledge import store, store_lookup
from affect.knowledge.controls import control
from affect.knowledge.fill import Filled, clip_hashes, fill, lacking, loaded, requests, sources_of
from affect.knowledge.protocol import Describer, Description
from affect.prompting.messages import descriptions_shown

MAX_IDS = 3
"""Ids that a message lists."""


@dataclass(slots=True, kw_only=True)
class Attached:
    """The descriptions that were added to the records of a run."""

    generators: list[str] = field(default_factory=list)
    """Fingerprints, in the order of their texts."""
    modalities: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """Generation time by record id."""
    tokens: dict[str, int] = field(default_factory=dict)
    """Generated tokens by record id, of generators that count them."""
    texts_sha256: str = ""
    """Over ids, modalities and texts of all records, before any control."""
    controlled: dict[str, int] = field(default_factory=dict)
    """The result of controls.control."""

    def summary(self) -> dict[str, Any]:
        """For knowledge.json of the run folder."""
        return {
            "generators": self.generators,
            "modalities": self.modalities,
            "clips": len(self.seconds),
            "texts_sha256": self.texts_sha256,
            "controlled": self.controlled,
        }


def attach(parts: Sequence[Part], cfg: Config) -> Attached:
    """Replaces the records of `parts` by copies with the descriptions that prompts show, and applies knowledge.control.

    Records whose clip cannot be described are moved to their part's exclusions. Raises ConfigError where no source
    describes what prompts show; DataError with the number of missing descriptions and the command that makes them; and
    what the store and the sources raise.
    """
    shown = descriptions_shown(cfg.prompting, cfg.modalities)
    if not shown:
        return Attached()
    attached = Attached(modalities=shown)
    records = [record for part in parts for record in part.records]
    hashes = clip_hashes(records, cfg)
    texts: dict[str, dict[str, list[str]]] = {record.id: {name: [] for name in shown} for record in records}
    for source in sources_of(cfg):
        describer = loaded(cfg, source, parts)
        names = [name for name in shown if name in describer.modalities]
        if not names:
            continue
        attached.generators.append(describer.fingerprint)
        for (record_id, name), row in _descriptions(parts, cfg, source, describer, names, hashes).items():
            texts[record_id][name].append(row.text)
            attached.seconds[record_id] = attached.seconds.get(record_id, 0.0) + row.seconds
            if row.tokens is not None:
                attached.tokens[record_id] = attached.tokens.get(record_id, 0) + row.tokens
    kept = {record.id for part in parts for record in part.records}
    undescribed = [name for name in shown if not any(texts[record_id][name] for record_id in kept)]
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
        for record_id in sorted(knowledge):
            named = (f"{name}\0{knowledge[record_id][name]}" for name in shown)
            digest.update("\0".join([record_id, *named, ""]).encode())
    attached.texts_sha256 = digest.hexdigest()
    attached.seconds = {record_id: value for record_id, value in attached.seconds.items() if record_id in kept}
    attached.tokens = {record_id: value for record_id, value in attached.tokens.items() if record_id in kept}
    attached.controlled = control(parts, cfg)
    LOG.info(f"{len(kept):,} clips have descriptions of {' and '.join(shown)} by {', '.join(attached.generators)}")
    return attached


def _descriptions(
    parts: Sequence[Part],
    cfg: Config,
    source: Source,
    describer: Describer,
    names: Sequence[str],
    hashes: Mapping[str, str],
) -> Mapping[tuple[str, str], Description]:
    """The descriptions of all records of `parts` by one source. Excludes records that cannot be described."""
    folder, generator = store.folder_of(cfg), describer.fingerprint
    modalities = dict.fromkeys((part.dataset for part in parts), names)

    def look() -> tuple[store_lookup.Found, dict[str, list[str]]]:
        records = [record for part in parts for record in part.records]
        clips = {record.id: hashes[record.id] for record in records}
        found = store_lookup.look_up(folder, generator, clips, names, requests(describer, records, modalities))
        return found, lacking(records, modalities, found)

    found, gaps = look()
    if gaps:
        _exclude_unusable(parts, cfg, source, names, gaps)
        kept = {record.id for part in parts for record in part.records}
        gaps = {record_id: missing for record_id, missing in gaps.items() if record_id in kept}
    filled = None
    if gaps and cfg.knowledge.make:
        records = [record for part in parts for record in part.records if record.id in gaps]
        filled = fill(cfg, parts, source, records, modalities, hashes)
        LOG.info(f"{filled.made:,} descriptions made by {generator} in {filled.seconds:.0f} s, kept in {folder}")
        found, gaps = look()
    if not gaps:
        return found.descriptions
    emptied = any(all(record.id in gaps for record in part.records) for part in parts)
    if emptied or cfg.knowledge.missing is not Missing.exclude:
        raise DataError(_missing(parts, cfg, source, generator, names, gaps, found, filled))
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
        f"{len(gaps):,} clips have no description by {generator} and are left out; a run lists them in exclusions.csv"
    )
    return found.descriptions


def _exclude_unusable(
    parts: Sequence[Part], cfg: Config, source: Source, names: Sequence[str], gaps: Mapping[str, list[str]]
) -> None:
    """Excludes records that lack a description and whose clip cannot be described. Descriptions from a file need no
    clip."""
    if source is Source.file:
        return
    letters = {letter for name in names for letter in DESCRIPTIONS[name]}
    sampling = Sampling.of_model(cfg.model, letters)
    for part in parts:
        records = [record for record in part.records if record.id in gaps]
        cache_root = Path(cfg.cache_root).expanduser()
        checks = check_clips(records, sampling, cache_root, num_workers=cfg.trainer.check_workers)
        exclude_failed(part, checks, "described")


def _missing(
    parts: Sequence[Part],
    cfg: Config,
    source: Source,
    generator: str,
    names: Sequence[str],
    gaps: Mapping[str, list[str]],
    found: store_lookup.Found,
    filled: Filled | None,
) -> str:
    """Which descriptions are missing, and the remedies."""
    folder = store.folder_of(cfg)
    total = sum(map(len, gaps.values()))
    lines = [f"the store {folder} lacks {total:,} descriptions by {generator} that the prompts of this run show:"]
    for part in parts:
        ids = [record.id for record in part.records if record.id in gaps]
        if ids:
            counts = ", ".join(f"{count:,} {name}" for name in names if (count := sum(name in gaps[i] for i in ids)))
            more = ", …" if len(ids) > MAX_IDS else ""
            listed = ", ".join(ids[:MAX_IDS])
            lines.append(f"  {part.dataset} {part.split}: {counts}, of {len(ids):,} clips: {listed}{more}")
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
        splits = list(dict.fromkeys(part.split for part in parts))
        lines.append(f"make them with: {command(sys.argv[1:], cfg, splits)}")
        lines.append("or in this run, with knowledge.make=true")
    lines.append("or leave these clips out, with knowledge.missing=exclude")
    return "\n".join(lines)


def command(words: Sequence[str], cfg: Config, splits: Sequence[str]) -> str:
    """The `affect knowledge` command that makes the descriptions of `splits` for the run with these command-line
    words."""
    kept = []
    for word in words:
        key = re.split(r"[@=]", word.lstrip("+~"), maxsplit=1)[0]
        if word in ("-m", "--multirun"):
            kept.append(word)
        elif key == "resume":
            kept.append(f"run={cfg.resume}")
        elif "=" in word and not any(
            key == other or key.startswith(f"{other}.") for other in (*NOT_DESCRIBING, "hydra")
        ):
            kept.append(word)
    # A run brings its own splits, and refuses others beside it.
    if set(splits) != set(cfg.knowledge.splits) and not any(word.startswith("run=") for word in kept):
        kept.append(f"knowledge.splits=[{','.join(splits)}]")
    return shlex.join(["affect", "knowledge", *kept])
