"""Features of sound: log-mel bands with prosody, eGeMAPS descriptors, or the states of a speech encoder."""

import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from affect.config import WITHOUT_OPENSMILE, ComposedConfig, ConfigError
from affect.data.cues import acoustic
from affect.data.media import SAMPLING_RATE, Clip
from affect.models.composed import layers
from affect.models.composed.features import LogMel, PretrainedFeatures
from affect.models.features.frozen import Frozen
from affect.models.features.steps import to_steps

VERSION = 1
"""Raise it when a clip gets other features."""

KEY = "features.audio"
WANTED = "acoustic, egemaps, whisper-base-wheel, or an encoder of the Whisper or wav2vec 2.0 kind"

PROSODY = ("level", "speech", "voiced", "pitch", "clarity", "brightness", "change")
"""What stands behind the mel bands in a step of `Acoustic`."""


class Acoustic:
    """Log-mel bands and prosody (affect/data/cues/acoustic.py), a frame of 10 ms at a time.

    A step has LogMel.NUM_MELS bands and then PROSODY. level: power of ten of the root mean square, full scale is 0.
    speech: 1 in frames that stand out of the background. voiced: 1 in those of them that have a pitch. pitch: octaves
    above 100 Hz. clarity: power of ten of the harmonics-to-noise ratio. brightness: power of ten of the energy in 1-5
    kHz over that in 50-1000 Hz. change: mean change of the bands from the frame before, which rough voices have.
    Pitch, clarity and brightness are those of voiced frames: 0 in others, and averaged over voiced frames alone.
    """

    threads = True
    width = LogMel.NUM_MELS + len(PROSODY)

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps
        self.identity: dict[str, Any] = {
            "kind": f"acoustic {VERSION}",
            "cues": acoustic.VERSION,
            "max_steps": max_steps,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
        }

    def of(self, clips: Sequence[Clip]) -> list[torch.Tensor]:
        return [self._one(_waveform(clip)) for clip in clips]

    def _one(self, waveform: np.ndarray) -> torch.Tensor:
        bands = LogMel()([waveform])["audio_features"][0].T.numpy()
        levels = acoustic.frame_levels(waveform)
        pitch, strength, tilt = acoustic.pitch_track(waveform)
        # LogMel lengthens clips that are shorter than its window.
        bands = bands[: len(levels)]
        speech = acoustic.speech_frames(levels)
        voiced = speech & (pitch > 0)
        change = np.abs(np.diff(bands, axis=0, prepend=bands[:1])).mean(axis=1)
        of_voice = (
            np.log2(np.maximum(pitch, 1) / 100),
            np.log10(strength / (1 - strength)),
            tilt / 10,
        )
        columns = np.stack([levels / 20, speech, voiced, *of_voice, change], axis=1)
        counted = np.ones((len(levels), self.width), dtype=bool)
        for name in ("pitch", "clarity", "brightness"):
            counted[:, LogMel.NUM_MELS + PROSODY.index(name)] = voiced
        frames = np.concatenate([bands, columns], axis=1).astype(np.float32)
        return to_steps(torch.from_numpy(frames), self.max_steps, torch.from_numpy(counted))


class Egemaps:
    """The low-level descriptors of eGeMAPS v02 (Eyben et al., IEEE Transactions on Affective Computing 7(2), 2016), 25
    numbers every 10 ms, by openSMILE. Those of voiced frames, which openSMILE marks with `nz`, are averaged over the
    frames in which they are not zero."""

    threads = False

    def __init__(self, max_steps: int) -> None:
        """Raises ConfigError where the package opensmile is not installed."""
        try:
            import opensmile
        except ImportError as error:
            raise ConfigError(WITHOUT_OPENSMILE) from error
        self.smile = opensmile.Smile(
            feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.LowLevelDescriptors
        )
        self.max_steps = max_steps
        self.width = len(self.smile.feature_names)
        self.voiced = torch.tensor([name.endswith("nz") for name in self.smile.feature_names])
        self.identity: dict[str, Any] = {
            "kind": f"egemaps {VERSION}",
            "opensmile": opensmile.__version__,
            "max_steps": max_steps,
            "torch": torch.__version__,
        }

    def of(self, clips: Sequence[Clip]) -> list[torch.Tensor]:
        return [self._one(_waveform(clip)) for clip in clips]

    def _one(self, waveform: np.ndarray) -> torch.Tensor:
        with warnings.catch_warnings():
            # A clip shorter than its windows has one frame of NaN, and a warning to standard error.
            warnings.simplefilter("ignore", UserWarning)
            table = self.smile.process_signal(waveform, SAMPLING_RATE)
        frames = torch.from_numpy(table.to_numpy(dtype=np.float32).copy())
        known = torch.isfinite(frames)
        frames = torch.where(known, frames, 0.0)
        return to_steps(frames, self.max_steps, known & (~self.voiced | (frames != 0)))


BATCH_CLIPS = 8
"""Clips that go through a Whisper encoder together, which takes 30 s of each."""


class SpeechStates:
    """The states of a speech encoder of the Whisper or wav2vec 2.0 kind. Whisper's are those of the clip's own length
    in its 30 s. Blocks after the chosen layer are not computed."""

    threads = False

    def __init__(
        self, name: str, layer: str, max_steps: int, max_seconds: float, cache_root: Path, device: torch.device
    ) -> None:
        """Raises ConfigError where the encoder cannot be loaded, has no such layer, or takes shorter clips than
        max_seconds."""
        self.frozen = Frozen(KEY, name, layer, WANTED, cache_root, device)
        self.width, self.max_steps = self.frozen.width, max_steps
        folder = ComposedConfig(
            name="features", modalities="a", language="", audio=self.frozen.folder, max_seconds=max_seconds
        )
        self.features = PretrainedFeatures(folder, KEY)
        self.identity: dict[str, Any] = {
            "kind": f"speech states {VERSION}",
            **self.frozen.identity,
            "max_steps": max_steps,
        }

    @cached_property
    def _encoder(self) -> nn.Module:
        encoder, layer = self.frozen.load(), self.frozen.layer
        return encoder if layer is None else layers.cut(encoder, layer, self.frozen.name, KEY)

    def of(self, clips: Sequence[Clip]) -> list[torch.Tensor]:
        # Encoders of the wav2vec 2.0 kind normalise and attend over all that they are given, padding included.
        size = BATCH_CLIPS if self.features.whisper else 1
        return [
            to_steps(states, self.max_steps)
            for at in range(0, len(clips), size)
            for states in self._states([_waveform(clip) for clip in clips[at : at + size]])
        ]

    def _states(self, waveforms: list[np.ndarray]) -> list[torch.Tensor]:
        """float32[T, width] of each waveform, on the CPU."""
        batch = self.features(waveforms)
        features, lengths = batch["audio_features"], batch["audio_lengths"]
        with torch.no_grad():
            states = layers.output(self._encoder, features.to(self.frozen.device)).cpu()
        if not self.features.whisper:
            return list(states)
        longest = features.shape[-1]
        ends = (lengths * states.shape[1] + longest - 1) // longest  # rounded up
        return [row[:end] for row, end in zip(states, ends.tolist(), strict=True)]


def _waveform(clip: Clip) -> np.ndarray:
    assert clip.waveform is not None, "the clip was decoded without its sound"
    return clip.waveform
