"""The features that MMSA gives out with CMU-MOSI, CMU-MOSEI, CH-SIMS and CH-SIMS v2, joined to records.

    <root>/Processed/aligned_50.pkl    <root>/Processed/unaligned_50.pkl …    (of CH-SIMS unaligned_39.pkl)

mmsa_pickle.py has the layout and its rules. A file is converted once for its content: under `cache_root`,
features/mmsa-<sha256>/ has each clip's own steps, a file a split and modality (packed.py), and an index. It can be
deleted at any time.

The file is mapped into memory and converted in blocks, so this takes some hundred MB whatever its size, unless its
protocol is 2 (see pickles.load_mapped). Afterwards clips are read one by one.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affect.config import DataError, WriteError
from affect.config.logs import LOG
from affect.data.features import mmsa_pickle
from affect.data.features.mmsa_pickle import FIELDS
from affect.data.features.packed import Packed
from affect.data.file_hashes import content_hashes
from affect.data.files import write_json
from affect.data.part import Part
from affect.data.record import Record

if TYPE_CHECKING:
    import torch

VERSION = 1
"""To be raised when the conversion changes: folders of other versions are not used."""

INDEX = "index.json"

JOINTS = ("$_$", "/", "_")
"""What stands between video and clip in an id. A file uses the first that any of its ids has, since video ids have
underscores too."""

SAME_LABEL = 1e-3
"""Labels that differ by less are the same: files have them as float32 or with fewer digits."""

NAMED = 3
"""Ids that a message names."""

UNALIGNED = "Processed/unaligned_50.pkl"
"""What MMSA calls the unaligned file of most datasets."""

OTHERWISE_NAMED = {"sims": ("Processed/unaligned_39.pkl", "unaligned_39.pkl")}
"""By reader, what it calls that file of other datasets."""

ODD = {
    "clips_not_finite": "{clips} of {all} clips have {not_finite} numbers that are -inf, inf or NaN, which count as 0",
    "too_long": "{clips} of {all} clips have a length beyond the steps of the file and are used as far as it goes",
    "empty": "{clips} of {all} clips have no step and are used as one step of zeros",
    "padded_in_front": "{clips} of {all} clips are padded in front, so their last steps are used",
    "beyond": "{clips} of {all} clips have steps beyond their length that are not zero and are left out, as in MMSA",
}
"""What a log line says, by the fields of mmsa_pickle.Counts that count clips."""


@dataclass(frozen=True, slots=True)
class _Converted:
    """One split of a converted file."""

    rows: Mapping[str, int]
    """Row by id."""
    labels: Mapping[str, Sequence[float | None]]
    counts: Mapping[str, Mapping[str, int]]
    sequences: Mapping[str, Packed]


class MmsaFeatures:
    """A FeatureSource of the clips in `path`, of `modalities`.

    `cache_root` is where the converted file is kept. Raises DataError, naming file, split, row and remedy, if the file
    is absent, is not in MMSA's layout, is damaged, or has no features of a modality; WriteError if there is no room.
    """

    def __init__(self, path: Path, cache_root: Path, modalities: Iterable[str]) -> None:
        self.path = path
        self.sha256 = _sha256(path, cache_root)
        folder = cache_root / "features" / f"mmsa-{self.sha256[:40]}-v{VERSION}"
        index = _index(folder)
        if index is None:
            index = _convert(path, folder)
            if _sha256(path, cache_root) != self.sha256:
                shutil.rmtree(folder, ignore_errors=True)
                raise DataError(f"{path} changed while it was read: start the run again when it is complete")
        wanted = [modality for modality in FIELDS if modality in set(modalities)]
        if lacking := [modality for modality in wanted if modality not in index["widths"]]:
            fields = [", ".join(FIELDS[modality] for modality in names) for names in (lacking, index["widths"])]
            raise DataError(
                f"{path} has no field {fields[0]} (it has {fields[1] or 'none'}): leave {' and '.join(lacking)} out of"
                " the modalities, or name another file in features.file"
            )
        self.widths: dict[str, int] = {modality: index["widths"][modality] for modality in wanted}
        self.joint: str = index["joint"]
        self._splits = {
            split: _Converted(
                rows={name: row for row, name in enumerate(content["ids"])},
                labels=content["labels"],
                counts=content["counts"],
                sequences={
                    modality: Packed(_packed(folder, split, modality), content["lengths"][modality], width)
                    for modality, width in self.widths.items()
                    if content["ids"]
                },
            )
            for split, content in index["splits"].items()
        }

    def of(self, record: Record) -> "dict[str, torch.Tensor]":
        """By modality: float32 [steps, width]. Raises DataError where the file has none for the record."""
        import torch  # joining records does not have to wait for it

        split = self._splits.get(record.split)
        row = None if split is None else split.rows.get(self._id(record.id))
        if split is None or row is None:
            raise DataError(
                f"{self.path} has no features of {record.id} in its split '{record.split}': leave the record out, as"
                " `join` does"
            )
        return {modality: torch.from_numpy(packed[row]) for modality, packed in split.sequences.items()}

    def identity(self) -> dict[str, Any]:
        return {"source": "mmsa", "version": VERSION, "sha256": self.sha256, "widths": self.widths}

    def join(self, part: Part) -> None:
        """Leaves the records without features out of `part`, and logs how part and file fit together: records without
        features, features without a record, labels that differ, and what is odd about the numbers.

        A record has the features of its own split alone: those of another would mix training and test. Raises DataError
        if the file lacks the split, or has no clip in common with it.
        """
        name = f"{part.dataset} {part.split}"
        split = self._splits.get(part.split)
        if split is None or not split.rows:
            filled = [other for other, content in self._splits.items() if content.rows]
            raise DataError(
                f"{self.path} has no clips in split '{part.split}', which {part.dataset} has (it has some in"
                f" {', '.join(filled) or 'none'}): get the file again from its publisher, or name another in"
                " features.file"
            )
        reasons: dict[str, str] = {}
        elsewhere: list[str] = []
        for record in part.records:
            spelled = self._id(record.id)
            if spelled in split.rows:
                continue
            others = [other for other, content in self._splits.items() if spelled in content.rows]
            if others:
                elsewhere.append(record.id)
            reasons[record.id] = (
                f"{self.path.name} has its features in split '{others[0]}'"
                if others
                else f"no features in {self.path.name}"
            )
        if part.records and len(reasons) == len(part.records):
            raise DataError(
                f"{self.path} has none of the {len(reasons):,} clips of {name}"
                + (f", though {len(elsewhere):,} of them are in its other splits" if elsewhere else "")
                + f": its ids are like '{next(iter(split.rows))}', where '{self._id(part.records[0].id)}' was looked"
                " for: name the file of this dataset in features.file"
            )
        known = {self._id(identifier) for identifier in (*(r.id for r in part.records), *(e.id for e in part.excluded))}
        used = [record for record in part.records if record.id not in reasons]
        LOG.info(f"{name}: {len(used):,} of {len(part.records):,} clips have features in {self.path}")
        if reasons:
            splits = f", {len(elsewhere):,} of them because they are in another split of it" if elsewhere else ""
            LOG.info(
                f"{name}: {len(reasons):,} of {len(part.records):,} clips are left out, since the file has no features"
                f" of them in this split{splits} ({_first(reasons)}; exclusions.csv of a run lists them)"
            )
        if surplus := [spelled for spelled in split.rows if spelled not in known]:
            outside = f"; records outside of the subset: {part.outside_subset:,}" if part.outside_subset else ""
            LOG.info(
                f"{name}: {len(surplus):,} of the {len(split.rows):,} clips of this split of the file are not used,"
                f" since no record has them ({_first(surplus)}{outside})"
            )
        self._log_labels(name, used, split)
        for modality in self.widths:
            counts = split.counts[modality]
            for field, sentence in ODD.items():
                if counts[field]:
                    said = sentence.format(
                        clips=f"{counts[field]:,}", all=f"{len(split.rows):,}", not_finite=f"{counts['not_finite']:,}"
                    )
                    LOG.info(f"{name}: {modality} features in {self.path.name}: {said}")
        part.leave_out(reasons)

    def _log_labels(self, name: str, used: Sequence[Record], split: _Converted) -> None:
        for task, labels in split.labels.items():
            differing = []
            for record in used:
                theirs, ours = labels[split.rows[self._id(record.id)]], record.labels.get(task)
                if theirs is not None and isinstance(ours, float) and abs(theirs - ours) > SAME_LABEL:
                    differing.append(f"{record.id}: {ours:g} and {theirs:g}")
            if differing:
                LOG.warning(
                    f"{name}: {len(differing):,} of {len(used):,} clips have another label for {task} in the"
                    f" annotations than in {self.path.name} ({_first(differing)}): that of the annotations is used"
                )

    def _id(self, identifier: str) -> str:
        """The file's spelling of mosi/train/03bSnISJMiM/1: 03bSnISJMiM$_$1."""
        return self.joint.join(identifier.split("/")[2:])


def _first(items: Iterable[str]) -> str:
    """The first items, for a message."""
    items = list(items)
    return ", ".join(items[:NAMED]) + (", …" if len(items) > NAMED else "")


def located(root: Path, file: str, reader: str) -> Path:
    """The path of the feature file `file`, relative to the root of a dataset: its own, or another name of the unaligned
    file of this dataset. Raises DataError, which names those that were looked for, where there is none."""
    others = OTHERWISE_NAMED.get(reader, ())
    names = dict.fromkeys((file, *others) if file in (UNALIGNED, *others) else (file,))
    paths = [root / name for name in names]
    for path in paths:
        if path.is_file():
            return path
    raise _absent(paths)


def _absent(paths: Sequence[Path]) -> DataError:
    folders = dict.fromkeys(path.parent for path in paths)
    nearby = sorted(file.name for folder in folders for file in folder.glob("*.pkl"))
    where = "its folder has" if len(folders) == 1 else "their folders have"
    found = f"{where} {', '.join(nearby) or 'no other .pkl file'}"
    named = f"{paths[0]} does not exist" + "".join(f", nor does {path}" for path in paths[1:])
    return DataError(
        f"{named} ({found}): put MMSA's feature file there, or name it in features.file, relative to the dataset's root"
    )


def _sha256(path: Path, cache_root: Path) -> str:
    if not path.is_file():
        raise _absent([path])
    return content_hashes([str(path)], cache_root)[str(path)]


def _packed(folder: Path, split: str, modality: str) -> Path:
    return folder / f"{split}.{modality}.f32"


def _index(folder: Path) -> dict[str, Any] | None:
    """The index of a converted file; None where there is none, or it is damaged."""
    try:
        return json.loads((folder / INDEX).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        LOG.warning(f"{folder / INDEX} is damaged ({error}): the features are converted again")
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _convert(path: Path, folder: Path) -> dict[str, Any]:
    """Makes `folder` from the feature file and returns its index. Two processes may do so at once: the folder of the
    first to finish is used, and is the same."""
    LOG.info(f"{path}: reading the features, once for this content; they are kept in {folder}")
    splits, others = mmsa_pickle.read(path)
    if others:
        LOG.info(f"{path}: not read, since they are none of train, valid and test: {', '.join(others)}")
    ids = [name for split in splits.values() for name in split.ids]
    index: dict[str, Any] = {
        "joint": next((joint for joint in JOINTS if any(joint in name for name in ids)), JOINTS[0]),
        "widths": next(({m: a.shape[2] for m, a in s.arrays.items()} for s in splits.values() if s.ids), {}),
        "splits": {},
    }
    work = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the final one, so that the rename stays within one file system.
        work = Path(tempfile.mkdtemp(prefix=".mmsa-", dir=folder.parent))
        for name, split in splits.items():
            lengths: dict[str, list[int]] = {}
            for modality in split.arrays:
                lengths[modality] = []
                with _packed(work, name, modality).open("wb") as file:
                    for sequence in split.sequences(modality):
                        file.write(sequence.data)
                        lengths[modality].append(len(sequence))
                    file.flush()
                    os.fsync(file.fileno())  # else a machine that loses power may have the name without the content
            index["splits"][name] = {
                "ids": split.ids,
                "labels": split.labels,
                "lengths": lengths,
                "counts": {modality: asdict(counts) for modality, counts in split.counts.items()},
            }
        write_json(work / INDEX, index)
        try:
            os.rename(work, folder)
        except OSError:
            if not (folder / INDEX).is_file():  # else another process was faster
                raise
    except OSError as error:
        raise WriteError(
            f"the features of {path} could not be kept in {folder.parent} ({error.strerror or error}): they need at"
            f" most {path.stat().st_size / 10**9:.1f} GB; make room, or name another folder, cache_root=…",
            error,
        ) from error
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
    return index
