"""Size-limited folder of safetensors files, for tensors that can be computed again.

A file holds its key and a checksum of its tensors, and appears under its name when it is complete, so any number of
threads, processes and machines can use a folder at once. Nothing is locked: two of them may compute the same tensors,
and the second replaces the file of the first. Everything can be deleted at any time.

Files that were not used for longest are removed first, but none that was used since this run began: a run goes through
its clips in another order every epoch, and would otherwise remove most of them before they are used again. The library
diskcache has no such rule, keeps its index in SQLite, whose locks do not reach over network file systems, and pickles.
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
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from affect.config import DataError

GIGABYTE = 10**9

SLACK = 0.05
"""Share of the limit that is freed beyond what is needed, and that may be written before the folder is measured again,
since other processes write there too."""

COARSE = 2.0
"""Seconds by which the times of a file system may lag."""

ABANDONED = 3600.0
"""Seconds after which an unfinished file is taken for one of a killed process."""


class TensorFiles:
    """The tensors under `folder`, of at most `limit` bytes together (a little more while several processes write).

    `say` is called with each sentence for the user: that a file was damaged, and once, that there is no more room or
    the folder cannot be written. `loss` ends the last two sentences: the consequence of keeping nothing more.
    """

    def __init__(self, folder: Path, limit: int, say: Callable[[str], None], loss: str) -> None:
        self.folder, self.limit, self.say, self.loss = Path(folder), limit, say, loss
        self.since = time.time() - COARSE
        """When this run began."""
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
        vars(self).update(state, _lock=threading.Lock())

    def path(self, key: str) -> Path:
        """Where the tensors of `key` are, or would be."""
        name = hashlib.sha256(key.encode()).hexdigest()[:40]
        # Many thousands of files in one folder are slow to list, and many folders slow to create.
        return self.folder / name[:1] / f"{name}.safetensors"

    def has(self, key: str) -> bool:
        """Whether the tensors of `key` are there in full length; only `get` verifies their checksum. Raises DataError
        if the file has another key."""
        return self._read(key, _metadata) is not None

    def get(self, key: str) -> dict[str, torch.Tensor] | None:
        """The tensors of `key`; None if they are not there, or damaged. Raises DataError if the file has another
        key."""
        content = self._read(key, _metadata_and_tensors)
        return None if content is None else content["tensors"]

    def _read(self, key: str, parse: Callable[[BinaryIO, int], dict[str, Any]]) -> dict[str, Any] | None:
        """What `parse` makes of the file of `key` and its size; None if there is none, or it is damaged."""
        path = self.path(key)
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                content = parse(file, status.st_size)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.say(f"{path} cannot be read ({error.strerror}): its content is computed again")
            return None
        except (SafetensorError, ValueError, KeyError, RecursionError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            self.say(f"{path} is damaged ({reason}): it is deleted, and its content is computed again")
            with contextlib.suppress(OSError):  # this account may not be allowed to; the next run says so again
                path.unlink(missing_ok=True)
            return None
        if content["key"] != key:
            raise DataError(
                f"{path} has a key other than its name says, so it was renamed or copied: delete {self.folder}, and its"
                " content is computed again"
            )
        if status.st_mtime < self.since:  # marks it as used in this run; nobody frees room in a read-only folder
            with contextlib.suppress(OSError):
                os.utime(path)
        return content

    def content(self, key: str, tensors: Mapping[str, torch.Tensor]) -> bytes:
        """The bytes of the file of `key`."""
        copies = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        return save(copies, metadata={"key": key, "checksum": checksum(copies)})

    def put(self, key: str, tensors: Mapping[str, torch.Tensor]) -> bool:
        """Keeps `tensors` under `key`; False if there is no room for them, or the folder cannot be written."""
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
            with contextlib.suppress(OSError):  # a file that cannot be written may not be deletable either
                temporary.unlink(missing_ok=True)
            self._close(
                f"{self.folder} cannot be written ({error.strerror}), so {self.loss}: make room there, or name another"
                " folder, cache_root=…"
            )
            return False
        return True

    def room(self) -> int:
        """Bytes that can still be kept: the limit less the files used since this run began, and no more than the disk
        has."""
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
        """Counts `wanted` bytes as written, after removing old files for them; False if there is no room."""
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
                    except OSError:  # this account may not be allowed to
                        continue
                    self.measured -= size
                    surplus -= size
            fits = self.measured + wanted <= self.limit
            if fits:
                self.measured += wanted
                self.added += wanted
        if not fits:
            self._close(f"{self.folder} is full ({self.limit / GIGABYTE:g} GB) of what this run uses, so {self.loss}")
        return fits

    def _files(self) -> list[tuple[float, int, Path]]:
        """(time of last use, bytes, path) of every file; the time is infinity for files that cannot be deleted."""
        files = []
        for path in self.folder.glob("**/*.safetensors*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # another process has freed room
                continue
            if path.name.startswith(".") and time.time() - status.st_mtime > ABANDONED:
                try:
                    path.unlink(missing_ok=True)
                except OSError:
                    files.append((math.inf, status.st_size, path))
            else:
                files.append((status.st_mtime, status.st_size, path))
        return files

    def _close(self, sentence: str) -> None:
        with self._lock:
            was_closed, self.closed = self.closed, True
        if not was_closed:
            self.say(sentence)


def _metadata(file: BinaryIO, size: int) -> dict[str, Any]:
    """Key and checksum. Raises ValueError if the file does not have its full length."""
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length)) if length <= size else None
    if not isinstance(header, dict) or "key" not in header.get("__metadata__", ()):
        raise ValueError("it has no header")
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    if 8 + length + max(ends, default=0) != size:
        raise ValueError("it is cut short")
    return header["__metadata__"]


def _metadata_and_tensors(file: BinaryIO, size: int) -> dict[str, Any]:
    """Key, checksum and `tensors`. Raises ValueError or SafetensorError if they are damaged."""
    metadata = _metadata(file, size)
    file.seek(0)
    tensors = load(file.read())
    if metadata["checksum"] != checksum(tensors):
        raise ValueError("its checksum differs")
    return {**metadata, "tensors": tensors}


def checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    """CRC-32 (hexadecimal) of names, types, shapes and bytes, which detects damage by disks and copies."""
    value = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        value = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy(), value)
    return f"{value:08x}"
