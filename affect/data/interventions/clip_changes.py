"""Changes of a decoded clip. A clip that is given is left as it is."""

import hashlib
from dataclasses import replace

import numpy as np

from affect.config import Intervention, InterventionConfig
from affect.data.media import SAMPLING_RATE, Clip


def changed(clip: Clip, config: InterventionConfig, partner: Clip | None = None) -> Clip:
    """The clip after an intervention. A track that the clip was not asked for, and interventions on transcripts, change
    nothing.

    mute, drop_audio: the waveform becomes digital silence of the same length. blank, drop_video: the frames become
    black. swap_audio: the waveform is the partner's, of the partner's length. swap_video: so are the frames, and the
    seconds over which they were sampled. noise_audio: see `noisy`. frames_shuffled: no frame stays at its place; the
    times of the places do. cut_tail: the last `seconds` of the waveform are digital silence, and the frames stay.

    partner: for a swap, the other clip, with the track that is taken from it.
    """
    name = config.name
    if clip.waveform is not None:
        if name in (Intervention.mute, Intervention.drop_audio):
            return replace(clip, waveform=np.zeros_like(clip.waveform))
        if name is Intervention.noise_audio:
            return replace(clip, waveform=noisy(clip.waveform, config.snr, config.seed))
        if name is Intervention.cut_tail:
            return replace(clip, waveform=_without_tail(clip.waveform, config.seconds))
        if name is Intervention.swap_audio:
            assert partner is not None and partner.waveform is not None, "a swap takes the sound of another clip"
            return replace(clip, waveform=partner.waveform)
    if clip.frames is not None:
        if name in (Intervention.blank, Intervention.drop_video):
            return replace(clip, frames=np.zeros_like(clip.frames))
        if name is Intervention.frames_shuffled:
            return replace(clip, frames=clip.frames[_cycle(clip.frames, config.seed)])
        if name is Intervention.swap_video:
            assert partner is not None and partner.frames is not None, "a swap takes the picture of another clip"
            return replace(clip, frames=partner.frames, picked=partner.picked, seconds=partner.seconds)
    return clip


def noisy(waveform: np.ndarray, snr: float, seed: int) -> np.ndarray:
    """float32[samples] with white Gaussian noise, whose expected power is that of the waveform (the mean of its
    squares) less `snr` dB. Samples above full scale are clipped, as a recorder would. Silence stays silent.

    The noise is drawn from the seed and the samples, so that a clip has the same noise at every `snr` but for its
    scale, and other clips have other noise.
    """
    power = float(np.mean(np.square(waveform, dtype=np.float64)))
    noise = _generator(waveform, seed).standard_normal(len(waveform))
    return np.clip(waveform + noise * np.sqrt(power * 10 ** (-snr / 10)), -1, 1).astype(np.float32)


def _without_tail(waveform: np.ndarray, seconds: float) -> np.ndarray:
    kept = max(0, len(waveform) - round(seconds * SAMPLING_RATE))
    return np.concatenate([waveform[:kept], np.zeros_like(waveform[kept:])])


def _cycle(frames: np.ndarray, seed: int) -> np.ndarray:
    """int[num_frames]: an order of the frames that is a single cycle, so that none stays at its place."""
    order = _generator(frames[0], seed).permutation(len(frames))
    cycle = np.empty_like(order)
    cycle[order] = np.roll(order, 1)
    return cycle


def _generator(content: np.ndarray, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}/".encode() + content.tobytes()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))
