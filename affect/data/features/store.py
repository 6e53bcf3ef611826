"""On-disk cache of features that are computed here, by what they are computed from.

A sequence is kept under a key of its input (the content, window and intervention of the clip, or the transcript and its
language) and of the identity of what computed it; as float32, which is what models work on, so that a number that is
read is the one that was computed. float16 would halve the folder (2.3 GB for 10,000 clips of 50 steps, with widths of
576, 512 and 64), but ends at 65,504, and hidden states of language models do not.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affect.config import DataError
from affect.data.clips import ClipSource
from affect.data.record import Record

if TYPE_CHECKING:
    import torch

    from affect.data.tensor_store import TensorFiles

VERSION = 1
"""To be raised when sequences are kept in another way."""

GIGABYTE = 10**9

TENSOR = "steps"
"""Name of the sequence in its file."""


@dataclass(frozen=True, slots=True)
class CachedFeatures:
    """A FeatureSource of what was `put` into it, by this run or any other. It can be handed to other processes.

    It is filled before it is asked: `missing` says for which records, and `of` raises where one was forgotten.
    """

    files: "TensorFiles"
    keys: Mapping[str, Mapping[str, str]]
    """By record id and modality (see `keys`)."""
    widths: Mapping[str, int]
    """By modality."""
    identities: Mapping[str, Mapping[str, Any]]
    """By modality, what tells the extractor from others, as JSON: encoder and its revision, layer, steps …"""

    def of(self, record: Record) -> "dict[str, torch.Tensor]":
        """By modality: float32 [steps, width]. Raises DataError, naming the record, where one is not in the cache."""
        sequences = {}
        for modality in self.widths:
            content = self.files.get(self._key(record, modality))
            if content is None:
                raise DataError(
                    f"the {modality} features of {record.id} are not in {self.files.folder}, so they were not computed,"
                    " or were deleted or damaged while the run went on: start it again, and they are computed"
                )
            sequences[modality] = content[TENSOR]
        return sequences

    def identity(self) -> dict[str, Any]:
        described = {modality: dict(identity) for modality, identity in self.identities.items()}
        return {"source": "computed", "version": VERSION, "extractors": described, "widths": dict(self.widths)}

    def missing(self, records: Iterable[Record]) -> dict[str, list[Record]]:
        """The records whose features have to be computed, by modality. Of those with one key, such as two of the same
        transcript, it is the first."""
        absent: dict[str, list[Record]] = {}
        seen: set[str] = set()
        for record in records:
            for modality in self.widths:
                key = self._key(record, modality)
                if key in seen:
                    continue
                seen.add(key)
                if not self.files.has(key):
                    absent.setdefault(modality, []).append(record)
        return absent

    def put(self, record: Record, modality: str, sequence: "torch.Tensor") -> None:
        """Keeps a sequence [steps, width]; one without steps as one step of zeros.

        Raises DataError where it has NaN or infinite numbers, or there is no room for it.
        """
        width = self.widths[modality]
        assert sequence.ndim == 2 and sequence.shape[1] == width, f"{modality}: {tuple(sequence.shape)}, width {width}"
        exact = sequence.detach().float() if len(sequence) else sequence.new_zeros(1, width).float()
        if wrong := int((~exact.isfinite()).sum()):
            raise DataError(
                f"the {modality} features of {record.id} have {wrong:,} of {exact.numel():,} numbers that are NaN or"
                " infinite: choose another encoder, layer or precision"
            )
        if not self.files.put(self._key(record, modality), {TENSOR: exact}):
            raise DataError(
                f"{self.files.folder} has no room for the features of the run (it may take"
                f" {self.files.limit / GIGABYTE:g} GB, and the first that is not kept is of {record.id}): raise"
                " features.cache_gb, make room on the disk, or name another folder, cache_root=…"
            )

    def _key(self, record: Record, modality: str) -> str:
        assert record.id in self.keys, f"{record.id} has no key: make the source with the keys of all records"
        return self.keys[record.id][modality]


def keys(
    records: Iterable[Record], source: ClipSource, identities: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, str]]:
    """The keys that CachedFeatures needs, by record id and modality (those of `identities`).

    Raises DataError for a record without a clip, or whose file has changed since `source` was made.
    """
    extractors = {modality: _digest(identity) for modality, identity in identities.items()}
    by_id = {}
    for record in records:
        by_modality = {}
        for modality, extractor in extractors.items():
            content = [record.language, _digest(record.text)] if modality == "text" else _clip(record, source, modality)
            by_modality[modality] = json.dumps(["features", VERSION, modality, extractor, *content])
        by_id[record.id] = by_modality
    return by_id


def open_files(cache_root: Path, gigabytes: float, say: Callable[[str], None]) -> "TensorFiles":
    """The files of computed features under `cache_root`."""
    from affect.data.tensor_store import TensorFiles  # which needs torch

    loss = "the features of further clips cannot be kept (features.cache_gb)"
    return TensorFiles(cache_root / "features" / "computed", int(gigabytes * GIGABYTE), say, loss)


def _clip(record: Record, source: ClipSource, modality: str) -> list:
    key = source.key(record)
    if key is None:
        reason = "has no clip" if record.media is None else f"has a clip that changed or cannot be read, {record.media}"
        raise DataError(
            f"{record.id} {reason}, so its {modality} features cannot be computed: leave {modality} out of the"
            " modalities, or start the run again when the file is complete"
        )
    return key


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]
