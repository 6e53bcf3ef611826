"""Features of frames: the face is where it was drawn, and frames without one are counted."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_models import tiny_clip, tiny_siglip
from transformers import AutoImageProcessor, AutoModel

from affect.data.cues import visual
from affect.data.demo_corpus.render import render_face
from affect.data.media import Clip
from affect.models.features.video import FRAME, Faces, FaceStates

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


@pytest.mark.parametrize("make", [tiny_clip, tiny_siglip])
@pytest.mark.parametrize("layer", ["0", "1", "last"])
def test_an_image_encoder_is_given_the_face_and_otherwise_the_frame(
    make: Callable[[Path], Path], layer: str, tmp_path: Path
) -> None:
    folder = make(tmp_path / "model")
    frames = np.concatenate([drawn(1), np.full((1, 96, 96, 3), 90, dtype=np.uint8)])
    extractor = FaceStates(str(folder), layer, 50, tmp_path, torch.device("cpu"))
    features = extractor.of([clip(frames)])[0]
    assert (extractor.count.frames, extractor.count.without) == (2, 1)
    left, top, width, height = visual.largest_face(cv2.cvtColor(frames[0], cv2.COLOR_RGB2GRAY))
    given = [frames[0, top : top + height, left : left + width], frames[1]]
    pixels = AutoImageProcessor.from_pretrained(folder)(given, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        output = AutoModel.from_pretrained(folder).eval().vision_model(pixel_values=pixels, output_hidden_states=True)
    states = output.last_hidden_state if layer == "last" else output.hidden_states[int(layer)]
    torch.testing.assert_close(features, states.mean(1), atol=1e-5, rtol=0)
    other = FaceStates(str(folder), layer, 1, tmp_path, torch.device("cpu"))
    torch.testing.assert_close(other.of([clip(frames)])[0], features.mean(0, keepdim=True), atol=1e-5, rtol=0)
    assert other.identity != extractor.identity
