"""Faces, smiles, movement, cuts and light of a clip, without a neural network.

Scope and limits of each cue:

- faces, framing: OpenCV's Haar cascade for frontal faces (Viola and Jones, CVPR 2001), from a fifth of the picture's
  shorter side upwards. It misses profiles, tilted heads, covered faces and dark pictures, sometimes takes patterned
  backgrounds for faces, and finds darker skin less reliably. It nearly always finds plainly drawn faces, such as those
  of the demo corpus. Of several people the largest face counts, whoever speaks.
- smile: OpenCV's cascade for smiles in the lower half of the largest face. It detects a wide mouth with visible teeth,
  also in laughter and some vowels, and misses closed smiles; beards and low resolution mislead it.
- head: movement of that face between two frames. A moving camera or a cut to another person counts too.
- movement, movement_low: change of brightness between frames, by anything that moves: mouth, hands, passers-by, the
  camera, flicker. Works on drawings too.
- cuts: sudden changes of the whole picture. Cuts between similar pictures and slow dissolves are missed; a flash or a
  fast pan counts as a cut.
- brightness, contrast: of the whole picture, with borders and subtitles.

Every clip gives NUM_FRAMES frames, in ten seconds one every 0.6 s, so faster events are caught by chance.
"""

import threading
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

VERSION = 3
"""Raise it when measurements change; those kept before are then not used."""

NUM_FRAMES = 16
"""At the centres of equal parts of a clip: five a second in the 3.5 s that utterances last."""

FACE_EVERY = 4
"""Faces are searched in every fourth frame only, since that takes longest."""

FRAME_SIZE = 320
"""Pixels of the longest side: the smallest face then has 36 in a 16:9 picture, and the cascade was trained on 20."""

FACE_SHARE = 1 / 5
"""Smallest face as a share of the shorter side."""

FACE_SEARCH, FACE_SEARCH_SCALE = 22, 1.35
FACE_MARGIN, FACE_SIZES = 0.4, (0.6, 1.6)
FACE_SCALE, FACE_NEIGHBOURS = 1.15, 3
"""Coarse search, then a closer look. The search is in a picture in which the smallest face has FACE_SEARCH pixels, with
a ratio of FACE_SEARCH_SCALE between sizes; a single detection counts. Around it, with FACE_MARGIN of its size and for
FACE_SIZES times its size, a face needs FACE_NEIGHBOURS overlapping detections with the finer ratio FACE_SCALE.

A hundred cut-out faces (LFW, 25 pixels) were enlarged to between a quarter and all of a picture's height (48 to 172 of
180 pixels) and put at two places each into photographs without people and noise like landscapes: of the 1000 pictures
the face is found in 935 and something else in 4; in 231 pictures without a face none is. Searching everywhere closely
finds 912 and 0 with a ratio of 1.25, in 1.5 times the time (where there is no face 2.7 times), and 964 and 3 with a
ratio of 1.1, in 3.7 times (6.7 times) the time."""

SMILE_WIDTH, SMILE_SCALE, SMILE_NEIGHBOURS = 120, 1.2, 12
"""Pixels to which a face's width is scaled, ratio of the sizes tried, and overlapping detections that make a smile.
With fewer than ten, mouths at rest are detected."""

MOTION_WIDTH = 80
"""Pixels of the longest side in which movement is measured: shrinking averages compression noise."""

CUT_CHANGE = 27 / 255
CUT_RATIO = 4.0
CUT_HISTOGRAM = 0.2
"""A cut: the mean change of a pixel's brightness is above CUT_CHANGE (the threshold of PySceneDetect's content
detector) and CUT_RATIO times the clip's median, and the histogram of brightness changes by CUT_HISTOGRAM, which mere
movement does not do."""

CUES = ("faces", "smile", "framing", "head", "movement", "movement_low", "cuts", "brightness", "contrast")
"""In the order of a description."""

LIBRARY = f"opencv {cv2.__version__}"
"""The detector: another version may find other faces."""


def measure(frames: np.ndarray, seconds: float) -> dict[str, float | None]:
    """The cues of uint8[num_frames, height, width, 3], RGB, evenly spaced over `seconds`. None where there is nothing
    to measure.

    faces: share of the frames looked at (every FACE_EVERY-th) with a face. smile: share of those with a face that have
    a smile. framing: median height of the face as a share of the picture's. head: median speed of the face's centre, in
    widths of the face per second. movement: median over pairs of frames of the mean change of brightness, in shares of
    full brightness. movement_low: share of the change that is in the lower half of the picture, cuts left out. cuts:
    number of cuts. brightness: mean, in shares of full brightness. contrast: standard deviation of brightness within a
    frame, in the same.

    smile and framing need a face, head needs two in a row, movement needs two frames.
    """
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    cues: dict[str, float | None] = dict.fromkeys(CUES)
    light = np.array([cv2.meanStdDev(picture) for picture in grey]).reshape(-1, 2).mean(axis=0) / 255
    cues["brightness"], cues["contrast"] = float(light[0]), float(light[1])
    faces = [largest_face(picture) for picture in grey[::FACE_EVERY]]
    cues |= face_cues(grey[::FACE_EVERY], faces, FACE_EVERY * seconds / len(frames))
    return cues | motion_cues(grey)


def motion_cues(grey: list[np.ndarray]) -> dict[str, float | None]:
    """movement, movement_low and cuts of pictures uint8[height, width]."""
    height, width = grey[0].shape
    scale = min(1.0, MOTION_WIDTH / max(height, width))
    size = max(1, round(width * scale)), max(2, round(height * scale))
    small = np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in grey])
    if len(small) < 2:
        return {"movement": None, "movement_low": None, "cuts": 0.0}
    change = np.abs(np.diff(small.astype(np.float32), axis=0)) / 255
    by_pair = change.mean(axis=(1, 2))
    shades = np.stack([np.bincount(picture.ravel() // 16, minlength=16) for picture in small]) / small[0].size
    reshaded = np.abs(np.diff(shades, axis=0)).sum(axis=1) / 2
    usual = float(np.median(by_pair))
    cut = (by_pair > max(CUT_CHANGE, CUT_RATIO * usual)) & (reshaded > CUT_HISTOGRAM)
    within = change[~cut]
    low = within[:, within.shape[1] // 2 :].sum()
    return {
        "movement": usual,
        "movement_low": float(low / within.sum()) if within.any() else None,
        "cuts": float(cut.sum()),
    }


def face_cues(
    grey: list[np.ndarray], faces: list[tuple[int, int, int, int] | None], spacing: float
) -> dict[str, float | None]:
    """faces, smile, framing and head of pictures uint8[height, width] that are `spacing` seconds apart, with the face
    (left, top, width, height; pixels) of each."""
    with_face = [(picture, face) for picture, face in zip(grey, faces, strict=True) if face is not None]
    cues: dict[str, float | None] = {"faces": len(with_face) / len(faces), "smile": None, "framing": None, "head": None}
    if not with_face:
        return cues
    cues["smile"] = float(np.mean([smiles(picture, face) for picture, face in with_face]))
    cues["framing"] = float(np.median([face[3] for _, face in with_face]) / grey[0].shape[0])
    steps = [
        np.hypot(b[0] + b[2] / 2 - a[0] - a[2] / 2, b[1] + b[3] / 2 - a[1] - a[3] / 2) / ((a[2] + b[2]) / 2)
        for a, b in pairwise(faces)
        if a is not None and b is not None
    ]
    cues["head"] = float(np.median(steps) / spacing) if steps else None
    return cues


def largest_face(grey: np.ndarray) -> tuple[int, int, int, int] | None:
    """Left, top, width and height (pixels) of the largest frontal face in uint8[height, width]; None without one."""
    detector = cascade("haarcascade_frontalface_alt2.xml")
    height, width = grey.shape
    least = max(20, round(FACE_SHARE * min(grey.shape)))
    shrink = max(1.0, least / FACE_SEARCH)
    small = cv2.resize(grey, (round(width / shrink), round(height / shrink)), interpolation=cv2.INTER_AREA)
    smallest = round(least / shrink)
    seen: list[tuple[float, float, float]] = []
    for x, y, size in _boxes(detector.detectMultiScale(small, FACE_SEARCH_SCALE, 0, minSize=(smallest, smallest))):
        across, down, size = (x + size / 2) * shrink, (y + size / 2) * shrink, size * shrink
        # One face has many detections; the largest stands for those around its middle.
        if any(max(abs(across - a), abs(down - d)) <= s / 4 and size > 0.6 * s for a, d, s in seen):
            continue
        seen.append((across, down, size))
        reach = (0.5 + FACE_MARGIN) * size
        left, top = max(0, round(across - reach)), max(0, round(down - reach))
        part = grey[top : round(down + reach), left : round(across + reach)]
        lowest, highest = max(least, round(FACE_SIZES[0] * size)), round(FACE_SIZES[1] * size)
        faces = _boxes(
            detector.detectMultiScale(
                part, FACE_SCALE, FACE_NEIGHBOURS, minSize=(lowest, lowest), maxSize=(highest, highest)
            )
        )
        if faces:
            return left + faces[0][0], top + faces[0][1], faces[0][2], faces[0][2]
    return None


def _boxes(detections: np.ndarray) -> list[tuple[int, int, int]]:
    """Left, top and size of square detections, the largest first and by place where sizes are equal, since OpenCV's
    order depends on its threads."""
    return sorted(
        ((int(x), int(y), int(size)) for x, y, size, _ in detections), key=lambda box: (-box[2], box[1], box[0])
    )


def smiles(grey: np.ndarray, face: tuple[int, int, int, int]) -> bool:
    """Whether the lower half of a face (left, top, width, height; pixels) in uint8[height, width] smiles."""
    left, top, width, height = face
    lower = grey[top + height // 2 : top + height, left : left + width]
    scale = SMILE_WIDTH / width
    lower = cv2.resize(lower, (SMILE_WIDTH, max(1, round(lower.shape[0] * scale))))
    detections = cascade("haarcascade_smile.xml").detectMultiScale(
        lower, SMILE_SCALE, SMILE_NEIGHBOURS, minSize=(SMILE_WIDTH // 4, SMILE_WIDTH // 8)
    )
    return len(detections) > 0


_of_thread = threading.local()


def cascade(name: str) -> cv2.CascadeClassifier:
    """A Haar cascade of OpenCV by the name of its file; one for each thread, since it keeps the picture it works on."""
    if not hasattr(_of_thread, "cascades"):
        _of_thread.cascades = {}
    if name not in _of_thread.cascades:
        _of_thread.cascades[name] = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / name))
        assert not _of_thread.cascades[name].empty(), f"OpenCV {cv2.__version__} has no {name}"
    return _of_thread.cascades[name]
