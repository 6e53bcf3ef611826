"""Renders text, voice and face of a state of the demo corpus."""

import math
from collections.abc import Iterator

import numpy as np

from affect.data.demo_corpus.states import EMOTION_OF, EMOTIONS, HUMOUR, HUMOUR_OF, VALENCE_OF, VALENCES
from affect.data.media import SAMPLING_RATE

FRAME_SIZE = 96
FPS = 8

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
