"""Whether the end of the sound gives away the label of humour and sarcasm: audiences laugh after a joke.

Two measures of the last second of each clip: how well a linear model tells the label from its sound, tested on groups
that it was not fitted on, and how well the time of audience noise in it does by itself.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import webrtcvad
from scipy.stats import mannwhitneyu
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from affect.config import DatasetConfig, Kind, Task
from affect.data.audit.clips import MAX_SECONDS
from affect.data.clip_checks import measure_clips
from affect.data.clips import ClipSource
from affect.data.cues import acoustic
from affect.data.facts import Finding, Records, Severity
from affect.data.media import SAMPLING_RATE, MediaError, Sampling
from affect.data.media import VERSION as DECODE_VERSION
from affect.data.record import Record

VERSION = 1
"""Raise it when clips are measured differently: cached measurements are then not used."""

TASKS = ("humour", "humor", "sarcasm")
"""Names of the tasks whose clips an audience may laugh at."""

TAIL_SECONDS = 1.0

LEAST_NOISE = 0.3
"""Seconds that sound without a voice has to last to count as audience noise. Fricatives and breaths are shorter."""

STRICT = 3
"""Mode of WebRTC's detector that takes the least for sound."""

FOLDS = 5
LEAST_CLIPS = 25
"""Of each label; an area under the curve of fewer has a standard error of 0.08 and more."""

LEAK_AREA, LEAK_P = 0.6, 0.001
"""An area under the curve that is reported as a leak, where chance (one-sided Mann-Whitney test, as if clips were
independent) has a smaller probability than this."""

SOUND = Sampling(audio=True, video=False, num_frames=1, frame_size=1, max_seconds=MAX_SECONDS)


def sound_of_end(waveform: np.ndarray) -> list[float]:
    """Features of the last TAIL_SECONDS of float32[samples], from them alone: mean, spread, maximum and last quarter of
    the level (dBFS), share of voiced frames, and means of brightness (dB) and of the height of the pitch's peak."""
    tail = waveform[-round(TAIL_SECONDS * SAMPLING_RATE) :]
    levels = acoustic.frame_levels(tail)
    pitch, strength, tilt = acoustic.pitch_track(tail)
    ends = levels[-max(1, len(levels) // 4) :]
    numbers = (levels.mean(), levels.std(), levels.max(), ends.mean(), (pitch > 0).mean(), tilt.mean(), strength.mean())
    return [float(number) for number in numbers]


def audience_noise(waveform: np.ndarray) -> float:
    """Seconds of the last TAIL_SECONDS of float32[samples] in which there is sound without a voice, for at least
    LEAST_NOISE at a stretch: laughter and applause of many people have no pitch.

    What is sound is told by WebRTC's voice activity detector, which goes by the background and takes applause for
    speech; what is a voice, by the pitch (affect.data.cues.acoustic).
    """
    detector = webrtcvad.Vad(STRICT)
    samples = np.clip(np.rint(waveform * 32768), -32768, 32767).astype("<i2")
    hop = acoustic.HOP  # 10 ms, which the detector takes
    pieces = [samples[at : at + hop].tobytes() for at in range(0, len(samples) - hop + 1, hop)]
    sound = np.array([detector.is_speech(piece, SAMPLING_RATE) for piece in pieces], dtype=bool)
    frames = min(len(sound), round(TAIL_SECONDS * SAMPLING_RATE / hop))
    # A tenth of a second more, so that the first frames of the tail have what is before them.
    before = min(len(sound), frames + 10)
    pitch, _, _ = acoustic.pitch_track(waveform[(len(sound) - before) * hop : len(sound) * hop])
    noise = sound[len(sound) - frames :] & (pitch[before - frames : before] == 0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], noise.astype(np.int8), [0]])))
    stretches = (edges[1::2] - edges[::2]) * hop / SAMPLING_RATE
    return float(stretches[stretches >= LEAST_NOISE].sum())


def laughter(
    by_split: Records,
    config: DatasetConfig,
    audible: Collection[str],
    cache_root: Path,
    *,
    num_workers: int,
) -> Iterator[Finding]:
    """A finding for each task of humour or sarcasm with two labels: a warning where the end of the sound gives the
    label away, otherwise a note. `audible` are the ids of the clips whose sound can be decoded; they are measured once,
    and the measurements are kept under `cache_root`."""
    tasks = [config.task_definitions[name] for name in config.tasks if name in TASKS]
    tasks = [task for task in tasks if task.kind is Kind.classification and len(task.labels) == 2]
    ids = set(audible)
    records = [record for record in chain(*by_split.values()) if record.id in ids]
    if not tasks or not records:
        return
    name = f"laughter {VERSION} {acoustic.VERSION} {DECODE_VERSION}"
    rows = measure_clips(records, name, _measured, cache_root, num_workers=num_workers)
    measured = {record.id: json.loads(text) for record, _, text in rows}
    for task in tasks:
        labelled = [r for r in records if task.name in r.labels and measured[r.id] is not None]
        yield _finding(task, labelled, measured)


def _measured(record: Record) -> tuple[str, bool]:
    try:
        waveform = ClipSource().clip(record, SOUND).waveform
    except MediaError:  # the audit says so elsewhere
        return "null", False
    return json.dumps({"end": sound_of_end(waveform), "noise": audience_noise(waveform)}), True


def _finding(task: Task, records: Sequence[Record], measured: Mapping[str, Mapping]) -> Finding:
    first, second = task.labels
    gold = np.array([record.labels[task.name] == first for record in records], dtype=bool)
    groups = np.array([record.group for record in records])
    sides = gold, ~gold
    if min(side.sum() for side in sides) < LEAST_CLIPS or min(len(set(groups[side])) for side in sides) < FOLDS:
        return Finding(
            severity=Severity.note,
            what=f"{task.name}: whether the end of the sound gives it away is not measured, which takes {LEAST_CLIPS}"
            f" clips of each label in {FOLDS} groups",
            count=len(records),
            remedy="listen for laughter at the end of clips",
        )
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    sound = cross_val_predict(
        model,
        np.array([measured[record.id]["end"] for record in records]),
        gold,
        groups=groups,
        cv=StratifiedGroupKFold(FOLDS),
        method="decision_function",
    )
    noise = np.array([measured[record.id]["noise"] for record in records])
    more = first if noise[gold].mean() >= noise[~gold].mean() else second
    areas = {"sound": _area(gold, sound), "noise": _area(gold if more == first else ~gold, noise)}
    leaks = any(area >= LEAK_AREA and p < LEAK_P for area, p in areas.values())
    heard = [record.id for record in records if measured[record.id]["noise"] > 0]
    return Finding(
        severity=Severity.warning if leaks else Severity.note,
        what=f"{task.name}: the last {TAIL_SECONDS:g} s of the sound {'gives' if leaks else 'does not give'} the label"
        f" away: from it alone {first} and {second} are told apart with an area under the curve of"
        f" {areas['sound'][0]:.2f} ({FOLDS} folds by group), by audience noise in it with {areas['noise'][0]:.2f}"
        f" (0.5 is chance); audience noise is heard in {len(heard):,} of {len(records):,} clips",
        count=len(heard),
        remedy="listen whether it is laughter, and say what models score without it: python evaluate.py run=…"
        f" intervention=cut_tail intervention.seconds={TAIL_SECONDS:g}"
        if leaks
        else "none",
        ids=tuple(heard) if leaks else (),
    )


def _area(gold: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Area under the ROC curve of bool[N] and float[N], and the probability that chance gives as large a one."""
    test = mannwhitneyu(values[gold], values[~gold], alternative="greater")
    return float(roc_auc_score(gold, values)), float(test.pvalue)
