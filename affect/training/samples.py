"""Sample predictions with playable clips, shown beside a run's numbers."""

import hashlib
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from affect.config import Kind, Task
from affect.data import Prediction, Record
from affect.data.clips import ClipSource
from affect.data.media import SAMPLING_RATE, MediaError, Sampling

VIDEO = frozenset({".mp4", ".webm", ".ogg"})
"""What wandb.Video takes unconverted, except animated pictures."""
RIGHT_WITHIN = 0.1
"""Share of a task's range within which an intensity counts as right. For choosing samples only."""


def verdict(prediction: Prediction, task: Task, reader: str) -> str:
    """right, wrong, unlabelled, or the parsing outcome of an answer without a value."""
    value = getattr(prediction, reader)
    if value is None:
        return prediction.outcome if prediction.outcome != "valid" else f"not {reader}"
    if prediction.target is None:
        return "unlabelled"
    if task.kind is not Kind.intensity:
        return "right" if value == prediction.target else "wrong"
    assert task.low is not None and task.high is not None
    assert isinstance(value, int | float) and isinstance(prediction.target, int | float)
    return "right" if abs(value - prediction.target) <= RIGHT_WITHIN * (task.high - task.low) else "wrong"


def choose(
    predictions: Sequence[Prediction], tasks: Mapping[str, Task], reader: str, number: int
) -> list[tuple[Prediction, str]]:
    """At most `number` predictions with their verdict, as evenly as possible from the right, wrong, unreadable and
    unlabelled ones of every task. `tasks` is by `meld.emotion`. Every run prefers the same clips, so runs compare."""
    piles: dict[tuple[str, str], list[tuple[str, Prediction, str]]] = {}
    for prediction in predictions:
        name = f"{prediction.dataset}.{prediction.task}"
        outcome = verdict(prediction, tasks[name], reader)
        pile = outcome if outcome in ("right", "wrong", "unlabelled") else "unreadable"
        order = hashlib.sha256(prediction.id.encode()).hexdigest()
        piles.setdefault((pile, name), []).append((order, prediction, outcome))
    for pile in piles.values():
        pile.sort(key=lambda entry: entry[0], reverse=True)
    chosen: list[tuple[Prediction, str]] = []
    while len(chosen) < number and any(piles.values()):
        for key in sorted(piles):
            if piles[key] and len(chosen) < number:
                chosen.append(piles[key].pop()[1:])
    return chosen


def playable(record: Record, max_seconds: float, folder: Path) -> Path | None:
    """A file that a browser can play: the record's own where the clip is a whole video or wav file, otherwise its audio
    (mono, 16 kHz) written into `folder`. None where nothing can be decoded."""
    if record.media is None:
        return None
    path = Path(record.media)
    is_whole_file, suffix = record.part == [None, None], path.suffix.lower()

    def read(audio: bool) -> np.ndarray | None:
        sampling = Sampling(audio=audio, video=not audio, num_frames=1, frame_size=16, max_seconds=max_seconds)
        return ClipSource().clip(record, sampling).waveform

    try:
        if is_whole_file and suffix in VIDEO:
            try:
                read(audio=False)
                return path
            except MediaError as error:
                if error.outcome != "no_video":  # otherwise the container may hold audio alone
                    return None
        waveform = read(audio=True)
    except MediaError:
        return None
    if is_whole_file and suffix == ".wav":
        return path
    assert waveform is not None
    cut = folder / f"{hashlib.sha256(record.id.encode()).hexdigest()[:16]}.wav"
    with wave.open(str(cut), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_RATE)
        file.writeframes(np.clip(waveform * 32768, -32768, 32767).astype("<i2").tobytes())  # full scale of 16 bits
    return cut


def described(prediction: Prediction) -> str | None:
    """The generated text, or the labels' log-likelihoods in nats, best first, or the error."""
    if prediction.answer is not None:
        return prediction.answer
    if prediction.scores is not None:
        best_first = sorted(prediction.scores.items(), key=lambda item: -item[1])
        return ", ".join(f"{label} {score:.2f}" for label, score in best_first)
    return prediction.error
