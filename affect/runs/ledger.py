"""The ledger of test splits: one line for every time a test split was evaluated.

    {"time": …, "program": "train", "folder": …, "dataset": "meld", "split": "test", "ids_sha256": …, "clips": 2610,
     "configuration_sha256": …, "predictions_sha256": …}

It lies in the output root, as `test_ledger.jsonl`, and not beside the data: those are often read-only and shared by
people who do not share results. Lines are only added, by a single write at the end of the file under a lock of it, so
that processes may add to it at the same time (affect.runs.locks says on which file systems).
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from affect.config import ConfigError, WriteError
from affect.runs import locks
from affect.runs.lifecycle import now

FILE = "test_ledger.jsonl"

SPLIT = "test"
"""The split whose evaluations are noted. The others may be looked at as often as one likes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One evaluation of the test split of one dataset."""

    time: str
    """ISO 8601, in UTC."""
    program: str
    """train, evaluate or score."""
    folder: str
    """The run folder; of `affect score` the file of predictions."""
    dataset: str
    split: str
    ids_sha256: str
    """Of the ids of the clips, as data.json has it."""
    clips: int
    """Number of clips that were used."""
    configuration_sha256: str
    """Of all settings that may change a number, the seed among them (affect.runs.identity)."""
    predictions_sha256: str
    """Of the file of predictions."""


def openings(
    folder: Path,
    program: str,
    configuration_sha256: str,
    accounts: Iterable[Mapping[str, Any]],
    predictions: Path,
) -> list[Opening]:
    """The lines for the evaluation in `folder`, one a dataset, made now. `accounts` have dataset, ids_sha256 and used
    of the test splits, `predictions` is the file of predictions."""
    common = {
        "time": now(),
        "program": program,
        "folder": os.path.abspath(folder),
        "split": SPLIT,
        "configuration_sha256": configuration_sha256,
        "predictions_sha256": hashlib.sha256(predictions.read_bytes()).hexdigest(),
    }
    return [
        Opening(**common, dataset=account["dataset"], ids_sha256=account["ids_sha256"], clips=account["used"])
        for account in accounts
    ]


def unwritable(output_root: str) -> str | None:
    """The sentence that refuses an output root whose ledger cannot be added to; None where it can, or where that is not
    known before the run."""
    path = Path(output_root) / FILE
    if path.exists() and not (path.is_file() and os.access(path, os.W_OK)):
        return (
            f"{path} cannot be written, and every evaluation of a test split is noted there: see that you may write to"
            " it, set output_root to a folder of your own, or evaluate another split, evaluation.split=val"
        )
    return None


def append(output_root: Path, lines: Sequence[Opening]) -> None:
    """Adds lines to the ledger of `output_root`: all of them or, where the disk is full, none. Raises WriteError where
    they cannot be added."""
    if not lines:
        return
    path = output_root / FILE
    text = "".join(json.dumps(asdict(line), ensure_ascii=False) + "\n" for line in lines).encode()
    try:
        with locks.held(path, wait=True):
            _append(path, text)
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(
            f"{path} could not be written ({error.strerror or error}), and every evaluation of a test split is noted"
            " there: make room, or see that you may write to it, and run this again",
            error,
        ) from error


def _append(path: Path, text: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        end = os.fstat(descriptor).st_size
        if end and os.pread(descriptor, 1, end - 1) != b"\n":
            text = b"\n" + text  # what a killed process left half written stays a line of its own
        try:
            if os.write(descriptor, text) < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, end)
            raise
    finally:
        os.close(descriptor)


_NAMES = {field.name for field in fields(Opening)}


def read(path: Path) -> tuple[list[Opening], list[str]]:
    """The lines of a ledger in their order, and a sentence for each that is damaged. Raises ConfigError where the file
    cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror or error}): name the ledger of an output root, {FILE}"
        ) from error
    found, damaged = [], []
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            plain = json.loads(line)
            found.append(Opening(**{key: value for key, value in plain.items() if key in _NAMES}))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            why = str(error).splitlines()[0].removeprefix("Opening.__init__() ")
            damaged.append(f"{path}, line {number} is damaged and not counted ({why})")
    return found, damaged


def of_run(folder: Path, output_root: str) -> Path | None:
    """The ledger that a run is noted in: in a folder above it, wherever these have been moved to, else in the output
    root that it was started with. None where there is none."""
    above = [*folder.absolute().parents, Path(output_root)]
    return next((place / FILE for place in above if (place / FILE).is_file()), None)
