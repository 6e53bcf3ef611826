"""The demo corpus: small synthetic talking faces, made on first use, for trying and testing the whole pipeline.

It is synthetic. Nobody said these lines, the voices are sums of harmonics and the faces are drawn. A score on it says
that the tool works and how much of what is there was found; no statement about people, or about how good a model is at
reading them, can be drawn from it.

What makes it useful is that the best possible score is known. Every clip has a hidden state: an emotion, a valence and
whether it is humorous. It is drawn as p(emotion) p(valence | emotion) p(humour | emotion). Each modality then *shows* a
state: with probability `reveal` the hidden one, otherwise one drawn independently of it, which is mostly a composed one
(neutral) and sometimes any (a misleading smile). Whether a modality reveals cannot be seen, so several modalities have
to be weighed against each other. With reveal 0 a modality carries no information at all. From the shown states alone
follow the exact posterior and with it the best predictions on the very clips of the test split, for every subset of
modalities; they are written to `best_possible.json` before anything is trained.

    python -m affect.corpus --root outputs/demo --reveal-text 0.4

On disk:

    demo/
      settings.json        settings and version of the generator
      index.csv            id,split,speaker,clip,text,sentiment,emotion,humour
      clips/train_0001.mp4 …
      best_possible.json   best possible scores, by modalities, task and metric
      hidden.csv           the hidden and the shown states; no model may see them
      README.txt
"""

import argparse
import csv
import json
import math
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from affect.datasets.demo import VERSION
from affect.media import SAMPLING_RATE, write_clip
from affect.record import SPLITS, DataError

MODALITIES = {"t": "text", "a": "audio", "v": "video"}
SUBSETS = ("", "t", "a", "v", "ta", "tv", "av", "tav")
CLIPS_PER_SPEAKER = 12
"""About this many; a speaker is in one split only."""

FRAME_SIZE = 96
FPS = 8
SECONDS = (2.0, 3.0)
"""Range of the clips' durations: what a small model can afford on a laptop, and enough for about eight syllables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the corpus depends on. Changing one number leaves every draw that does not depend on it as it was."""

    seed: int = 17
    """Of the seeds 0 to 29, the one whose 120 test clips have best possible scores closest to those of 8,000 clips."""
    reveal_text: float = 0.6
    """Probability that the words show the hidden state."""
    reveal_audio: float = 0.5
    """Probability that the voice shows the hidden state."""
    reveal_video: float = 0.4
    """Probability that the face shows the hidden state."""
    composure: float = 0.9
    """Of the states shown instead of the hidden one, the share that is neutral; the others are drawn as hidden ones
    are."""
    num_train: int = 200
    num_val: int = 40
    num_test: int = 120

    def __post_init__(self) -> None:
        for name in ("reveal_text", "reveal_audio", "reveal_video", "composure"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise DataError(f"the demo corpus' {name} is {value}: it is a probability, give 0 to 1")
        for name in ("num_train", "num_val", "num_test"):
            if getattr(self, name) < 1:
                raise DataError(f"the demo corpus' {name} is {getattr(self, name)}: give at least 1")
        if self.seed < 0:
            raise DataError(f"the demo corpus' seed is {self.seed}: give 0 or more")


# ---------------------------------------------------------------------------------------------------------------------
# The generative model. A state is one number: emotion, valence and humour together.


@dataclass(frozen=True, slots=True)
class Emotion:
    """An emotion's prior, and how it sounds and looks at its plainest. Directions follow what is reported of acted
    emotion (Scherer 2003, doi 10.1016/S0167-6393(02)00084-5; Ekman's action units); sizes are exaggerated, so that a
    few hundred clips teach them."""

    prior: float
    valence: float
    """Mean of the valence in [-3, 3]."""
    spread: float
    """Standard deviation of the valence."""
    humorous: float
    """Probability that it is said in jest."""
    pitch: float
    """Semitones above the speaker's own."""
    glide: float
    """Semitones from the beginning of the clip to its end."""
    accent: float
    """Semitones of every syllable's rise and fall."""
    level: float
    """Loudness, dB."""
    rate: float
    """Syllables per second."""
    tilt: float
    """Harmonic k has amplitude k ** -tilt: small is bright and tense."""
    rough: float
    """Depth in [0, 1] of the amplitude modulation that makes a voice harsh or creaky."""
    brow_slant: float
    """Inner ends of the brows: 1 down (frown), -1 up."""
    brow_lift: float
    """1 is high."""
    eyes: float
    """Opening of the eyes; 1 is wide."""
    mouth: float
    """Opening of the mouth; 1 is wide."""
    lips: float
    """Width of the mouth; 1 is at rest."""
    sneer: float
    """Asymmetry: one brow up and the mouth drawn to its side."""


EMOTIONS = {
    "neutral": Emotion(0.34, 0.0, 0.6, 0.20, 0, -1, 0.5, -6, 4.0, 1.6, 0.0, 0.0, 0.0, 0.6, 0.15, 1.0, 0.0),
    "joy": Emotion(0.22, 2.0, 0.6, 0.60, 5, 0, 4.0, -3, 5.5, 1.2, 0.0, -0.1, 0.3, 0.4, 0.55, 1.35, 0.0),
    "sadness": Emotion(0.16, -1.5, 0.7, 0.10, -3, -5, 0.3, -13, 2.4, 2.3, 0.0, -1.0, 0.0, 0.3, 0.05, 0.75, 0.0),
    "anger": Emotion(0.13, -2.0, 0.6, 0.15, 2, -2, 1.5, 0, 6.0, 0.7, 0.6, 1.0, -0.4, 0.8, 0.40, 1.1, 0.0),
    "surprise": Emotion(0.09, 0.5, 1.0, 0.50, 7, 8, 2.0, -4, 3.2, 1.3, 0.0, -0.1, 1.0, 1.2, 1.00, 0.6, 0.0),
    "disgust": Emotion(0.06, -1.0, 0.6, 0.20, -6, -2, 1.0, -8, 2.8, 1.0, 0.9, 0.4, 0.0, 0.35, 0.15, 0.9, 1.0),
}
VALENCES = np.arange(-3.0, 3.01, 0.5)
HUMOUR = ("serious", "humorous")

EMOTION_OF, VALENCE_OF, HUMOUR_OF = (
    axis.ravel() for axis in np.meshgrid(range(len(EMOTIONS)), range(len(VALENCES)), range(len(HUMOUR)), indexing="ij")
)
"""By state, the index of its emotion, valence and humour."""


def _state_prior() -> np.ndarray:
    """float64[states]"""
    columns = np.array([(e.prior, e.valence, e.spread, e.humorous) for e in EMOTIONS.values()]).T
    prior, mean, spread, humorous = (column[:, None] for column in columns)
    valence = np.exp(-0.5 * ((VALENCES - mean) / spread) ** 2)
    valence /= valence.sum(axis=1, keepdims=True)
    joint = (prior * valence)[:, :, None] * np.concatenate([1 - humorous, humorous], axis=1)[:, None, :]
    return joint.ravel()


PRIOR = _state_prior()
"""float64[states], sums to 1."""


def decoys(settings: Settings) -> np.ndarray:
    """float64[states]: probability of each state being shown by a modality that does not reveal the hidden one."""
    composed = np.where(EMOTION_OF == 0, PRIOR, 0)
    return settings.composure * composed / composed.sum() + (1 - settings.composure) * PRIOR


def reveals(settings: Settings) -> dict[str, float]:
    return {letter: getattr(settings, f"reveal_{name}") for letter, name in MODALITIES.items()}


def posterior(shown: dict[str, np.ndarray], settings: Settings) -> np.ndarray:
    """float64[clips, states]: probability of the hidden state given the states that some modalities show.

    Given the hidden state z the modalities are independent, and p(s | z) = reveal 1[s = z] + (1 - reveal) decoy(s).

    shown: by letter of the modality, int[clips].
    """
    num_clips = len(next(iter(shown.values())))
    table = np.tile(PRIOR, (num_clips, 1))
    reveal, decoy = reveals(settings), decoys(settings)
    for letter, states in shown.items():
        likelihood = np.repeat(((1 - reveal[letter]) * decoy[states])[:, None], PRIOR.size, axis=1)
        likelihood[np.arange(num_clips), states] += reveal[letter]
        table *= likelihood
    return table / table.sum(axis=1, keepdims=True)


def best_possible(hidden: np.ndarray, shown: dict[str, np.ndarray], settings: Settings) -> dict[str, dict]:
    """The scores of the Bayes-optimal predictions on these very clips: by task, metric and subset of modalities.

    The class with the largest posterior is best for accuracy (weighted F1 is that of the same predictions), the
    posterior's median for MAE, its mean for Pearson's r. The subset "" knows the prior alone: the majority class, and
    no r.

    hidden: int[clips]; shown: by letter, int[clips].
    """
    scores: dict[str, dict] = {
        "emotion": {"accuracy": {}, "weighted_f1": {}},
        "humour": {"accuracy": {}, "weighted_f1": {}},
        "sentiment": {"mae": {}, "pearson": {}},
    }
    for subset in SUBSETS:
        known = {letter: shown[letter] for letter in subset}
        belief = posterior(known, settings) if known else np.tile(PRIOR, (hidden.size, 1))
        for task, of in (("emotion", EMOTION_OF), ("humour", HUMOUR_OF)):
            predicted = np.stack([belief[:, of == i].sum(axis=1) for i in range(of.max() + 1)], axis=1).argmax(axis=1)
            scores[task]["accuracy"][subset] = float(np.mean(predicted == of[hidden]))
            scores[task]["weighted_f1"][subset] = _weighted_f1(predicted, of[hidden])
        by_valence = np.stack([belief[:, i == VALENCE_OF].sum(axis=1) for i in range(VALENCES.size)], axis=1)
        truth = VALENCES[VALENCE_OF[hidden]]
        median = VALENCES[(by_valence.cumsum(axis=1) >= 0.5).argmax(axis=1)]
        scores["sentiment"]["mae"][subset] = float(np.mean(np.abs(median - truth)))
        mean = by_valence @ VALENCES
        varies = mean.std() > 1e-9 and truth.std() > 0  # below is rounding of a constant
        scores["sentiment"]["pearson"][subset] = float(np.corrcoef(mean, truth)[0, 1]) if varies else None
    return scores


def _weighted_f1(predicted: np.ndarray, truth: np.ndarray) -> float:
    """F1 of each class, weighted by its number of true clips."""
    total = 0.0
    for label in np.unique(truth):
        hits = np.sum((predicted == label) & (truth == label))
        total += np.sum(truth == label) * 2 * hits / (np.sum(predicted == label) + np.sum(truth == label))
    return float(total / truth.size)


# ---------------------------------------------------------------------------------------------------------------------
# Drawing the clips' states.


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One clip before it is rendered."""

    split: str
    number: int
    """From 1 within the split."""
    speaker: int
    """Unique over all splits."""
    hidden: int
    shown: dict[str, int]
    """State by letter of the modality."""

    @property
    def id(self) -> str:
        return f"demo/{self.split}/{self.number:04d}"

    @property
    def clip(self) -> str:
        return f"clips/{self.split}_{self.number:04d}.mp4"


STREAMS = ("hidden", "t reveals", "t decoy", "a reveals", "a decoy", "v reveals", "v decoy", "seconds", "t", "a", "v")
"""Every kind of draw has random numbers of its own, so that changing one setting does not reshuffle the others."""


def _random(settings: Settings, line_key: tuple[str, int], stream: str) -> np.random.Generator:
    split, number = line_key
    return np.random.default_rng([settings.seed, SPLITS.index(split), number, STREAMS.index(stream)])


def lines(settings: Settings) -> Iterator[Line]:
    """All clips of the corpus with their hidden and shown states."""
    decoy = decoys(settings)
    first_speaker = 0
    for split in SPLITS:
        num_clips = getattr(settings, f"num_{split}")
        num_speakers = max(1, round(num_clips / CLIPS_PER_SPEAKER))
        for number in range(1, num_clips + 1):
            key = (split, number)
            hidden = int(_random(settings, key, "hidden").choice(PRIOR.size, p=PRIOR))
            shown = {}
            for letter, reveal in reveals(settings).items():
                revealed = _random(settings, key, f"{letter} reveals").random() < reveal
                other = int(_random(settings, key, f"{letter} decoy").choice(PRIOR.size, p=decoy))
                shown[letter] = hidden if revealed else other
            speaker = first_speaker + number % num_speakers
            yield Line(split=split, number=number, speaker=speaker, hidden=hidden, shown=shown)
        first_speaker += num_speakers


# ---------------------------------------------------------------------------------------------------------------------
# Text.

TOPICS = (
    *("the train", "my exam", "that dinner", "the meeting", "our trip", "the new flat", "the film", "my old job"),
    *("the party", "the game", "this phone", "the weather", "my sister", "the letter", "the concert", "that course"),
)
CLAUSES = {
    "neutral": ("I went over {}", "I read about {}", "we talked about {}", "this is about {}"),
    "joy": ("{} made me so happy", "I really love {}", "I am delighted with {}", "I enjoyed {} so much"),
    "sadness": ("{} made me so sad", "I cried over {}", "I feel lonely after {}", "I deeply miss {}"),
    "anger": ("{} made me so angry", "I am furious about {}", "I shouted about {}", "I really hate {}"),
    "surprise": ("wow, I never expected {}", "I am amazed by {}", "suddenly there was {}", "{} came as a shock"),
    "disgust": ("{} made me sick", "I am disgusted by {}", "yuck, I find {} gross", "{} was simply revolting"),
}
VERDICTS = (
    *("unbearable", "horrible", "awful", "bad", "poor", "weak"),
    "okay",
    *("fine", "decent", "good", "great", "wonderful", "perfect"),
)
"""One word by valence."""
TAGS = {"serious": ("I mean it", "that is all", "seriously"), "humorous": ("haha", "just kidding", "what a joke")}


def render_text(state: int, random: np.random.Generator) -> str:
    """A line of 6 to 12 words whose clause tells the emotion, whose verdict the valence and whose tag the humour."""
    clause = random.choice(CLAUSES[list(EMOTIONS)[EMOTION_OF[state]]]).format(random.choice(TOPICS))
    tag = random.choice(TAGS[HUMOUR[HUMOUR_OF[state]]])
    return f"{clause[0].upper()}{clause[1:]}, {VERDICTS[VALENCE_OF[state]]}, {tag}."


# ---------------------------------------------------------------------------------------------------------------------
# Voice: the source-filter model, harmonics of a glottal pulse through three formants.


def _syllables(seconds: float, rate: float, random: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Beginning and duration of each syllable in seconds, with a pause after every few."""
    time, until_pause = 0.1, random.integers(3, 6)
    while time + 0.75 / rate < seconds - 0.05:
        duration = 0.75 / rate * random.uniform(0.85, 1.15)
        yield time, duration
        time += duration + 0.25 / rate
        until_pause -= 1
        if until_pause == 0:
            time += random.uniform(0.12, 0.25)
            until_pause = random.integers(3, 6)


def render_voice(state: int, seconds: float, speaker: np.random.Generator, random: np.random.Generator) -> np.ndarray:
    """float32[samples], mono, SAMPLING_RATE. Prosody tells the emotion, the second formant the valence (spread lips
    raise it, as in a smile), and laughter at the end the humour.

    speaker: gives the traits that stay the same over a speaker's clips.
    """
    emotion = list(EMOTIONS.values())[EMOTION_OF[state]]
    valence = VALENCES[VALENCE_OF[state]]
    own_pitch = 105 * 2 ** speaker.uniform(0, 1)  # Hz: low men's to high women's voices
    tract = speaker.uniform(0.92, 1.08)  # shorter vocal tracts have higher formants
    count = round(seconds * SAMPLING_RATE)
    time = np.arange(count) / SAMPLING_RATE
    laughs = HUMOUR[HUMOUR_OF[state]] == "humorous"
    laughter = seconds - 0.8  # seconds; the last 0.8 hold five bursts of laughter at a usual 6 or 7 Hz

    semitones = emotion.pitch + emotion.glide * (time / seconds - 0.5)
    envelope = np.zeros(count)
    formants = np.tile([[500.0], [1500.0], [2500.0]], (1, count))  # Hz, a vowel in the middle of the mouth
    parts = [(at, length, False) for at, length in _syllables(laughter if laughs else seconds, emotion.rate, random)]
    if laughs:
        parts += [(laughter + 0.15 * i, 0.09, True) for i in range(5)]
    for at, length, laugh in parts:
        inside = (time >= at) & (time < at + length)
        phase = (time[inside] - at) / length
        envelope[inside] = np.sin(np.pi * phase) ** 0.7 * random.uniform(0.85, 1.0)
        semitones[inside] += 5 * (1 - phase) if laugh else emotion.accent * np.sin(np.pi * phase)
        formants[0, inside] = 800 if laugh else random.uniform(350, 700)
        formants[1, inside] = 1500 * (1 + 0.12 * valence) * random.uniform(0.96, 1.04)
    formants *= tract

    pitch = own_pitch * 2 ** ((semitones + random.normal(0, 0.5)) / 12)
    turn = np.exp(2j * np.pi * np.cumsum(pitch) / SAMPLING_RATE)
    harmonic = np.ones(count, dtype=complex)
    # Resonances are slow: a value per millisecond is enough, and takes a tenth of the time.
    slow_pitch, slow_formants = pitch[::16], formants[:, ::16]
    voice = np.zeros(count)
    for k in range(1, int(0.45 * SAMPLING_RATE / pitch.max()) + 1):
        harmonic *= turn
        gain = np.full(slow_pitch.shape, 0.05)  # added, so that the harmonics between the resonances stay audible
        for weight, centre in zip((1, 0.8, 0.4), slow_formants, strict=True):
            gain += weight / (1 + ((k * slow_pitch - centre) / 120) ** 2)  # 120 Hz wide
        voice += np.repeat(gain * k**-emotion.tilt, 16)[:count] * harmonic.imag
    if emotion.rough:
        voice *= 1 - emotion.rough * (0.5 + 0.5 * np.sin(2 * np.pi * 35 * time))  # Hz: heard as harshness, not as notes
    voice *= envelope
    loudness = 10 ** ((emotion.level + random.normal(0, 1)) / 20)
    voice *= 0.1 * loudness / np.sqrt(np.mean(voice**2))
    return np.clip(voice + random.normal(0, 0.003, count), -1, 1).astype(np.float32)


# ---------------------------------------------------------------------------------------------------------------------
# Face: shapes with soft edges, in units of FRAME_SIZE around the middle of the head.


def _paint(picture: np.ndarray, distance: np.ndarray, colour: np.ndarray) -> None:
    """Covers float32[height, width, 3] where `distance` (pixels, negative inside) says; edges are one pixel soft."""
    covered = np.flatnonzero((distance < 0.5).any(axis=1))
    rows = slice(covered[0], covered[-1] + 1)  # most shapes are a few rows high
    picture, distance = picture[rows], distance[rows]
    cover = np.clip(0.5 - distance, 0, 1)[:, :, None]
    picture += cover * (colour.astype(np.float32) - picture)


def _ellipse(x: np.ndarray, y: np.ndarray, cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    return (np.hypot((x - cx) / rx, (y - cy) / ry) - 1) * min(rx, ry)


def render_face(state: int, num_frames: int, speaker: np.random.Generator, random: np.random.Generator) -> np.ndarray:
    """uint8[num_frames, FRAME_SIZE, FRAME_SIZE, 3], RGB. Brows, eyes and the opening of the mouth tell the emotion, the
    mouth's curvature the valence, a wink the humour."""
    emotion = list(EMOTIONS.values())[EMOTION_OF[state]]
    valence = float(VALENCES[VALENCE_OF[state]])
    winks = HUMOUR[HUMOUR_OF[state]] == "humorous"
    skin = np.array([230, 190, 160]) * speaker.uniform(0.75, 1.05) + speaker.uniform(-10, 10, 3)
    hair = speaker.uniform(20, 140, 3) * [1, 0.8, 0.6]
    background = speaker.uniform(90, 150, 3)
    head_x, head_y = float(speaker.uniform(27, 31)), float(speaker.uniform(36, 40))
    dark, white = np.array([30, 25, 25]), np.array([245, 245, 245])

    across, down = np.meshgrid(np.arange(FRAME_SIZE, dtype=np.float32), np.arange(FRAME_SIZE, dtype=np.float32))
    # Plain numbers: one numpy scalar would make every array below twice as large.
    middle = (FRAME_SIZE / 2 + random.uniform(-2, 2, 2)).tolist()
    sway, speed, talk = random.uniform(0, 2 * np.pi, 3).tolist()
    slant, lift, curve = 5 * emotion.brow_slant, 7 * emotion.brow_lift, 7 * valence / 3
    frames = np.empty((num_frames, FRAME_SIZE, FRAME_SIZE, 3), dtype=np.uint8)
    for i in range(num_frames):
        time = i / FPS
        x = across - middle[0] - 1.2 * math.sin(2 * math.pi * (0.3 + 0.05 * speed) * time + sway)
        y = down - middle[1] - 0.8 * math.cos(2 * math.pi * 0.4 * time + sway)
        # The lips move in a rhythm of their own: in that of the voice the picture would tell what the voice shows.
        opening = (
            1.5 + 9 * emotion.mouth * (0.7 + 0.3 * math.sin(2 * math.pi * 2.3 * time + talk)) + random.uniform(0, 0.8)
        )
        picture = np.tile(background.astype(np.float32), (FRAME_SIZE, FRAME_SIZE, 1))
        _paint(picture, _ellipse(x, y, 0, -5, head_x + 2.5, head_y + 1), hair)
        _paint(picture, _ellipse(x, y, 0, 3, head_x, head_y - 3), skin)
        _paint(picture, _ellipse(x, y, 0, 6, 3, 4), skin * 0.8)
        for side in (-1, 1):
            closed = winks and side == 1
            height = 0.8 if closed else 0.8 + 5.5 * emotion.eyes
            _paint(picture, _ellipse(x, y, 11 * side, -7, 7, height), dark if closed else white)
            if not closed:
                _paint(picture, _ellipse(x, y, 11 * side, -7, 2.8, min(2.8, height)), dark)
            raised = lift + 5 * emotion.sneer * side
            along = np.clip((x * side - 11) / 7, -1, 1)  # -1 is the inner end of the brow
            ridge = -16 - raised - slant * along
            _paint(picture, np.hypot(x - side * (11 + 7 * along), y - ridge) - 2.3, dark)
        width = 12 * emotion.lips
        along = np.clip((x - 4 * emotion.sneer) / width, -1, 1)
        lips = 21 + curve * (0.4 - along**2) - 3 * emotion.sneer * along
        half = 0.6 + opening / 2 * (1 - along**2)
        _paint(
            picture, np.hypot(x - 4 * emotion.sneer - width * along, np.maximum(np.abs(y - lips) - half, 0)) - 0.9, dark
        )
        picture += 3 * random.standard_normal(picture.shape, dtype=np.float32)
        frames[i] = np.clip(picture, 0, 255)
    return frames


# ---------------------------------------------------------------------------------------------------------------------
# The corpus on disk.


def _render(line: Line, settings: Settings, root: Path) -> None:
    key = (line.split, line.number)
    seconds = round(_random(settings, key, "seconds").uniform(*SECONDS) * FPS) / FPS
    # The same traits in every clip of a speaker, from numbers of their own: 3 and 4 follow the indices of the splits.
    face, throat = (np.random.default_rng([settings.seed, len(SPLITS) + i, line.speaker]) for i in range(2))
    write_clip(
        root / line.clip,
        frames=render_face(line.shown["v"], round(seconds * FPS), face, _random(settings, key, "v")),
        fps=FPS,
        waveform=render_voice(line.shown["a"], seconds, throat, _random(settings, key, "a")),
        sampling_rate=SAMPLING_RATE,
    )


def generate(root: Path, settings: Settings) -> None:
    """Makes the corpus in `root`, which appears only when it is whole; nobody's half-made corpus is ever read.

    Of two processes that make it at once, one wins and the other throws its own away. Raises DataError where the folder
    is in use or cannot be written.
    """
    root = Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(f"{root} exists already: delete it to make the demo corpus anew, or give another root")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{root.name}.", dir=root.parent, ignore_cleanup_errors=True
        ) as folder:
            unfinished = Path(folder) / root.name
            (unfinished / "clips").mkdir(parents=True)
            _write(unfinished, list(lines(settings)), settings)
            try:
                os.replace(unfinished, root)
            except OSError:
                # A folder with something in it cannot be replaced: another process was faster.
                if not (root / "settings.json").exists():
                    raise
    except OSError as error:
        raise DataError(
            f"the demo corpus cannot be written to {root} ({error.strerror or error}): make room there, or give"
            " a folder that can be written with datasets.demo.root=…"
        ) from error


def _write(root: Path, corpus: list[Line], settings: Settings) -> None:
    console, title = Console(stderr=True), "making the demo corpus"
    # Threads, since drawing and encoding leave the interpreter's lock most of the time, and starting processes would
    # cost more than they save.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rendered = pool.map(lambda line: _render(line, settings, root), corpus)
        try:
            for _ in track(
                rendered, title, len(corpus), console=console, transient=True, disable=not console.is_terminal
            ):
                pass
        except BaseException:  # Ctrl-C too: what has not begun is not begun
            pool.shutdown(cancel_futures=True)
            raise

    names = list(EMOTIONS)
    with open(root / "index.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "split", "speaker", "clip", "text", "sentiment", "emotion", "humour"))
        for line in corpus:
            text = render_text(line.shown["t"], _random(settings, (line.split, line.number), "t"))
            labels = VALENCES[VALENCE_OF[line.hidden]], names[EMOTION_OF[line.hidden]], HUMOUR[HUMOUR_OF[line.hidden]]
            rows.writerow((line.id, line.split, f"speaker{line.speaker:02d}", line.clip, text, *labels))
    with open(root / "hidden.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        states = ("hidden", *MODALITIES.values())
        rows.writerow(("id", *(f"{name}_{part}" for name in states for part in ("emotion", "valence", "humour"))))
        for line in corpus:
            cells: list[object] = [line.id]
            for state in (line.hidden, *line.shown.values()):
                cells += [names[EMOTION_OF[state]], VALENCES[VALENCE_OF[state]], HUMOUR[HUMOUR_OF[state]]]
            rows.writerow(cells)

    test = [line for line in corpus if line.split == "test"]
    shown = {letter: np.array([line.shown[letter] for line in test]) for letter in MODALITIES}
    scores = best_possible(np.array([line.hidden for line in test]), shown, settings)
    _write_json(root / "best_possible.json", {"split": "test", "scores": scores})
    (root / "README.txt").write_text(README, encoding="utf-8")
    _write_json(root / "settings.json", {"version": VERSION, "settings": asdict(settings)})


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


README = """\
Demo corpus of affect: synthetic clips for trying and testing the pipeline.

Faces are drawn, voices are sums of harmonics, lines are put together from templates. Nobody is shown or heard. A score
on these clips tells nothing about people, nor about how well a model reads them.

settings.json       settings and version of the generator; the same settings give the same clips
index.csv           id,split,speaker,clip,text,sentiment,emotion,humour
clips/              H.264 and AAC in mp4
best_possible.json  by task, metric and subset of modalities: the best that can be got on the test clips, computed from
                    the states each modality shows. The subset "" is the prior alone.
hidden.csv          the hidden state of every clip and the state each modality shows; not for models

It can be deleted at any time; it is made anew on next use.
"""


def table(root: Path) -> Table:
    """What is in best_possible.json, for people."""
    scores = json.loads((root / "best_possible.json").read_text(encoding="utf-8"))["scores"]
    result = Table(
        title=f"Best possible scores on the test clips of {root}", box=None
    )  # no lines: it has to fit 80 columns
    result.add_column("modalities")
    columns = [(task, metric) for task, metrics in scores.items() for metric in metrics]
    for task, metric in columns:
        result.add_column(f"{task}\n{metric}".replace("_", "\n"), justify="right")
    for subset in SUBSETS:
        values = [scores[task][metric][subset] for task, metric in columns]
        result.add_row(subset or "none", *("-" if value is None else f"{value:.3f}" for value in values))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m affect.corpus", description="Makes the synthetic demo corpus.")
    parser.add_argument("--root", type=Path, required=True, help="folder that is made; it must not exist yet")
    for setting in fields(Settings):
        parser.add_argument(f"--{setting.name.replace('_', '-')}", type=setting.type, default=setting.default)
    options = vars(parser.parse_args())
    root = options.pop("root")
    try:
        generate(root, Settings(**options))
    except DataError as error:
        parser.exit(1, f"{error}\n")
    Console().print(table(root))


if __name__ == "__main__":
    main()
