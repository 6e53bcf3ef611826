"""What a store has of the descriptions that are asked for."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pyarrow import dataset

from affect.knowledge.protocol import Description
from affect.knowledge.store import precedence, rows

Requests = Mapping[tuple[str, str], str]
"""Describer.request by record id and modality; a missing one is the empty text."""


@dataclass(slots=True)
class Found:
    """What a store has of the descriptions that were asked for. Keys are record id and modality."""

    descriptions: dict[tuple[str, str], Description] = field(default_factory=dict)
    changed: set[tuple[str, str]] = field(default_factory=set)
    """Described only for another content of the clip's file, or another start or end."""
    other_request: set[tuple[str, str]] = field(default_factory=set)
    """Described for the same clip, but the generator was shown something else."""
    no_request: set[tuple[str, str]] = field(default_factory=set)
    """Described for the same clip by an older version, which did not record what the generator was shown."""

    def passed_over(self, gaps: Mapping[str, Collection[str]]) -> list[str]:
        """A sentence for each reason why stored descriptions are not used. gaps: the missing modalities by record
        id."""
        reasons = (
            (self.changed, "another content of the clip's file: it has changed since"),
            (
                self.other_request,
                "another request: the transcript, the language, the instruction or the decoding of the clip has changed"
                " since",
            ),
            (
                self.no_request,
                "a request that was not recorded: an older version stored them without what the generator was shown",
            ),
        )
        sentences = []
        for keys, reason in reasons:
            count = sum((record_id, name) in keys for record_id, missing in gaps.items() for name in missing)
            if count:
                sentences.append(f"{count:,} of them are stored for {reason}")
        return sentences


def look_up(
    folder: Path,
    generator: str,
    hashes: Mapping[str, str],
    modalities: Collection[str],
    requests: Requests | None = None,
) -> Found:
    """The descriptions of clips by one generator.

    hashes: content hash of each clip by record id. requests: what the generator would be shown. Raises DataError as
    `read` does.
    """
    found, requests = Found(), requests or {}
    if not hashes or not modalities:
        return found
    wanted = dataset.field("generator") == generator
    wanted &= dataset.field("modality").isin(list(modalities)) & dataset.field("id").isin(list(hashes))
    for row in rows(folder, wanted):
        key = row.id, row.modality
        if row.sha256 != hashes[row.id]:
            found.changed.add(key)
        elif row.request == requests.get(key, ""):
            other = found.descriptions.setdefault(key, row)
            if other is not row and precedence(row) < precedence(other):
                found.descriptions[key] = row
        else:
            (found.other_request if row.request else found.no_request).add(key)
    found.other_request -= found.descriptions.keys()
    found.no_request -= found.descriptions.keys() | found.other_request
    found.changed -= found.descriptions.keys() | found.other_request | found.no_request
    return found


def by_content(
    folder: Path, generator: str, modality: str, hashes: Collection[str]
) -> dict[tuple[str, str], Description]:
    """What a generator has said of clips with these content hashes, by content hash and request, whatever the records
    were called. Raises DataError as `read` does."""
    wanted = dataset.field("generator") == generator
    wanted &= (dataset.field("modality") == modality) & dataset.field("sha256").isin(list(hashes))
    found: dict[tuple[str, str], Description] = {}
    for row in rows(folder, wanted):
        key = row.sha256, row.request
        found[key] = min(found.get(key, row), row, key=precedence)
    return found
