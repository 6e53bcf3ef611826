"""On-disk cache of decoded clips.

Audio and video are kept in files of their own, so that runs with other modalities share what they have in common; the
waveform as the 16-bit integers it was computed from. An entry belongs to the content a file had when the run first
looked at it.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import av
import numpy as np
import torch

from affect.data.media import SAMPLING_RATE, VERSION, Clip, Picked, Sampling, decode
from affect.data.record import Record
from affect.data.tensor_store import GIGABYTE, TensorFiles

DECODING = [VERSION, av.__version__]
"""What the samples and pixels of a clip depend on beside the clip and what is asked of it."""


def open_files(cache_root: Path, gigabytes: float, say: Callable[[str], None]) -> TensorFiles | None:
    """The files of decoded clips under `cache_root`; None where nothing is to be kept."""
    loss = "further clips are decoded each time they are used (trainer.clip_cache_gb)"
    return TensorFiles(cache_root / "decoded", int(gigabytes * GIGABYTE), say, loss) if gigabytes else None


def take(files: TensorFiles, key: list, record: Record, wanted: Sampling) -> Clip:
    """The clip of `record`, decoded where it is not there. Raises MediaError."""
    if (kept := _kept(files, key, wanted)) is not None:
        return kept
    clip = decode(record.media, wanted, record.start, record.end, record.audio_track)
    known = {
        "seconds": torch.tensor(clip.seconds, dtype=torch.float64),
        "max_seconds": torch.tensor(wanted.max_seconds, dtype=torch.float64),
    }

    def notes(of_picture: bool) -> torch.Tensor:
        own = {note: text for note, text in clip.notes.items() if (note == "missing_video") == of_picture}
        return torch.tensor(list(json.dumps(own).encode()), dtype=torch.uint8)

    if clip.waveform is not None:
        samples = torch.from_numpy(np.rint(clip.waveform * 32768).astype(np.int16))
        files.put(_sound(key), {"samples": samples, "notes": notes(of_picture=False), **known})
    if clip.frames is not None:
        frames = torch.from_numpy(clip.frames)
        described = {"notes": notes(of_picture=True), **known, **_numbered(clip.picked)}
        files.put(_picture(key, wanted), {"frames": frames, **described})
    return clip


def _kept(files: TensorFiles, key: list, wanted: Sampling) -> Clip | None:
    sound = files.get(_sound(key)) if wanted.audio else None
    picture = files.get(_picture(key, wanted)) if wanted.video else None
    tracks = [track for track, asked in ((sound, wanted.audio), (picture, wanted.video)) if asked]
    # What was accepted under a lower limit is accepted under this one; a higher limit says nothing.
    if any(track is None or float(track["max_seconds"]) > wanted.max_seconds for track in tracks):
        return None
    return Clip(
        # 2**15, full scale of 16 bits, as in media.
        waveform=None if sound is None else sound["samples"].numpy().astype(np.float32) / 32768,
        frames=None if picture is None else picture["frames"].numpy(),
        seconds=float(tracks[0]["seconds"]),
        notes={note: text for track in tracks for note, text in json.loads(bytes(track["notes"].tolist())).items()},
        picked=None if picture is None or wanted.own is None else _picked(picture),
    )


def _numbered(picked: Picked | None) -> dict[str, torch.Tensor]:
    """What `_picked` reads."""
    if picked is None:
        return {}
    return {
        "indices": torch.tensor(picked.indices),
        "total": torch.tensor(picked.total),
        "rate": torch.tensor(picked.rate, dtype=torch.float64),
    }


def _picked(picture: Mapping[str, torch.Tensor]) -> Picked:
    indices = tuple(picture["indices"].tolist())
    return Picked(indices=indices, total=int(picture["total"]), rate=float(picture["rate"]))


def _sound(key: list) -> str:
    return json.dumps(["sound", *DECODING, *key, SAMPLING_RATE])


def _picture(key: list, wanted: Sampling) -> str:
    return json.dumps(["picture", *DECODING, *key, *of_picture(wanted)])


def of_picture(wanted: Sampling) -> list:
    """Which frames are taken of a clip and how large they are, for keys of caches."""
    return [wanted.num_frames, wanted.frame_size] if wanted.own is None else ["own", wanted.own.key]
