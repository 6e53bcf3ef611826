"""Features of frames: the face is where it was drawn, and frames without one are counted."""

import numpy as np
import pytest
import torch

from affect.data.demo_corpus.render import render_face
from affect.data.media import Clip
from affect.models.features.video import FRAME, Faces

AT = {name: i for i, name in enumerate(FRAME)}


def clip(frames: np.ndarray) -> Clip:
    return Clip(waveform=None, frames=frames, seconds=len(frames) / 8)


def drawn(num_frames: int, state: int = 0) -> np.ndarray:
    return render_face(state, num_frames, np.random.default_rng(4), np.random.default_rng(5))


def test_a_face_is_where_it_was_drawn() -> None:
    frames = np.zeros((4, 96, 192, 3), dtype=np.uint8)
    frames[:, :, 96:] = drawn(4)  # its middle is that of the right half, give or take two pixels
    extractor = Faces(50)
    features = extractor.of([clip(frames)])[0]
    assert features.shape == (4, extractor.width) and features.dtype == torch.float32
    assert (features[:, AT["face"]] == 1).all()
    assert features[:, AT["across"]].numpy() == pytest.approx(np.full(4, 0.75), abs=0.04)
    assert features[:, AT["down"]].numpy() == pytest.approx(np.full(4, 0.53), abs=0.08)
    assert 0.4 < float(features[:, AT["size"]].mean()) < 0.9
    assert features[0, AT["movement"]] == 0 and (features[1:, AT["movement"]] > 0).all()
    assert (extractor.count.frames, extractor.count.without) == (4, 0)


def test_frames_without_a_face_are_counted_and_described_as_a_whole() -> None:
    empty = np.full((3, 40, 60, 3), 100, dtype=np.uint8)
    empty[:, :, 30:] = 200
    extractor = Faces(50)
    features = extractor.of([clip(empty)])[0]
    assert not features[:, : AT["brightness"]].any() and features[:, len(FRAME) :].any()
    assert features[:, AT["brightness"]].numpy() == pytest.approx(np.full(3, 150 / 255), abs=0.01)
    assert (extractor.count.frames, extractor.count.without) == (3, 3)


def test_a_single_black_frame_and_more_frames_than_steps() -> None:
    black = Faces(50).of([clip(np.zeros((1, 20, 30, 3), dtype=np.uint8))])[0]
    assert black.shape == (1, Faces(50).width) and not black.any()
    frames = np.concatenate([drawn(2), np.zeros((2, 96, 96, 3), dtype=np.uint8)])
    one = Faces(1).of([clip(frames)])[0][0]
    every = Faces(50).of([clip(frames)])[0]
    assert one[AT["face"]] == 0.5
    assert float(one[AT["across"]]) == pytest.approx(float(every[:2, AT["across"]].mean()))
    torch.testing.assert_close(one[len(FRAME) :], every[:, len(FRAME) :].mean(0), atol=1e-6, rtol=0)


def test_the_identity_tells_what_changes_the_numbers() -> None:
    assert Faces(50).identity == Faces(50).identity != Faces(49).identity
