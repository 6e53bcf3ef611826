"""Sequences of different lengths behind each other in one file, and read one at a time.

A file holds little-endian float32 numbers and nothing else: lengths and width are kept by whoever writes it.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from affect.config import DataError

NUMBER = np.dtype("<f4")


class Packed:
    """The sequences of `path`: the one at position i is [lengths[i], width]. It can be handed to other processes.

    A sequence is read where it is asked for, rather than mapped: the memory of a process stays as it is, and a file
    that was cut short is an error instead of a bus error. Raises DataError if the file does not have its full size.
    """

    def __init__(self, path: Path, lengths: Sequence[int], width: int) -> None:
        self.path, self.width = path, width
        self.ends = np.cumsum(np.asarray(lengths, np.int64))
        self._file: IO[bytes] | None = None
        expected = int(self.ends[-1] if len(self.ends) else 0) * width * NUMBER.itemsize
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}): {self._remedy}") from error
        if size != expected:
            raise DataError(f"{path} has {size:,} bytes where {expected:,} were written: {self._remedy}")

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_file": None}

    def __getitem__(self, position: int) -> np.ndarray:
        """float32 [steps, width], of memory of its own."""
        start = int(self.ends[position - 1]) if position else 0
        sequence = np.empty((int(self.ends[position]) - start, self.width), NUMBER)
        if self._file is None:
            self._file = self.path.open("rb", buffering=0)
        # At its own offset: processes that were forked share the position in the file.
        if os.preadv(self._file.fileno(), [sequence], start * self.width * NUMBER.itemsize) != sequence.nbytes:
            raise DataError(f"{self.path} was cut short while it was in use: {self._remedy}")
        return sequence

    @property
    def _remedy(self) -> str:
        return f"delete {self.path.parent}, and it is made again"
