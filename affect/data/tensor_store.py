"""Size-limited folder of safetensors files, for tensors that can be computed again.

A file holds its key and a checksum of its tensors, and appears under its name when it is whole, so that any number of
threads, processes and machines can use a folder at once. Nothing is locked: what two of them compute at the same time
is the same but for rounding, and the second to be ready replaces it. Everything can be deleted at any time.

What was last used longest ago goes first, but nothing that was used since this run began. A run goes through its clips
in another order every epoch; were they to push each other out, hardly one would be there when its turn comes again.
"""

import contextlib
import hashlib
import json
import math
import os
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from affect.config import DataError

GIGABYTE = 10**9

SLACK = 0.05
"""Share of the limit that is freed beyond what is needed, and that may be written before the folder is measured again,
since other processes write there too."""

ABSENT = (FileNotFoundError, NotADirectoryError)

COARSE = 2.0
"""Seconds by which the times of a file system may be behind."""

ABANDONED = 3600.0
"""Seconds after which a file that was never finished is taken for one of a killed process."""


class TensorFiles:
    """The tensors under `folder`, of at most `limit` bytes together (a little more while several processes write).

    `say` is told, once each, what the user should know: that a file was damaged, that there is no more room, that the
    folder cannot be written. `loss` ends the last two sentences: what it means that nothing more is kept.
    """

    def __init__(self, folder: Path, limit: int, say: Callable[[str], None], loss: str) -> None:
        self.folder, self.limit, self.say, self.loss = Path(folder), limit, say, loss
        self.since = time.time() - COARSE
        self.closed = False
        """Whether nothing more is written: the folder is full of what this run needs, or cannot be written."""
        self.measured: int | None = None
        """Bytes under the folder when it was last measured, and what this process has added."""
        self.added = 0
        """Bytes written by this process since then."""
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()

    def path(self, key: str) -> Path:
        """Where the tensors of `key` are, or would be."""
        name = hashlib.sha256(key.encode()).hexdigest()[:40]
        # Many thousands of files in one folder are slow to list, and many folders slow to make.
        return self.folder / name[:1] / f"{name}.safetensors"

    def has(self, key: str) -> bool:
        """Whether the tensors of `key` are there in full length. Their checksum is looked at when they are read. Raises
        DataError where the file is of another key."""
        path = self.path(key)
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length)) if length <= status.st_size else None
        except ABSENT:
            return False
        except OSError as error:
            return self._unreadable(path, error)
        except (ValueError, RecursionError) as error:
            return self._damaged(path, str(error))
        if not isinstance(header, dict) or "__metadata__" not in header:
            return self._damaged(path, "it has no header")
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        if 8 + length + max(ends, default=0) != status.st_size:
            return self._damaged(path, "it is cut short")
        self._belongs(path, header["__metadata__"], key)
        self._touch(path, status)
        return True

    def get(self, key: str) -> dict[str, torch.Tensor] | None:
        """The tensors of `key`; None where there are none, or none that are whole. Raises DataError where the file is
        of another key."""
        path = self.path(key)
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                content = file.read()
        except ABSENT:
            return None
        except OSError as error:
            self._unreadable(path, error)
            return None
        try:
            tensors = load(content)
            metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
            whole = metadata["checksum"] == checksum(tensors)
        except (SafetensorError, ValueError, KeyError, RecursionError) as error:
            self._damaged(path, str(error) or type(error).__name__)
            return None
        if not whole:
            self._damaged(path, "its checksum is another")
            return None
        self._belongs(path, metadata, key)
        self._touch(path, status)
        return tensors

    def content(self, key: str, tensors: Mapping[str, torch.Tensor]) -> bytes:
        """Of the file of `key`."""
        own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        return save(own, metadata={"key": key, "checksum": checksum(own)})

    def put(self, key: str, tensors: Mapping[str, torch.Tensor]) -> bool:
        """Keeps `tensors` under `key`; False where there is no room for them, or the folder cannot be written."""
        if self.closed:
            return False
        content = self.content(key, tensors)
        path = self.path(key)
        temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
        try:
            if not self._make_room(len(content)):
                return False
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            os.replace(temporary, path)
        except OSError as error:
            with contextlib.suppress(OSError):  # what cannot be written may not be deletable either
                temporary.unlink(missing_ok=True)
            self._close(
                f"{self.folder} cannot be written ({error.strerror}), so {self.loss}: make room there, or name another"
                " folder, cache_root=…"
            )
            return False
        return True

    def room(self) -> int:
        """Bytes that can still be kept: what the limit leaves beside the files used since this run began, and no more
        than the disk has."""
        files = self._files()
        needed = sum(size for used, size, _ in files if used >= self.since)
        place = next(folder for folder in (self.folder, *self.folder.absolute().parents) if folder.is_dir())
        status = os.statvfs(place)
        free = status.f_bavail * status.f_frsize + sum(size for used, size, _ in files if used < self.since)
        return max(0, min(self.limit - needed, free))

    def size(self) -> int:
        """Bytes under the folder."""
        return sum(size for _, size, _ in self._files())

    def _make_room(self, wanted: int) -> bool:
        with self._lock:
            if self.closed:
                return False
            if self.measured is None or self.added > SLACK * self.limit or self.measured + wanted > self.limit:
                self.measured, self.added = self.size(), 0
            if self.measured + wanted > self.limit:
                surplus = self.measured + wanted - self.limit + SLACK * self.limit
                for used, size, path in sorted(self._files()):
                    if surplus <= 0 or used >= self.since:
                        break
                    try:
                        path.unlink(missing_ok=True)
                    except OSError:  # not ours to delete
                        continue
                    self.measured -= size
                    surplus -= size
            if self.measured + wanted > self.limit:
                full = f"{self.folder} is full ({self.limit / GIGABYTE:g} GB) of what this run uses, so {self.loss}"
            else:
                full = None
                self.measured += wanted
                self.added += wanted
        if full is not None:
            self._close(full)
        return full is None

    def _files(self) -> list[tuple[float, int, Path]]:
        """(time of last use, bytes, path) of every file; of one that may not be deleted, infinity for its time."""
        found = []
        for path in self.folder.glob("**/*.safetensors*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # another process has made room
                continue
            if path.name.startswith(".") and time.time() - status.st_mtime > ABANDONED:
                try:
                    path.unlink(missing_ok=True)
                except OSError:
                    found.append((math.inf, status.st_size, path))
            else:
                found.append((status.st_mtime, status.st_size, path))
        return found

    def _touch(self, path: Path, status: os.stat_result) -> None:
        """Notes that a file was used, once a run. In a folder that may only be read, nobody makes room either."""
        if status.st_mtime < self.since:
            with contextlib.suppress(OSError):
                os.utime(path)

    def _belongs(self, path: Path, metadata: dict[str, str], key: str) -> None:
        if metadata["key"] != key:
            raise DataError(
                f"{path} holds what belongs to another model, clip or setting than its name says, so it was renamed or"
                f" copied: delete {self.folder}, and what it held is computed again"
            )

    def _damaged(self, path: Path, why: str) -> bool:
        self.say(f"{path} is damaged ({why.splitlines()[0]}): it is left out, and what it held is computed again")
        with contextlib.suppress(OSError):  # it may not be ours to delete; it is said again next time
            path.unlink(missing_ok=True)
        return False

    def _unreadable(self, path: Path, error: OSError) -> bool:
        self.say(f"{path} cannot be read ({error.strerror}): what it holds is computed again")
        return False

    def _close(self, sentence: str) -> None:
        with self._lock:
            said, self.closed = self.closed, True
        if not said:
            self.say(sentence)


def checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    """Of names, types, shapes and bytes: CRC-32 in hexadecimal, which finds what disks and copies do to a file."""
    value = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        value = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy(), value)
    return f"{value:08x}"
