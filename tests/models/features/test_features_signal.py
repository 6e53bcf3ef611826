"""A linear model reads the emotion that each modality of the demo corpus shows from the features of that modality."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny_models import tiny_composed_language

from affect.data.demo_corpus.render import FPS, render_face, render_text, render_voice
from affect.data.demo_corpus.states import EMOTION_OF, EMOTIONS
from affect.data.media import Clip
from affect.models.features import audio, text, video

TRAIN, TEST = 12, 5
"""Clips of every emotion; no speaker is in both."""


def accuracy(features: Callable[[list], list[torch.Tensor]], render: Callable[..., object]) -> float:
    """Accuracy of a logistic regression on mean and standard deviation over time; chance is 1 in 6."""
    rows, emotions = [], []
    for number in range(TRAIN + TEST):
        for emotion in range(len(EMOTIONS)):
            random = np.random.default_rng([number, emotion])
            states = np.flatnonzero(emotion == EMOTION_OF)
            rows.append(render(int(random.choice(states)), np.random.default_rng(number), random))
            emotions.append(emotion)
    vectors = np.stack([np.concatenate([f.mean(0), f.std(0, correction=0)]) for f in features(rows)])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    end = TRAIN * len(EMOTIONS)
    return model.fit(vectors[:end], emotions[:end]).score(vectors[end:], emotions[end:])


@pytest.mark.parametrize("modality", ["text", "audio", "video"])
def test_the_emotion_that_is_shown_can_be_read(modality: str, tmp_path: Path) -> None:
    if modality == "audio":
        right = accuracy(
            audio.Acoustic(50).of,
            lambda state, speaker, random: Clip(
                waveform=render_voice(state, 2.0, speaker, random), frames=None, seconds=2.0
            ),
        )
    elif modality == "video":
        right = accuracy(
            video.Faces(50).of,
            lambda state, speaker, random: Clip(
                waveform=None, frames=render_face(state, 3, speaker, random), seconds=3 / FPS
            ),
        )
    else:
        # Random weights: its states tell which words there are, and no more is needed.
        folder = tiny_composed_language(tmp_path / "model")
        tokens = text.TokenStates(str(folder), "1", 50, tmp_path, torch.device("cpu"))
        right = accuracy(tokens.of, lambda state, speaker, random: render_text(state, random))
    assert right > 0.6
