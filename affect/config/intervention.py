"""Schema of the group `intervention`: what is changed in the clips of an evaluation, and how much."""

from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from affect.config.fields import field


class Intervention(str, Enum):
    """A change of clips or transcripts, made after decoding and before the model is given them."""

    none = "none"
    mute = "mute"
    """Digital silence in place of the sound, of the same length."""
    blank = "blank"
    """Black frames in place of the picture."""
    drop_audio = "drop_audio"
    """mute, for a share of the clips."""
    drop_video = "drop_video"
    """blank, for a share of the clips."""
    swap_audio = "swap_audio"
    """The sound of a clip of the same split with another label."""
    swap_video = "swap_video"
    """The picture of a clip of the same split with another label."""
    noise_audio = "noise_audio"
    """White noise added to the sound."""
    frames_shuffled = "frames_shuffled"
    """The frames in another order."""
    cut_tail = "cut_tail"
    """Silence in the last seconds of the sound."""
    text_masked = "text_masked"
    """A share of the words of the transcript masked."""
    asr_text = "asr_text"
    """The transcript of a speech recogniser in place of the dataset's own."""


CHANGED = {
    **dict.fromkeys(("mute", "drop_audio", "swap_audio", "noise_audio", "cut_tail"), "a"),
    **dict.fromkeys(("blank", "drop_video", "swap_video", "frames_shuffled"), "v"),
    **dict.fromkeys(("text_masked", "asr_text"), "t"),
}
"""The letter of the modality that each intervention changes."""

SEEDED = ("drop_audio", "drop_video", "swap_audio", "swap_video", "noise_audio", "frames_shuffled", "text_masked")


@dataclass(slots=True, kw_only=True)
class InterventionConfig:
    """What is changed in every clip before the model is given it, to find out what it makes use of; for evaluation
    alone. Descriptions in the prompt stay those of the unchanged clips."""

    name: Intervention = Intervention.none
    """The change. Each has a file of its own, which gives it the strengths that it has; the others are null."""
    share: float | None = field(
        None, least=0, most=1, used_by=("drop_audio", "drop_video", "text_masked"), tags=("younger",)
    )
    """Share of the clips that lose a modality, or of the words of a transcript that are masked, from 0 to 1. What is
    changed at a share is changed at every larger one too."""
    snr: float | None = field(None, least=-100, most=100, used_by=("noise_audio",), tags=("younger",))
    """Signal-to-noise ratio in dB: the mean power of the clip's sound over that of the noise."""
    seconds: float | None = field(None, above=0, used_by=("cut_tail",), tags=("younger",))
    """Seconds of silence at the end of the sound."""
    seed: int | None = field(None, least=0, most=2**32 - 1, used_by=SEEDED, tags=("younger",))
    """Seed of what is drawn: clips, partners, words, noise, order of frames."""

    @property
    def strengths(self) -> dict[str, Any]:
        """The values that are not null, by name."""
        values = {key: getattr(self, key) for key in STRENGTHS}
        return {key: value for key, value in values.items() if value is not None}

    def __str__(self) -> str:
        """As signatures name it: `noise_audio(snr=10,seed=0)`."""
        values = ",".join(f"{key}={value:.12g}" for key, value in self.strengths.items())
        return f"{self.name.value}({values})" if values else self.name.value


STRENGTHS = tuple(field.name for field in fields(InterventionConfig) if field.name != "name")
"""The keys of `intervention` beside its name."""


def as_group(plain: dict[str, Any]) -> dict[str, Any]:
    """A plain configuration whose `intervention` is the group, also where it is of a run that knew names alone
    (`intervention: mute`), or no intervention.

    >>> as_group({"intervention": "mute"}), as_group({})
    ({'intervention': {'name': 'mute'}}, {'intervention': {'name': 'none'}})
    """
    given = plain.get("intervention", "none")
    return plain if isinstance(given, dict) else {**plain, "intervention": {"name": given}}
