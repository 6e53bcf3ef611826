"""ClipSource: where everything that looks at or listens to a clip gets it from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from affect.data.file_hashes import Version, version
from affect.data.interventions.clip_changes import changed
from affect.data.interventions.plan import SWAPS, Plan
from affect.data.media import Clip, Sampling, decode
from affect.data.record import Record

if TYPE_CHECKING:
    from affect.data.tensor_store import TensorFiles


@dataclass(frozen=True, slots=True)
class ClipSource:
    """The only door to a clip's waveform and frames. It can be handed to other processes.

    Without arguments it decodes every clip when it is asked for, and keeps nothing.
    """

    files: "TensorFiles | None" = None
    """The cache of decoded clips; None where every clip is decoded each time."""
    versions: Mapping[str, tuple[str, Version]] = field(default_factory=dict)
    """sha256 and version of every file, by path."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Duration of every clip, by record id."""
    plan: Plan = field(default_factory=Plan)
    """What is changed in the clips that `clip` gives."""

    def key(self, record: Record) -> list | None:
        """What tells the clip of a record from all others: the file's content, the window, the audio track, and what
        was changed in it, with the other clip of a swap. Caches of anything that is computed from a clip are keyed by
        it. None where a file is not as it was when the run first looked at it."""
        digest, partner = self._digest(record), self.plan.partners.get(record.id)
        other = None if partner is None else self._digest(partner)
        if digest is None or (partner is not None and other is None):
            return None
        # An unchanged clip has the key that it has without interventions, so that caches are shared.
        taken = [] if partner is None else [other, *partner.part]
        return [digest, *record.part, *self.plan.key(record), *taken]

    def clip(self, record: Record, wanted: Sampling) -> Clip:
        """The audio and video of a record that `wanted` names, after the intervention. Raises MediaError."""
        config, partner = self.plan.of(record), None
        if config.name in SWAPS and getattr(wanted, SWAPS[config.name]):
            other, track = self.plan.partners[record.id], SWAPS[config.name]
            partner = self._kept(other, replace(wanted, audio=track == "audio", video=track == "video"))
        return changed(self._kept(record, wanted), config, partner)

    def _kept(self, record: Record, wanted: Sampling) -> Clip:
        return self.unchanged(record, wanted, None if self.files is None else self._digest(record))

    def unchanged(self, record: Record, wanted: Sampling, digest: str | None = None) -> Clip:
        """The clip as it was recorded, whatever the intervention: from the cache where there is one and `digest`, the
        sha256 of its file, is known; otherwise decoded. Raises MediaError."""
        assert record.media is not None, "records without a file are excluded by the check"
        if self.files is None or digest is None:
            return decode(record.media, wanted, record.start, record.end, record.audio_track)
        from affect.data.clip_cache import take  # which needs torch

        return take(self.files, [digest, *record.part], record, wanted)

    def _digest(self, record: Record) -> str | None:
        """sha256 of a record's file; None where the file is not as it was."""
        known = self.versions.get(record.media) if record.media is not None else None
        if known is None:
            return None
        digest, then = known
        try:
            return digest if version(record.media) == then else None
        except OSError:  # decoding it will say what is the matter
            return None
