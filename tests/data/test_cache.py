"""The check of the clips: really decoded, once, and never believed beyond what it saw."""

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import time
import wave
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from affect.config import DataError
from affect.data import Record, clip_checks, database, media
from affect.data import clips as clips_module
from affect.data.clip_cache import DECODING, open_files, take
from affect.data.clip_checks import Check, check_clips, measure_clips
from affect.data.database import opened
from affect.data.file_hashes import content_hashes, file_versions, version
from affect.data.files import write_atomic
from affect.data.media import Sampling, decode
from affect.knowledge.sources import cues

AUDIO = Sampling(audio=True, video=False, num_frames=4, frame_size=32, max_seconds=5)


def write_wav(path: Path, seconds: float, value: int = 0) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.full(round(seconds * 16000), value, dtype="<i2").tobytes())
    return path


def record(name: str, media: Path | None, start: float | None = None, end: float | None = None) -> Record:
    path = None if media is None else str(media)
    return Record(
        id=f"set/test/{name}", dataset="set", split="test", text="", group=name, media=path, start=start, end=end
    )


@pytest.fixture
def records(tmp_path) -> list[Record]:
    whole = write_wav(tmp_path / "whole.wav", 1, 1)
    cut = write_wav(tmp_path / "cut.wav", 2, 2)
    cut.write_bytes(cut.read_bytes()[:20_000])
    return [
        record("whole", whole),
        record("cut", cut),
        record("long", write_wav(tmp_path / "long.wav", 6, 3)),
        record("piece", tmp_path / "long.wav", 1, 3),
        record("outside", tmp_path / "long.wav", 5, 8),
        record("gone", tmp_path / "gone.wav"),
        record("none", None),
    ]


def test_outcomes(records, tmp_path):
    done = []
    checks = check_clips(records, AUDIO, tmp_path / "cache", num_workers=2, progress=done.append)
    assert list(checks) == [r.id for r in records]
    assert [check.outcome for check in checks.values()] == [
        *("ok", "truncated", "too_long", "ok", "outside", "missing", "missing")
    ]
    assert checks["set/test/whole"] == Check("ok", "", 1.0)
    assert checks["set/test/piece"].seconds == 2
    assert checks["set/test/cut"].detail.startswith(f"{tmp_path / 'cut.wav'}: its audio should last until 2.00 s")
    assert "the dataset has no file for it" in checks["set/test/none"].detail
    assert sum(done) == len(records)


def test_nothing_is_decoded_twice(records, tmp_path, decoded):
    first = check_clips(records, AUDIO, tmp_path / "cache", num_workers=2)
    assert sorted(decoded) == ["cut.wav", "gone.wav", *["long.wav"] * 3, "whole.wav"]
    decoded.clear()
    assert check_clips(records, AUDIO, tmp_path / "cache", num_workers=2) == first
    assert decoded == ["gone.wav"], "a file that is not there is looked for each time"
    # Fewer or smaller frames need no other check; more seconds do.
    decoded.clear()
    check_clips(records[:1], replace(AUDIO, num_frames=16, frame_size=8), tmp_path / "cache", num_workers=1)
    assert decoded == []
    again = check_clips(records[2:3], replace(AUDIO, max_seconds=7), tmp_path / "cache", num_workers=1)
    assert decoded == ["long.wav"] and again["set/test/long"].outcome == "ok"
    seen = check_clips(records[:1], replace(AUDIO, video=True), tmp_path / "cache", num_workers=1)
    assert seen["set/test/whole"].outcome == "no_video"


def write_two_tracks(path: Path) -> Path:
    """Half a second of value 0.25 on the first audio track and of 0.5 on the second, which is marked as the default."""
    with av.open(str(path), "w", format="matroska") as container:
        streams = [container.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(2)]
        streams[0].disposition, streams[1].disposition = Disposition(0), Disposition.default
        for stream, value in zip(streams, (8192, 16384), strict=True):
            frame = av.AudioFrame.from_ndarray(np.full((1, 8000), value, dtype="<i2"), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def test_a_track_that_was_chosen_is_another_clip_to_every_cache(tmp_path):
    plain = record("clip", write_two_tracks(tmp_path / "two.mkv"))
    digest = content_hashes([plain.media], tmp_path / "cache")[plain.media]
    files = open_files(tmp_path / "cache", 1.0, print)
    for track, level in ((None, 0.5), (0, 0.25), (1, 0.5), (None, 0.5)):
        chosen = replace(plain, audio_track=track)
        for _ in range(2):  # made, then kept
            clip = take(files, [digest, *chosen.part], chosen, AUDIO)
            np.testing.assert_array_equal(clip.waveform, np.full(8000, level, dtype=np.float32))
        assert check_clips([chosen], AUDIO, tmp_path / "cache", num_workers=1)[plain.id].outcome == "ok"
    missing = replace(plain, audio_track=2)
    check = check_clips([missing], AUDIO, tmp_path / "cache", num_workers=1)[plain.id]
    assert check.outcome == "no_audio" and "audio_track=2 is none of them" in check.detail
    measured = {
        track: text
        for track in (None, 0)
        for _, _, text in measure_clips(
            [replace(plain, audio_track=track)],
            "level",
            lambda one: (str(decode(one.media, AUDIO, one.start, one.end, one.audio_track).waveform[0]), True),
            tmp_path / "cache",
            num_workers=1,
        )
    }
    assert measured == {None: "0.5", 0: "0.25"}


def test_notes_are_kept_with_what_they_are_about(tmp_path):
    path = tmp_path / "opposite.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.tile(np.array([5000, -5000], dtype="<i2"), 16000).tobytes())
    clip, files = record("opposite", path), open_files(tmp_path / "cache", 1.0, print)
    note = {"one_channel": "its channels cancel each other when mixed, so channel 0 alone was taken"}
    for _ in range(2):  # checked, then kept
        assert check_clips([clip], AUDIO, tmp_path / "cache", num_workers=1)[clip.id] == Check("ok", "", 1.0, note)
        assert dict(take(files, ["content", None, None], clip, AUDIO).notes) == note


def test_what_an_older_version_decoded_is_decoded_again(records, tmp_path, decoded, monkeypatch):
    check_clips(records[:1], AUDIO, tmp_path / "cache", num_workers=1)
    decoded.clear()
    monkeypatch.setattr(
        clip_checks, "CHECK_VERSION", [*clip_checks.CHECK_VERSION[:-1], clip_checks.CHECK_VERSION[-1] + 1]
    )
    check_clips(records[:1], AUDIO, tmp_path / "cache", num_workers=1)
    assert decoded == ["whole.wav"]
    # The same number is in the keys of decoded clips and of all that is measured or encoded of them.
    assert clip_checks.CHECK_VERSION[-1] == media.VERSION + 1 and DECODING[0] == media.VERSION
    assert all(f"decode {media.VERSION} " in name for name in cues.NAMES.values())


def test_content_counts_and_not_the_name(records, tmp_path, decoded):
    check_clips(records[:2], AUDIO, tmp_path / "cache", num_workers=1)
    decoded.clear()
    moved = tmp_path / "moved.wav"
    os.rename(tmp_path / "cut.wav", moved)
    check = check_clips([record("cut", moved)], AUDIO, tmp_path / "cache", num_workers=1)["set/test/cut"]
    assert decoded == [] and check.outcome == "truncated" and str(moved) in check.detail
    write_wav(tmp_path / "whole.wav", 2.5, 9)  # another clip under the old name
    check = check_clips(records[:1], AUDIO, tmp_path / "cache", num_workers=1)["set/test/whole"]
    assert decoded == ["whole.wav"] and check.seconds == 2.5


def test_a_file_that_was_copied_over_with_its_times_kept_is_another(tmp_path, decoded):
    path = write_wav(tmp_path / "clip.wav", 1, 1)
    [before] = content_hashes([str(path)], tmp_path / "cache").values()
    was = file_versions([str(path)], tmp_path / "cache")[str(path)]
    check_clips([record("clip", path)], AUDIO, tmp_path / "cache", num_workers=1)
    status = path.stat()
    other = write_wav(tmp_path / "other.wav", 1, 2)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(other, path)  # as rsync does
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert was[1] != version(str(path))
    assert list(content_hashes([str(path)], tmp_path / "cache").values()) != [before]
    decoded.clear()
    check_clips([record("clip", path)], AUDIO, tmp_path / "cache", num_workers=1)
    assert decoded == ["clip.wav"]


def test_the_same_clip_under_two_names_is_decoded_once(tmp_path, decoded):
    twins = [record(str(i), write_wav(tmp_path / f"{i}.wav", 1, 5)) for i in range(3)]
    done = []
    checks = check_clips(twins, AUDIO, tmp_path / "cache", num_workers=2, progress=done.append)
    assert len(decoded) == 1 and [check.outcome for check in checks.values()] == ["ok"] * 3 and sum(done) == 3


def test_hundreds_of_kept_checks_take_no_time(tmp_path, monkeypatch):
    clips = [record(str(i), write_wav(tmp_path / f"{i}.wav", 0.1, i)) for i in range(400)]
    check_clips(clips, AUDIO, tmp_path / "cache", num_workers=2)
    monkeypatch.setattr(clips_module, "decode", None)  # to call it is an error
    begin = time.perf_counter()
    checks = check_clips(clips, AUDIO, tmp_path / "cache", num_workers=2)
    assert time.perf_counter() - begin < 1
    assert {check.outcome for check in checks.values()} == {"ok"}


def test_nothing_is_touched_for_text_alone(tmp_path):
    text = replace(AUDIO, audio=False)
    assert check_clips([record("none", None)], text, tmp_path / "cache", num_workers=1)["set/test/none"].outcome == "ok"
    assert not (tmp_path / "cache").exists()


def test_a_killed_run_keeps_what_was_checked(tmp_path, monkeypatch, decoded):
    monkeypatch.setattr(clip_checks, "BATCH", 2)
    clips = [record(str(i), write_wav(tmp_path / f"{i}.wav", 0.1, i)) for i in range(6)]

    def stop(done: int) -> None:
        if len(decoded) > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_clips(clips, AUDIO, tmp_path / "cache", num_workers=1, progress=stop)
    decoded.clear()
    check_clips(clips, AUDIO, tmp_path / "cache", num_workers=1)
    assert len(decoded) == 2, "the last two"


def test_an_interrupt_does_not_wait_for_what_has_not_begun(tmp_path):
    clips = [record(str(i), write_wav(tmp_path / f"{i}.wav", 0.1, i)) for i in range(100)]

    def slowly(clip: Record, digest: str | None) -> media.Clip:
        time.sleep(0.1)
        return decode(clip.media, AUDIO)

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    begin = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        check_clips(clips, AUDIO, tmp_path / "cache", num_workers=1, progress=stop, take=slowly)
    assert time.perf_counter() - begin < 2, "all hundred would take ten seconds"


def test_a_damaged_database(tmp_path, records):
    (tmp_path / "clips.sqlite").write_bytes(b"this is no database at all, but long enough to be read as one" * 100)
    with pytest.raises(DataError, match=r"clips\.sqlite is damaged .*delete it"):
        check_clips(records, AUDIO, tmp_path, num_workers=1)


def test_a_database_of_something_else(tmp_path, records):
    with sqlite3.connect(tmp_path / "clips.sqlite") as other:
        other.execute("CREATE TABLE versions (name TEXT)")
    with pytest.raises(DataError, match=r"clips\.sqlite is damaged \(no such column.*delete it"):
        check_clips(records, AUDIO, tmp_path, num_workers=1)


def test_a_folder_that_cannot_be_made(tmp_path, records):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/cache cannot be made .*cache_root="):
        check_clips(records, AUDIO, tmp_path / "file" / "cache", num_workers=1)


def test_a_database_that_cannot_be_written(tmp_path, records, monkeypatch):
    # The superuser can write everywhere, so SQLite is asked for a connection that only reads.
    check_clips([], AUDIO, tmp_path, num_workers=1)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file, **rest: connect(f"file:{file}?mode=ro", uri=True, **rest))
    with pytest.raises(DataError, match=r"cannot be written .*readonly database.*cache_root="):
        check_clips(records, AUDIO, tmp_path, num_workers=1)


def test_several_processes_at_once(tmp_path):
    for i in range(40):
        write_wav(tmp_path / f"{i}.wav", 0.1, i)
    program = (
        "import sys; from pathlib import Path; from affect.data.file_hashes import content_hashes;"
        "root = Path(sys.argv[1]);"
        "print(len(content_hashes(map(str, sorted(root.glob('*.wav'))), root / 'cache', num_workers=2)))"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate()[0] for process in running] == ["40\n"] * 2
    with sqlite3.connect(tmp_path / "cache" / "clips.sqlite") as database:
        assert database.execute("SELECT count(*), count(DISTINCT hash) FROM versions").fetchone() == (40, 40)


def test_what_two_processes_write_at_once_is_never_half_of_it(tmp_path):
    file = tmp_path / "notes.json"
    write_atomic(file, "0" * 50_000)

    def write(digit: str) -> None:
        for _ in range(200):
            write_atomic(file, digit * 50_000)

    writers = [multiprocessing.get_context("fork").Process(target=write, args=(digit,)) for digit in "12"]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        text = file.read_text()
        assert len(text) == 50_000 and len(set(text)) == 1
        seen.add(text[0])
    assert [writer.exitcode for writer in writers] == [0, 0] and seen & {"1", "2"}
    assert list(tmp_path.iterdir()) == [file]


def test_on_a_shared_file_system_every_machine_has_a_database_of_its_own(tmp_path, monkeypatch):
    shared, disk = tmp_path / "home of all", tmp_path / "home of all" / "scratch"
    mounts = tmp_path / "mountinfo"
    place = str(shared).replace(" ", "\\040")
    mounts.write_text(
        f"22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n30 22 0:40 / {place} rw - nfs4 server:/home rw,vers=4.2\n"
        f"31 30 8:2 / {place}/scratch rw - xfs /dev/sdb rw\n"
    )
    monkeypatch.setattr(database, "MOUNTS", mounts)
    monkeypatch.setattr("socket.gethostname", lambda: "node07.cluster")
    for folder, name in ((shared / "cache", "clips-node07_cluster"), (disk, "clips"), (tmp_path, "clips")):
        assert database.of_this_machine(folder / "clips.sqlite") == folder / f"{name}.sqlite"
    with database.opened(shared / "cache" / "clips.sqlite", "numbers (key)"):
        assert [path.name for path in (shared / "cache").glob("*.sqlite")] == ["clips-node07_cluster.sqlite"]


def test_who_makes_a_database_at_the_same_moment_is_waited_for(tmp_path, monkeypatch):
    """SQLite itself does not wait where two turn a new file into one of write-ahead logs."""
    tries = []

    class Hindered(sqlite3.Connection):
        def execute(self, sql, *rest):
            if "journal_mode" in sql:
                tries.append(sql)
                if len(tries) < 4:
                    error = sqlite3.OperationalError("database is locked")
                    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
                    raise error
            return super().execute(sql, *rest)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file, **how: connect(file, factory=Hindered, **how))
    with opened(tmp_path / "new.sqlite", "t (a TEXT)") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert len(tries) == 5
    monkeypatch.setattr("affect.data.database.PATIENCE", 0.0)
    tries.clear()
    with pytest.raises(DataError, match="has been in use by another process"), opened(tmp_path / "other.sqlite"):
        pass


def test_content_hashes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    path = str(tmp_path / "abc")
    # The example of FIPS 180-2, appendix B.1.
    assert content_hashes([path], tmp_path) == {
        path: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    }
    with pytest.raises(DataError, match="gone cannot be read"):
        content_hashes([str(tmp_path / "gone")], tmp_path)
