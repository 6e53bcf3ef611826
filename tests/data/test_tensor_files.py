"""Tensors kept on disk by key: what is read back, what becomes of damage, of no room, and of several at once."""

import errno
import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from affect.config import DataError
from affect.data.tensor_store import TensorFiles, checksum

LOSS = "it is all computed again"


class Kept(TensorFiles):
    """With what was said."""

    def __init__(self, folder: Path, limit: int = 10**6) -> None:
        self.said: list[str] = []
        super().__init__(folder, limit, self.said.append, LOSS)


def numbers(which: float, count: int = 100) -> dict[str, torch.Tensor]:
    return {"x": torch.full((count,), float(which)), "y": torch.tensor([[1, 2]], dtype=torch.int16)}


def same(first: dict[str, torch.Tensor] | None, second: dict[str, torch.Tensor]) -> bool:
    return first is not None and {*first} == {*second} and all(torch.equal(first[n], second[n]) for n in second)


def test_what_is_kept_comes_back_in_every_type_and_shape(tmp_path: Path) -> None:
    files = Kept(tmp_path)
    tensors = {
        "half": torch.randn(3, 4).bfloat16(),
        "single": torch.randn(2, 1),
        "scalar": torch.tensor(1.25, dtype=torch.float64),
        "pixels": torch.arange(12, dtype=torch.uint8).view(2, 6).T,  # not contiguous
        "none": torch.zeros(0, 4),
    }
    assert files.get("a") is None and not files.has("a")
    assert files.put("a", tensors) and files.has("a")
    found = files.get("a")
    assert same(found, tensors)
    assert {name: tensor.dtype for name, tensor in found.items()} == {n: t.dtype for n, t in tensors.items()}
    assert files.get("b") is None and files.said == []
    assert not list(tmp_path.glob("**/.*")), "something was left beside it"


def test_a_checksum_is_of_names_types_shapes_and_bytes() -> None:
    x = torch.arange(6.0)
    sums = [
        checksum({"x": x}),
        checksum({"y": x}),
        checksum({"x": x.double()}),
        checksum({"x": x.view(2, 3)}),
        checksum({"x": x + torch.tensor([0, 0, 0, 1e-6, 0, 0])}),
    ]
    assert len(set(sums)) == 5 and checksum({"x": x.clone()}) == sums[0]


def test_what_a_killed_process_left_in_a_folder_of_others_takes_room_and_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Kept(tmp_path)
    files.put("a", numbers(1))
    whole = files.size()
    left = files.path("a").with_name(f".{files.path('a').name}-0")
    left.write_bytes(bytes(1000))
    os.utime(left, (0, 0))

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        assert files.size() == whole + 1000 and files.room() == files.limit - whole - 1000
        assert same(files.get("a"), numbers(1))
    assert files.size() == whole and not left.exists()


def test_room_is_made_beside_files_that_may_not_be_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Kept(tmp_path)
    for i in range(8):
        old.put(f"old {i}", numbers(i, 2500))
    for age, path in enumerate(sorted(tmp_path.glob("*/*"))):
        os.utime(path, (1000 + age, 1000 + age))
    first = min(tmp_path.glob("*/*"))
    unlink = Path.unlink

    def refused(self: Path, missing_ok: bool = False) -> None:
        if self == first:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    new = Kept(tmp_path, limit=old.size())
    assert new.put("new", numbers(9, 2500)) and new.said == [] and not new.closed
    assert first.exists() and len([*tmp_path.glob("*/*")]) < 9


@pytest.mark.parametrize("left", [0, 5, 40, 300])
def test_a_truncated_file_is_said_and_made_again(tmp_path: Path, left: int) -> None:
    for read in ("has", "get"):
        files = Kept(tmp_path)
        files.put("a", numbers(1))
        path = files.path("a")
        path.write_bytes(path.read_bytes()[:left])
        assert not getattr(files, read)("a") and not path.exists()
        [sentence] = files.said
        assert sentence.startswith(f"{path} is damaged (")
        assert sentence.endswith("): it is deleted, and its content is computed again")
        assert files.put("a", numbers(2)) and same(files.get("a"), numbers(2))


def test_a_flipped_bit_is_found_when_it_is_read(tmp_path: Path) -> None:
    files = Kept(tmp_path)
    files.put("a", numbers(1))
    content = bytearray(files.path("a").read_bytes())
    content[-1] ^= 1
    files.path("a").write_bytes(content)
    assert files.has("a") and files.get("a") is None
    assert files.said == [
        f"{files.path('a')} is damaged (its checksum differs): it is deleted, and its content is computed again"
    ]


def test_a_file_of_another_key_is_refused(tmp_path: Path) -> None:
    files = Kept(tmp_path)
    files.put("this model", numbers(1))
    files.put("another model", numbers(2))
    os.replace(files.path("another model"), files.path("this model"))
    for read in (files.has, files.get):
        with pytest.raises(DataError, match=r"has a key other than its name says, so it was renamed or copied: delete"):
            read("this model")


def test_the_folder_never_grows_beyond_its_limit_and_the_oldest_go_first(tmp_path: Path) -> None:
    before = Kept(tmp_path, limit=10_000)
    for i in range(8):
        assert before.put(f"old {i}", numbers(i, 200))
        os.utime(before.path(f"old {i}"), (1e9 + i, 1e9 + i))
    later = Kept(tmp_path, limit=10_000)
    assert later.get("old 0") is not None, "it is there"  # and is now the one that was used last
    for i in range(3):
        assert later.put(f"new {i}", numbers(i, 200))
        assert later.size() <= 10_000
    assert later.has("old 0") and later.has("old 7") and not later.has("old 1")
    assert later.said == []


def test_what_this_run_uses_is_not_pushed_out_by_more_of_it(tmp_path: Path) -> None:
    files = Kept(tmp_path, limit=5_000)
    kept = [i for i in range(20) if files.put(f"{i}", numbers(i, 200))]
    assert kept == list(range(len(kept))) and 2 < len(kept) < 6, "what came first stays"
    assert all(same(files.get(f"{i}"), numbers(i, 200)) for i in kept)
    assert files.said == [f"{tmp_path} is full (5e-06 GB) of what this run uses, so {LOSS}"]
    assert files.room() < 1000


def test_there_is_no_more_room_than_the_disk_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Kept(tmp_path / "not" / "there", limit=10**15)
    assert 0 < files.room() < 10**15


def test_a_full_disk_is_said_once_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Kept(tmp_path)
    files.put("a", numbers(1))

    def full(path: Path, content: bytes) -> None:
        with open(path, "wb") as file:
            file.write(content[:50])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert not files.put("b", numbers(2)) and not files.put("c", numbers(3))
    assert files.said == [
        f"{tmp_path} cannot be written (No space left on device), so {LOSS}: make room there, or name another folder,"
        " cache_root=…"
    ]
    assert same(files.get("a"), numbers(1)) and files.get("b") is None
    assert [path.name for path in tmp_path.glob("**/*") if path.is_file()] == [files.path("a").name]


def test_a_folder_that_may_only_be_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Kept(tmp_path).put("a", numbers(1))
    files = Kept(tmp_path)
    files.since = time.time() + 60  # as if the file had been used in an earlier run only

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("utime", "replace"):
        monkeypatch.setattr(os, name, refused)
    monkeypatch.setattr(Path, "write_bytes", refused)
    assert files.has("a") and same(files.get("a"), numbers(1))
    assert not files.put("b", numbers(2))
    assert "cannot be written (Read-only file system)" in files.said[0]


def test_many_threads_and_processes_use_it_at_once(tmp_path: Path) -> None:
    files = Kept(tmp_path)
    copies = [files, *(pickle.loads(pickle.dumps(TensorFiles(tmp_path, 10**6, print, LOSS))) for _ in range(3))]

    def work(at: int) -> None:
        own = copies[at % 4]
        for i in range(20):
            own.put(f"{i}", numbers(i))
            assert same(own.get(f"{i}"), numbers(i))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(list(tmp_path.glob("**/*.safetensors"))) == 20
    assert not list(tmp_path.glob("**/.*"))


def test_what_a_killed_process_left_is_taken_away(tmp_path: Path) -> None:
    files = Kept(tmp_path)
    files.put("a", numbers(1))
    left = files.path("a").with_name(".x.safetensors-123")
    left.write_bytes(b"half")
    assert files.size() > files.path("a").stat().st_size, "it takes room while it may still become something"
    os.utime(left, (1e9, 1e9))
    assert files.size() == files.path("a").stat().st_size and not left.exists()
