"""The layout of MMSA's feature files: what a file has to hold, and each clip's own steps of it.

A file is a pickle of split -> field -> values (https://github.com/thuiar/MMSA, src/MMSA/data_loader.py; made by
https://github.com/thuiar/MMSA-FET, src/MSA_FET/dataset.py). Of N clips in T steps, which differ between modalities:

    id                            N strings, 03bSnISJMiM$_$1: video and clip, as in label.csv
    text, audio, vision           [N, T, width], padded with zeros; vision is what is called video here
    text_bert                     [N, 3, T]: tokens, attention mask and segments of BERT
    audio_lengths, vision_lengths N numbers of steps; only where modalities are not aligned
    regression_labels             N numbers; in CH-SIMS also regression_labels_T, _A and _V, of one modality

Of the rest (raw_text, annotations, classification_labels) nothing is read. Steps and widths as found in public reports
on these files and in the configurations of MMSA and https://github.com/thuiar/ch-sims-v2; whatever a file has is taken:

                          text     audio    vision
    MOSI aligned          50 768   50  5    50  20
    MOSI unaligned        50 768   375 5    500 20
    MOSEI aligned         50 768   50  74   50  35
    MOSEI unaligned       50 768   500 74   500 35
    CH-SIMS unaligned     39 768   400 33   55  709
    CH-SIMS v2            50 768   925 25   232 177

Which steps are a clip's own:

- text: those in the attention mask; without text_bert, from the first to the last step that is not all zeros.
- audio and vision: as many from the first on as the lengths say, or, where there are no lengths, as text has: as in
  MMSA. Where all of them are zeros, and others are not, the clip is padded in front (MMSA-FET's padding_location), and
  as many are taken from the end. What lies beyond is left out, and the clips are counted: in MOSEI a length ends before
  the first step of zeros (MMSA's data/getLengths.py), such as one without a face.
- Lengths beyond T, which MMSA-FET writes for clips that it cut, count as T; a clip of length 0 has one step of zeros.

-inf, inf and NaN, which COVAREP computes in silence, count as 0 and are counted; MMSA replaces -inf alone.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from affect.config import DataError
from affect.data import pickles
from affect.data.features.packed import NUMBER
from affect.data.record import SPLIT_NAMES

FIELDS = {"text": "text", "audio": "audio", "video": "vision"}
"""Name in the file by modality."""

LABELS = {
    "sentiment": "regression_labels",
    "sentiment_text": "regression_labels_T",
    "sentiment_audio": "regression_labels_A",
    "sentiment_video": "regression_labels_V",
}
"""Name in the file by task."""

BLOCK = 2**25
"""Bytes of an array that are converted at a time."""


@dataclass(slots=True)
class Counts:
    """What is odd about the sequences of one modality in one split."""

    not_finite: int = 0
    """Numbers that were -inf, inf or NaN, and are 0."""
    clips_not_finite: int = 0
    too_long: int = 0
    """Clips with a length beyond the steps of the array."""
    empty: int = 0
    """Clips of length 0."""
    padded_in_front: int = 0
    beyond: int = 0
    """Clips with steps beyond their length that are not zero, and are left out."""


@dataclass(slots=True)
class Split:
    """One split of a file, checked. Rows are counted from 0, as in the arrays."""

    path: Path
    name: str
    """As the file spells it."""
    ids: list[str]
    labels: dict[str, list[float | None]]
    """By task; None where the file has NaN."""
    arrays: dict[str, np.ndarray]
    """[N, T, width] by modality; read-only and in the file."""
    windows: dict[str, np.ndarray]
    """First step and number of steps of each clip, int64 [N, 2], by modality."""
    counts: dict[str, Counts] = field(default_factory=dict)
    """By modality; complete when all `sequences` were taken."""

    def sequences(self, modality: str) -> Iterator[np.ndarray]:
        """float32 [steps, width] of each clip, in the order of the rows."""
        array, windows, counts = self.arrays[modality], self.windows[modality], self.counts[modality]
        steps, width = array.shape[1:]
        rows = max(1, BLOCK // (steps * width * array.itemsize))
        for begin in range(0, len(array), rows):
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is counted
                block = array[begin : begin + rows].astype(NUMBER)
            filled = (block != 0).any(axis=2)
            for clip, is_filled, (start, length) in zip(block, filled, windows[begin : begin + rows], strict=True):
                if modality != "text" and is_filled[length:].any():
                    if is_filled[: steps - length].any():
                        counts.beyond += 1
                    else:
                        counts.padded_in_front += 1
                        start = steps - length
                sequence = clip[start : start + length] if length else np.zeros((1, width), NUMBER)
                wrong = ~np.isfinite(sequence)
                if number := int(wrong.sum()):
                    counts.not_finite += number
                    counts.clips_not_finite += 1
                    sequence[wrong] = 0
                yield sequence


def read(path: Path) -> tuple[dict[str, Split], list[str]]:
    """The splits of a file by affect's names (train, val, test), and the names of others, which are not read.

    The file is mapped: see pickles.load_mapped for the memory. Raises DataError, naming file, split, row and remedy.
    """
    content = pickles.load_mapped(path)
    named = [key for key in content if isinstance(key, str)] if isinstance(content, dict) else []
    splits: dict[str, Split] = {}
    others = []
    for name in named:
        split = SPLIT_NAMES.get(name.lower())
        if split is None or not isinstance(content[name], dict):
            others.append(name)
            continue
        if split in splits:
            raise DataError(f"{path} has the splits '{splits[split].name}' and '{name}', which are one: delete one")
        splits[split] = _split(path, name, content[name])
    if not splits:
        found = f"a dict of {_listed(named)}" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise DataError(
            f"{path} holds {found}, and MMSA's feature files a dict of train, valid and test: name such a file in"
            " features.file"
        )
    first, *rest = [split for split in splits.values() if split.ids] or [None]
    for split in rest:
        if _widths(split) != _widths(first):
            raise DataError(
                f"{path} has other widths in split '{first.name}' ({_widths(first)}) than in '{split.name}'"
                f" ({_widths(split)}): make the file again, with the same features for all splits"
            )
    return splits, others


def _widths(split: Split) -> dict[str, int]:
    return {modality: array.shape[2] for modality, array in split.arrays.items()}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:20]) or "nothing"


def _split(path: Path, name: str, fields: Mapping[Any, Any]) -> Split:
    where = f"{path}, split '{name}'"
    values = {key: value.value if isinstance(value, pickles.ArrayOfFile) else value for key, value in fields.items()}
    if "id" not in values:
        raise DataError(
            f"{where} has no field 'id' (it has {_listed([key for key in fields if isinstance(key, str)])}), so its"
            " rows cannot be joined to clips: name a file in MMSA's layout in features.file"
        )
    ids = _ids(where, values["id"])
    if not ids:
        return Split(path, name, [], {}, {}, {})
    arrays = {m: _array(where, key, values[key], ids) for m, key in FIELDS.items() if values.get(key) is not None}
    if not arrays:
        raise DataError(f"{where} has none of {', '.join(FIELDS.values())}: name a file of features in features.file")
    counts = {modality: Counts() for modality in arrays}
    return Split(
        path=path,
        name=name,
        ids=ids,
        labels={task: _labels(where, key, values[key], ids) for task, key in LABELS.items() if key in values},
        arrays=arrays,
        windows=_windows(where, values, arrays, ids, counts),
        counts=counts,
    )


def _ids(where: str, values: Any) -> list[str]:
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise DataError(
                f"{where}: 'id' has the shape {values.shape}, and MMSA's files one string a clip (video$_$clip), so"
                " this is perhaps a file of the CMU SDK: name a file in MMSA's layout in features.file"
            )
        values = values.tolist()
    if not isinstance(values, list | tuple):
        raise DataError(f"{where}: 'id' is a {type(values).__name__}, not a list of strings: make the file again")
    seen: dict[str, int] = {}
    for row, value in enumerate(values):
        try:
            spelled = value.decode() if isinstance(value, bytes) else value
        except UnicodeDecodeError:
            spelled = None
        if not isinstance(spelled, str) or not spelled.strip():
            raise DataError(
                f"{where}, row {row}: the id {value!r} is empty or no text, so the row belongs to no clip: restore it"
                " from the original file"
            )
        if spelled in seen:
            raise DataError(
                f"{where}, row {row}: the id '{spelled}' is that of row {seen[spelled]} too: leave one of them out"
            )
        seen[spelled] = row
    return list(seen)


def _array(where: str, key: str, value: Any, ids: Sequence[str]) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise DataError(
            f"{where}: '{key}' is a {type(value).__name__}, not an array (clips, steps, numbers): make the file again"
            " with padded arrays"
        )
    if value.dtype.kind not in "fiu":
        raise DataError(
            f"{where}: '{key}' is an array of the type {value.dtype}, not of numbers: restore it from the original file"
        )
    if value.ndim != 3 or 0 in value.shape[1:]:
        raise DataError(
            f"{where}: '{key}' has the shape {value.shape}, not (clips, steps, numbers): name a file of sequences"
        )
    _check_rows(where, key, len(value), ids)
    return value


def _check_rows(where: str, key: str, rows: int, ids: Sequence[str]) -> None:
    if rows != len(ids):
        raise DataError(
            f"{where}: '{key}' has {rows:,} rows and 'id' {len(ids):,}, so it is not known which clip a row belongs to:"
            " get the file again from its publisher"
        )


def _numbers(where: str, key: str, values: Any, ids: Sequence[str]) -> np.ndarray:
    """float64 [N]. Raises DataError for what is no number; NaN is one."""
    if isinstance(values, list | tuple):
        _check_rows(where, key, len(values), ids)
        values = [value.value if isinstance(value, pickles.ArrayOfFile) else value for value in values]
    for row, value in enumerate(values if isinstance(values, list) else ()):
        if isinstance(value, str | bytes | bool) or value is None or np.size(value) != 1:
            raise DataError(
                f"{where}, row {row} ({ids[row]}): '{key}' is {value!r}, not a number: restore it from the original"
            )
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: '{key}' does not hold one number a clip: restore it from the original") from error
    if numbers.ndim == 0:
        raise DataError(
            f"{where}: '{key}' is {values!r}, not a list of one number a clip: restore it from the original"
        )
    _check_rows(where, key, len(numbers), ids)
    if numbers.size != len(ids):
        raise DataError(
            f"{where}: '{key}' has the shape {numbers.shape}, not one number a clip: restore it from the original"
        )
    return numbers.reshape(-1)


def _labels(where: str, key: str, values: Any, ids: Sequence[str]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in _numbers(where, key, values, ids).tolist()]


def _windows(
    where: str,
    values: Mapping[Any, Any],
    arrays: Mapping[str, np.ndarray],
    ids: Sequence[str],
    counts: Mapping[str, Counts],
) -> dict[str, np.ndarray]:
    """First step and number of steps by modality; see the module for the rules. Counts what is odd about lengths."""
    windows = {}
    if "text" in arrays:
        windows["text"] = _window_of_text(where, values.get("text_bert"), arrays["text"], ids)
        counts["text"].empty = int((windows["text"][:, 1] == 0).sum())
    others = [modality for modality in arrays if modality != "text"]
    given = {m: values[key] for m in others if values.get(key := f"{FIELDS[m]}_lengths") is not None}
    if given and len(given) < len(others):
        [missing] = set(others) - set(given)
        raise DataError(
            f"{where} has {FIELDS[next(iter(given))]}_lengths and no {FIELDS[missing]}_lengths, so it is not known"
            " which steps are padding: restore the field, or name an aligned file, which has neither"
        )
    for modality in others:
        steps = arrays[modality].shape[1]
        if modality in given:
            key = f"{FIELDS[modality]}_lengths"
            lengths = _lengths(where, key, given[modality], ids)
        elif "text" in windows and steps == arrays["text"].shape[1]:
            lengths = windows["text"][:, 1]
        else:
            raise DataError(
                f"{where} has no {FIELDS[modality]}_lengths, and '{FIELDS[modality]}' is not aligned to text (it has"
                f" {steps} steps, text {arrays['text'].shape[1] if 'text' in arrays else 'none'}), so it is not known"
                " which steps are padding: restore the field"
            )
        counts[modality].too_long = int((lengths > steps).sum())
        counts[modality].empty = int((lengths == 0).sum())
        windows[modality] = np.stack([np.zeros(len(ids), np.int64), np.minimum(lengths, steps)], axis=1)
    return windows


def _lengths(where: str, key: str, values: Any, ids: Sequence[str]) -> np.ndarray:
    lengths = _numbers(where, key, values, ids)
    wrong = ~((lengths >= 0) & (lengths == np.floor(lengths)) & np.isfinite(lengths))
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{where}, row {row} ({ids[row]}): '{key}' is {lengths[row]:g}, not a number of steps: restore it from the"
            " original"
        )
    return lengths.astype(np.int64)


def _window_of_text(where: str, bert: Any, text: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    clips, steps, _ = text.shape
    if bert is None:
        used = np.concatenate([(text[at : at + 64] != 0).any(axis=2) for at in range(0, clips, 64)])
    else:
        bert = _array(where, "text_bert", bert, ids)
        if bert.shape != (clips, 3, steps):
            raise DataError(
                f"{where}: 'text_bert' has the shape {bert.shape} where that of 'text', {text.shape}, asks for"
                f" {(clips, 3, steps)} (tokens, mask, segments), so it is not known which steps of text are padding:"
                " name a file whose fields were made together"
            )
        used = bert[:, 1] > 0
    first = used.argmax(axis=1)
    last = steps - used[:, ::-1].argmax(axis=1)
    return np.stack([first, np.where(used.any(axis=1), last - first, 0)], axis=1).astype(np.int64)
