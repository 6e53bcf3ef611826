"""Interventions: controlled changes of a clip's audio or video, to find out what a model makes use of."""

from dataclasses import replace

import numpy as np

from affect.config import Intervention
from affect.data.media import Clip


def changed(clip: Clip, intervention: Intervention) -> Clip:
    """The clip after an intervention; the clip that was given is left as it is.

    mute: the waveform becomes digital silence of the same length. The frames stay as they are.
    """
    if intervention is Intervention.mute and clip.waveform is not None:
        return replace(clip, waveform=np.zeros_like(clip.waveform))
    return clip
