"""Clips for generated descriptions: one for each modality to be described, or the reason why there is none."""

from collections.abc import Sequence

from affect.config import DESCRIPTIONS
from affect.data.clips import ClipSource
from affect.data.media import Clip, MediaError, Sampling
from affect.data.record import Record


def clips(
    record: Record, modalities: Sequence[str], *, num_frames: int, frame_size: int, max_seconds: float, limit: str
) -> dict[str, Clip | str]:
    """By modality (keys of DESCRIPTIONS) the clip with the tracks to be described, or the sentence that says why there
    is none. `limit` is the key of the configuration that max_seconds comes from.

    Both tracks are decoded in one pass over the file. If that fails, each modality is tried alone, since a clip without
    a picture may have its sound.
    """
    if record.media is None:
        reason = f"{record.source or record.id}: the dataset has no file for {record.id}: give it its clip"
        return dict.fromkeys(modalities, reason)

    def attempt(asked: Sequence[str]) -> Clip:
        letters = "".join(DESCRIPTIONS[modality] for modality in asked)
        wanted = Sampling(
            audio="a" in letters,
            video="v" in letters,
            num_frames=num_frames,
            frame_size=frame_size,
            max_seconds=max_seconds,
        )
        return ClipSource().clip(record, wanted)

    try:
        return dict.fromkeys(modalities, attempt(modalities))
    except MediaError as error:
        if len(modalities) == 1:
            return {modalities[0]: _sentence(error, limit)}
    by_modality: dict[str, Clip | str] = {}
    for modality in modalities:
        try:
            by_modality[modality] = attempt([modality])
        except MediaError as error:
            by_modality[modality] = _sentence(error, limit)
    return by_modality


def _sentence(error: MediaError, limit: str) -> str:
    """The error with a generator's remedy: its limit is not that of the model that is trained."""
    if error.outcome == "too_long":
        return f"{error.path}: {error.detail}; raise {limit} or cut the clip"
    return str(error)
