"""The emotions, valences and humour of the demo corpus."""

from dataclasses import dataclass

import numpy as np


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

VERSION = 1
"""Version of the corpus that is read; to be raised with every change of the generator that changes clips or labels."""
