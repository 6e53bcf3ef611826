"""Features of frames: place and coarse picture of the face, or its states in an image encoder."""

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from transformers import AutoImageProcessor

from affect.data.cues import visual
from affect.data.media import Clip
from affect.models.features.frozen import Frozen
from affect.models.features.steps import to_steps
from affect.models.pretrained import refusals

VERSION = 1
"""Raise it when a clip gets other features."""

KEY, WANTED = "features.video", "faces, or an image encoder of the kind of CLIP, SigLIP or ViT"

BATCH_FRAMES = 64
"""Frames that go through an image encoder together."""

Box = tuple[int, int, int, int]
"""Left, top, width and height in pixels."""

FRAME = ("face", "across", "down", "size", "smile", "brightness", "contrast", "movement", "movement_low")
"""What stands before the picture of the face in a step of `Faces`."""

CROP, BLOCK, CELL, DIRECTIONS = 32, 16, 8, 9
"""Pixels of the face's side, of a block's and of a cell's, and directions of edges that are told apart (Dalal and
Triggs, CVPR 2005: cells of 8 pixels, blocks of 2 × 2 cells that overlap by half, 9 directions)."""


class FaceCount:
    """How many frames were looked at, and how many had no face; threads may add at once."""

    def __init__(self) -> None:
        self.frames, self.without, self._lock = 0, 0, threading.Lock()

    def add(self, boxes: Sequence[Box | None]) -> None:
        with self._lock:
            self.frames += len(boxes)
            self.without += sum(box is None for box in boxes)


class Faces:
    """The largest face of every frame: where it is, and its histograms of oriented gradients (HOG), which tell brows,
    eyes and mouth apart without a neural network.

    A step has FRAME and then the histograms. face: 1 where a face was found. across, down, size: the middle of the face
    in shares of the picture's width and height, and its height as a share of the picture's. smile: 1 where OpenCV's
    cascade finds one. brightness, contrast: of the frame, in shares of full brightness. movement: mean change of
    brightness from the frame before, in the same, 0 in the first. movement_low: share of it in the lower half.
    affect/data/cues/visual.py says what these work on. Without a face the histograms are those of the whole frame, and
    across, down, size and smile are 0; these are averaged over frames with a face alone.
    """

    threads = True

    def __init__(self, max_steps: int) -> None:
        cv2.setNumThreads(1)  # clips are looked at in parallel already
        self.max_steps = max_steps
        self.hog = cv2.HOGDescriptor((CROP, CROP), (BLOCK, BLOCK), (CELL, CELL), (CELL, CELL), DIRECTIONS)
        self.width = len(FRAME) + self.hog.getDescriptorSize()
        self.count = FaceCount()
        self.identity: dict[str, Any] = {
            "kind": f"faces {VERSION}",
            "cues": visual.VERSION,
            "max_steps": max_steps,
            "torch": torch.__version__,
            "opencv": cv2.__version__,
        }

    def of(self, clips: Sequence[Clip]) -> list[torch.Tensor]:
        return [self._one(_frames(clip)) for clip in clips]

    def _one(self, frames: np.ndarray) -> torch.Tensor:
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        boxes = [visual.largest_face(picture) for picture in grey]
        self.count.add(boxes)
        rows = [
            np.concatenate([self._frame(picture, box, before), self._picture(picture, box)])
            for picture, box, before in zip(grey, boxes, [None, *grey[:-1]], strict=True)
        ]
        found = np.array([box is not None for box in boxes])
        counted = np.ones((len(grey), self.width), dtype=bool)
        for name in ("across", "down", "size", "smile"):
            counted[:, FRAME.index(name)] = found
        return to_steps(torch.from_numpy(np.stack(rows).astype(np.float32)), self.max_steps, torch.from_numpy(counted))

    def _frame(self, grey: np.ndarray, box: Box | None, before: np.ndarray | None) -> list[float]:
        mean, spread = (float(value[0, 0]) / 255 for value in cv2.meanStdDev(grey))
        moved = {"movement": 0.0, "movement_low": None} if before is None else visual.motion_cues([before, grey])
        movement = [moved["movement"] or 0.0, moved["movement_low"] or 0.0]
        if box is None:
            return [0.0] * 5 + [mean, spread, *movement]
        left, top, width, height = box
        place = [(left + width / 2) / grey.shape[1], (top + height / 2) / grey.shape[0], height / grey.shape[0]]
        return [1.0, *place, float(visual.smiles(grey, box)), mean, spread, *movement]

    def _picture(self, grey: np.ndarray, box: Box | None) -> np.ndarray:
        face = cv2.resize(cropped(grey, box), (CROP, CROP), interpolation=cv2.INTER_AREA)
        return self.hog.compute(face).ravel()


class FaceStates:
    """The states of an image encoder that is given the largest face of every frame, averaged over its patches. Where no
    face is found it is given the whole frame, and `count` tells how often."""

    threads = False

    def __init__(self, name: str, layer: str, max_steps: int, cache_root: Path, device: torch.device) -> None:
        """Raises ConfigError where the encoder or its image processor cannot be loaded, or has no such layer."""
        self.frozen = Frozen(KEY, name, layer, WANTED, cache_root, device)
        self.width, self.max_steps, self.count = self.frozen.width, max_steps, FaceCount()
        with refusals(KEY, name, WANTED):
            self.processor = AutoImageProcessor.from_pretrained(self.frozen.folder, trust_remote_code=False)
        self.identity: dict[str, Any] = {
            "kind": f"face states {VERSION}",
            "cues": visual.VERSION,
            **self.frozen.identity,
            "max_steps": max_steps,
            "opencv": cv2.__version__,
        }

    @cached_property
    def _encoder(self) -> nn.Module:
        return self.frozen.load()

    def of(self, clips: Sequence[Clip]) -> list[torch.Tensor]:
        return [self._one(_frames(clip)) for clip in clips]

    def _one(self, frames: np.ndarray) -> torch.Tensor:
        boxes = [visual.largest_face(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)) for frame in frames]
        self.count.add(boxes)
        faces = [cropped(frame, box) for frame, box in zip(frames, boxes, strict=True)]
        # Where height and width are not told apart by their place, a face three pixels high is one of three colours.
        pixels = self.processor(faces, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
        states = [
            self.frozen.states(self._encoder, pixel_values=part.to(self.frozen.device)).mean(1).cpu()
            for part in pixels.split(BATCH_FRAMES)
        ]
        return to_steps(torch.cat(states), self.max_steps)


def cropped(frame: np.ndarray, box: Box | None) -> np.ndarray:
    """The part of a frame[height, width, ...] that has the face; the whole frame without one."""
    if box is None:
        return frame
    left, top, width, height = box
    return frame[top : top + height, left : left + width]


def _frames(clip: Clip) -> np.ndarray:
    assert clip.frames is not None, "the clip was decoded without its frames"
    return clip.frames
