"""Prosody and voice quality of a clip by signal processing.

Everything is measured on speech frames, those above the clip's background. Music, applause and a second speaker are
taken for speech. The level depends on the microphone and its distance, so loudness compares clips of like recordings.

Own code and not a library: parselmouth is GPL-3; librosa's pyin takes 1.1 s of processor time for 10 s of speech, this
takes 0.01 s, and voicing, clarity and brightness come from the same transforms.

References: pitch is the autocorrelation method of Boersma, "Accurate short-term analysis of the fundamental frequency
and the harmonics-to-noise ratio of a sampled sound", IFA Proceedings 17, 1993, with its costs; pace counts syllable
nuclei as de Jong and Wempe, "Praat script to detect syllable nuclei and measure speech rate automatically", Behavior
Research Methods 41(2), 2009; brightness is the alpha ratio of eGeMAPS (Eyben et al., IEEE Transactions on Affective
Computing 7(2), 2016), with the opposite sign, in decibels.
"""

import cv2
import numpy as np

from affect.data.media import SAMPLING_RATE

VERSION = 2
"""Raise it when measurements change; those kept before are then not used."""

HOP = 160
"""Samples between two frames: 10 ms, to which Boersma's jump costs refer."""

FRAME = 768
"""Samples of a frame for pitch: 48 ms, three periods of MIN_PITCH."""

FFT = 1024
"""At least FRAME plus the longest lag, so that the autocorrelation does not wrap around."""

MIN_PITCH, MAX_PITCH = 65.0, 600.0
"""Hz: low men's voices to excited women's and children's."""

NUM_CANDIDATES = 6
"""Peaks of a frame's autocorrelation from which the path through all frames chooses."""

VOICING, SILENCE, OCTAVE, JUMP, TRANSITION = 0.45, 0.03, 0.01, 0.35, 0.14
"""Boersma's voicing threshold, silence threshold, octave cost, octave jump cost and voiced/unvoiced cost."""

CHUNK = 128
"""Frames transformed at a time: half a megabyte, which fits a processor's cache."""

LEVEL_FRAME = 320
"""Samples of a frame for levels: 20 ms, so that a pause keeps its length."""

SILENT = -60.0
"""dB relative to full scale. A clip whose loud frames are below it is silent."""

SPEECH_DEPTH, SPEECH_SHARE, STEADY = 30.0, 0.3, 12.0
"""A frame is speech down to SPEECH_DEPTH dB below the clip's loud frames, and above SPEECH_SHARE of the way in dB from
its quiet to its loud frames. Nothing less than STEADY dB below the loud frames is background, since soft speech is as
soft."""

MIN_PAUSE = 0.2
"""Seconds. Shorter ones are as often the closure of a plosive."""

MIN_DIP = 2.0
"""dB between two syllable nuclei (de Jong and Wempe)."""

MIN_VOICED = 10
"""Voiced frames (100 ms) needed for cues of pitch."""

GLIDE = 5
"""Frames (50 ms) over which movement of pitch is measured; over one, noise is as large as the movement."""

CUES = (
    *("pitch", "intonation", "range", "contour", "loudness", "dynamics", "pace", "pauses", "length"),
    *("brightness", "voicing", "clarity"),
)
"""In the order of a description."""


def measure(waveform: np.ndarray) -> dict[str, float | None]:
    """The cues of float32[samples], mono, SAMPLING_RATE, in [-1, 1]. None where there is nothing to measure.

    pitch: median of the fundamental frequency, Hz. intonation: how fast it moves, mean of semitones/s without sign.
    range: from its 5th to its 95th percentile, semitones. contour: its slope over the clip (least squares),
    semitones/s. loudness: level of the speech frames, dB relative to full scale, where a full sine has -3. dynamics:
    standard deviation of their levels, dB. pace: syllable nuclei per second without pauses. pauses: share of the time
    between first and last speech frame that is silent for at least MIN_PAUSE at a stretch; None where there is no
    pause. length: seconds from first to last speech frame. brightness: energy in 1-5 kHz over that in 50-1000 Hz in
    voiced frames, dB. voicing: share of speech frames that are voiced. clarity: mean harmonics-to-noise ratio of voiced
    frames, dB; low in rough, hoarse and breathy voices, and in noisy recordings.

    The first four and the last but three need MIN_VOICED voiced frames.
    """
    levels = frame_levels(waveform)
    cues: dict[str, float | None] = dict.fromkeys(CUES)
    speech = speech_frames(levels)
    if not speech.any():
        return cues
    cues |= _timing(levels, speech)
    power = 10 ** (levels[speech] / 10)
    cues["loudness"] = 10 * float(np.log10(power.mean()))
    cues["dynamics"] = float(levels[speech].std())
    pitch, strength, tilt = pitch_track(waveform)
    voiced = speech & (pitch > 0)
    cues["voicing"] = float(voiced.sum() / speech.sum())
    cues["pace"] = _pace(levels, speech, voiced, cues)
    if voiced.sum() < MIN_VOICED:
        return cues
    semitones = np.zeros(pitch.size)
    semitones[voiced] = 12 * np.log2(pitch[voiced])
    cues["pitch"] = float(np.median(pitch[voiced]))
    low, high = np.quantile(semitones[voiced], (0.05, 0.95))
    cues["range"] = float(high - low)
    times = np.flatnonzero(voiced) * HOP / SAMPLING_RATE
    cues["contour"] = float(np.polynomial.polynomial.polyfit(times - times.mean(), semitones[voiced], 1)[1])
    cues["intonation"] = _intonation(semitones, voiced)
    cues["brightness"] = float(tilt[voiced].mean())
    cues["clarity"] = float(np.mean(10 * np.log10(strength[voiced] / (1 - strength[voiced]))))
    return cues


def frame_levels(waveform: np.ndarray) -> np.ndarray:
    """float64[frames]: root mean square around every HOP samples, dB relative to full scale, at least -100."""
    squares = np.zeros(waveform.size + 1)
    np.cumsum(np.square(waveform, dtype=np.float64), out=squares[1:])
    centres = np.arange(_num_frames(waveform)) * HOP
    begin = np.maximum(centres - LEVEL_FRAME // 2, 0)
    end = np.minimum(centres + LEVEL_FRAME // 2, waveform.size)
    power = np.maximum(squares[end] - squares[begin], 0) / np.maximum(end - begin, 1)
    return 10 * np.log10(np.maximum(power, 1e-10))  # -100 dB; one step of 16 bits is -90


def speech_frames(levels: np.ndarray) -> np.ndarray:
    """bool[frames]: which of float[frames], dB, stand out of the clip's background; none in a silent clip."""
    quiet, loud = np.quantile(levels, (0.05, 0.95))
    if loud < SILENT:
        return np.zeros(levels.size, dtype=bool)
    return levels >= min(loud - STEADY, max(loud - SPEECH_DEPTH, quiet + SPEECH_SHARE * (loud - quiet)))


def pitch_track(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each frame, around every HOP samples: the fundamental frequency in Hz, 0 where unvoiced; the height of its
    peak in the normalised autocorrelation, in (0, 1); and the energy in 1-5 kHz over that in 50-1000 Hz, dB."""
    samples = np.pad(waveform.astype(np.float32), (FRAME // 2, FRAME))
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP][: _num_frames(waveform)]
    peak = float(np.abs(waveform).max(initial=0.0))
    window = np.hanning(FRAME + 1)[:-1].astype(np.float32)
    of_window = autocorrelation(power_spectrum(window[None]))[0]
    lags = np.arange(int(SAMPLING_RATE / MAX_PITCH) - 1, int(SAMPLING_RATE / MIN_PITCH) + 2)
    hertz = np.fft.rfftfreq(FFT, 1 / SAMPLING_RATE)
    dark, bright = (slice(*np.searchsorted(hertz, bounds)) for bounds in ((50, 1000), (1000, 5000)))
    pieces = []
    for at in range(0, len(frames), CHUNK):
        part = frames[at : at + CHUNK]
        part = part - part.mean(axis=1, keepdims=True)
        power = power_spectrum(part * window)
        correlation = autocorrelation(power)
        # Digital silence stays at zero when divided by one step of 16 bits.
        silence = np.float32(FRAME / 32768**2)
        correlation = correlation[:, lags] / np.maximum(correlation[:, :1], silence) / (of_window[lags] / of_window[0])
        local = np.abs(part).max(axis=1) / max(peak, 1e-9)
        tilt = 10 * np.log10((power[:, bright].sum(axis=1) + 1e-9) / (power[:, dark].sum(axis=1) + 1e-9))
        pieces.append((*_candidates(correlation, lags), _unvoiced(local), tilt))
    frequency, strength, unvoiced, tilt = (np.concatenate(column) for column in zip(*pieces, strict=True))
    chosen = _path(frequency, strength, unvoiced)
    rows = np.arange(len(frames))
    frequency = np.concatenate([frequency, np.zeros((len(frames), 1))], axis=1)[rows, chosen]
    strength = np.concatenate([strength, np.zeros((len(frames), 1))], axis=1)[rows, chosen]
    return frequency, np.clip(strength, 1e-3, 1 - 1e-4), tilt  # -30 to 40 dB


def power_spectrum(frames: np.ndarray) -> np.ndarray:
    """float32[frames, FFT // 2 + 1] of float32[frames, FRAME]. OpenCV transforms five to ten times as fast as NumPy."""
    padded = np.zeros((len(frames), FFT), dtype=np.float32)
    padded[:, :FRAME] = frames
    # A row: the real part at 0 Hz, real and imaginary parts of the others, the real part at half the sampling rate.
    squares = np.square(cv2.dft(padded, flags=cv2.DFT_ROWS))
    power = np.empty((len(frames), FFT // 2 + 1), dtype=np.float32)
    power[:, 0], power[:, -1] = squares[:, 0], squares[:, -1]
    np.add(squares[:, 1:-1:2], squares[:, 2:-1:2], out=power[:, 1:-1])
    return power


def autocorrelation(power: np.ndarray) -> np.ndarray:
    """float32[frames, FFT], by lag, of float32[frames, FFT // 2 + 1]."""
    spectrum = np.zeros((len(power), FFT), dtype=np.float32)
    spectrum[:, 0], spectrum[:, 1:-1:2], spectrum[:, -1] = power[:, 0], power[:, 1:-1], power[:, -1]
    return cv2.dft(spectrum, flags=cv2.DFT_ROWS | cv2.DFT_INVERSE | cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)


def _num_frames(waveform: np.ndarray) -> int:
    return waveform.size // HOP + 1


def _candidates(correlation: np.ndarray, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequency in Hz and height of the NUM_CANDIDATES highest peaks of correlation[frames, lags]; where there are
    fewer, 0 Hz with a height of -inf."""
    middle = correlation[:, 1:-1]
    row, at = np.nonzero((middle > correlation[:, :-2]) & (middle >= correlation[:, 2:]) & (middle > VOICING / 2))
    before, middle, after = (correlation[row, at + i] for i in range(3))
    # Parabolic interpolation: at 500 Hz two lags are half a semitone apart.
    shift = 0.5 * (before - after) / (before - 2 * middle + after)
    height = np.minimum(middle - 0.25 * (before - after) * shift, 1)
    frequency = SAMPLING_RATE / (lags[at + 1] + shift)
    # Of equal peaks (one period, two periods) the shortest is taken.
    best = np.lexsort((-height - OCTAVE * np.log2(frequency / MIN_PITCH), row))
    row = row[best]
    rank = np.arange(row.size) - np.searchsorted(row, row)
    best, row, rank = (values[rank < NUM_CANDIDATES] for values in (best, row, rank))
    frequencies = np.zeros((len(correlation), NUM_CANDIDATES))
    heights = np.full((len(correlation), NUM_CANDIDATES), -np.inf)
    frequencies[row, rank], heights[row, rank] = frequency[best], height[best]
    return frequencies, heights


def _unvoiced(local_peak: np.ndarray) -> np.ndarray:
    """The strength of the unvoiced candidate of a frame, given its peak as a share of the clip's."""
    return VOICING + np.maximum(0, 2 - local_peak / (SILENCE / (1 + VOICING)))


def _path(frequency: np.ndarray, strength: np.ndarray, unvoiced: np.ndarray) -> np.ndarray:
    """int[frames]: the candidate of each frame, or NUM_CANDIDATES for unvoiced, on the path of least cost (Viterbi)."""
    is_voiced = frequency > 0
    octaves = np.log2(np.where(is_voiced, frequency, MIN_PITCH) / MIN_PITCH)
    gain = np.concatenate([np.where(is_voiced, strength + OCTAVE * octaves, -1e9), unvoiced[:, None]], axis=1)
    num_frames, num_states = gain.shape
    cost = np.full((num_frames, num_states, num_states), TRANSITION)
    cost[:, -1, -1] = 0
    cost[1:, :-1, :-1] = JUMP * np.abs(octaves[:-1, :, None] - octaves[1:, None, :])
    totals = np.empty((num_frames, num_states))
    totals[0] = gain[0]
    for i in range(1, num_frames):
        totals[i] = (totals[i - 1][:, None] - cost[i]).max(axis=0) + gain[i]
    came_from = (totals[:-1, :, None] - cost[1:]).argmax(axis=1).tolist()
    chosen = [int(totals[-1].argmax())]
    for ways in reversed(came_from):
        chosen.append(ways[chosen[-1]])
    return np.array(chosen[::-1])


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Start and end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


def _timing(levels: np.ndarray, speech: np.ndarray) -> dict[str, float | None]:
    first, last = np.flatnonzero(speech)[[0, -1]]
    length = (last - first + 1) * HOP / SAMPLING_RATE
    least = round(MIN_PAUSE * SAMPLING_RATE / HOP)
    silent = sum(end - begin for begin, end in _runs(~speech[first : last + 1]) if end - begin >= least)
    return {"length": float(length), "pauses": float(silent / (last - first + 1)) if silent else None}


def _pace(levels: np.ndarray, speech: np.ndarray, voiced: np.ndarray, cues: dict[str, float | None]) -> float:
    """Syllable nuclei per second: voiced maxima of the level, separated by MIN_DIP."""
    # Averaged over 50 ms, half of a fast syllable, since the periods of a low voice show in frames of 20 ms.
    smooth = np.convolve(np.pad(levels, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    padded = np.concatenate([[-np.inf], smooth, [-np.inf]])
    maxima = np.flatnonzero((smooth > padded[:-2]) & (smooth >= padded[2:]) & speech & voiced)
    nuclei: list[int] = []
    for peak in maxima:
        if not nuclei:
            nuclei.append(peak)
            continue
        dip = smooth[nuclei[-1] : peak + 1].min()
        if min(smooth[peak], smooth[nuclei[-1]]) - dip >= MIN_DIP:
            nuclei.append(peak)
        elif smooth[peak] > smooth[nuclei[-1]]:  # one nucleus with two peaks: the higher one counts
            nuclei[-1] = peak
    assert cues["length"] is not None
    return len(nuclei) / (cues["length"] * (1 - (cues["pauses"] or 0.0)))


def _intonation(semitones: np.ndarray, voiced: np.ndarray) -> float | None:
    moves = [
        np.abs(semitones[begin + GLIDE : end] - semitones[begin : end - GLIDE])
        for begin, end in _runs(voiced)
        if end - begin > GLIDE
    ]
    return float(np.concatenate(moves).mean() * SAMPLING_RATE / (HOP * GLIDE)) if moves else None
