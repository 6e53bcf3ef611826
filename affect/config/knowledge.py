"""Schema of the group `knowledge`: where descriptions of audio and video come from."""

from dataclasses import dataclass
from enum import Enum

from affect.config.fields import field
from affect.config.model import BACKOFF, CONCURRENCY, RETRIES, TIMEOUT, ModelConfig, ServerVideo


class Source(str, Enum):
    """Who describes the clips: modules of affect/knowledge."""

    none = "none"
    cues = "cues"
    mllm = "mllm"
    server = "server"
    file = "file"


class Missing(str, Enum):
    """What becomes of a clip that lacks a description."""

    refuse = "refuse"
    exclude = "exclude"


class Control(str, Enum):
    """What is put in the place of a description, to see what of a gain comes from its content."""

    none = "none"
    shuffled = "shuffled"
    empty = "empty"
    mismatched_modality = "mismatched_modality"
    masked = "masked"


class ControlSplit(str, Enum):
    all = "all"
    test = "test"


class CuesReference(str, Enum):
    """Whose clips a cue is told relative to."""

    train = "train"
    speaker = "speaker"


@dataclass(slots=True, kw_only=True)
class KnowledgeConfig:
    """Generated descriptions of audio and video: who makes them, and where they are kept. Keys that only one source
    has begin with its name, or say so."""

    source: Source = Source.none
    """Which source describes the clips; none is no descriptions."""
    also: list[Source] = field(default_factory=list)
    """Further sources. Their texts follow that of `source`, in this order, a line each."""
    modalities: list[str] = field(default_factory=lambda: ["audio", "video"], role="check")
    """What is described: audio, video, audio_video (both together, in one text). What a dataset does not have is left
    out for its clips. It changes no text, so it is in no fingerprint."""
    store: str | None = field(None, role="location")
    """Folder in which descriptions are kept; null is `knowledge` under cache_root. Several processes and machines can
    fill one."""
    make: bool = field(False, role="check", phase="evaluation")
    """train.py and evaluate.py: make the descriptions that the store lacks, instead of saying which."""
    missing: Missing = field(Missing.refuse, phase="evaluation")
    """refuse stops with the list of what the store lacks; exclude leaves those clips out, counted and listed."""
    splits: list[str] = field(default_factory=lambda: ["train", "val", "test"], role="check", phase="evaluation")
    """affect knowledge: the splits that are described."""
    shard: str | None = field(None, role="check", phase="evaluation", programs=("knowledge",))
    """affect knowledge: i/n with i from 0 to n - 1 fills in only the i-th of n shares, so that a multirun spreads the
    work, knowledge.shard=0/4,1/4,2/4,3/4."""
    control: Control = field(Control.none, phase="evaluation")
    """shuffled: the description of another clip of the same dataset and split. empty: none at all. mismatched_modality:
    audio and video change places. masked: all that names a label is masked (affect/knowledge/naming.py)."""
    control_split: ControlSplit = field(ControlSplit.all, phase="evaluation")
    """Where the control is applied: all splits, or the test split alone."""
    file_path: str | None = field(None, role="data_location")
    """file: table of descriptions made elsewhere, .jsonl, .csv, .tsv or .parquet, with the columns id, modality, text
    and, where there is one, generator."""
    cues_reference: CuesReference = CuesReference.train
    """cues: whose clips the words are relative to. train: the training split of the clip's dataset. speaker: the clips
    of the same speaker in the same split, so that a test clip's words depend on the speaker's other test clips."""
    cues_audio: list[str] = field(default_factory=list)
    """cues: what is told of the sound, of pitch, intonation, range, contour, loudness, dynamics, pace, pauses, length,
    brightness, voicing, clarity (affect/data/cues/acoustic.py says what they are); empty is all."""
    cues_video: list[str] = field(default_factory=list)
    """cues: what is told of the picture, of faces, smile, framing, head, movement, movement_low, cuts, brightness,
    contrast (affect/data/cues/visual.py says what they work on); empty is all."""
    instruction_audio: dict[str, str] = field(default_factory=dict, used_by=("mllm", "server"))
    """mllm, server: what is asked about the sound, by language."""
    instruction_video: dict[str, str] = field(default_factory=dict, used_by=("mllm", "server"))
    """mllm, server: what is asked about the picture, by language."""
    instruction_audio_video: dict[str, str] = field(default_factory=dict, used_by=("mllm", "server"))
    """mllm, server: what is asked about both together, by language."""
    by_aspects: bool = field(False, used_by=("mllm", "server"))
    """mllm, server: ask for a line on each of a fixed list of aspects, instead of for free text."""
    instruction_aspects: dict[str, str] = field(default_factory=dict, used_by=("mllm", "server"))
    """mllm, server: follows the instruction when by_aspects is set; `{aspects}` is replaced by their names."""
    aspects_audio: dict[str, list[str]] = field(default_factory=dict, used_by=("mllm", "server"))
    """mllm, server: names of the aspects of sound, by language."""
    aspects_video: dict[str, list[str]] = field(default_factory=dict, used_by=("mllm", "server"))
    """Those of audio_video are both lists."""
    show_transcript: bool = field(False, used_by=("mllm", "server"))
    """mllm, server: put the transcript before the instruction. Withheld, a description cannot repeat or judge the
    words."""
    instruction_transcript: dict[str, str] = field(default_factory=dict, used_by=("mllm", "server"))
    """mllm, server: how the transcript is shown; `{text}` is replaced by it."""
    max_new_tokens: int = field(128, used_by=("mllm", "server"), least=1)
    """mllm, server: a description that is not over by then is cut."""
    temperature: float = field(0.0, used_by=("mllm", "server"), least=0)
    """mllm, server: 0 takes the most likely token each time (greedy); above 0 tokens are drawn."""
    sampling_seed: int = field(0, used_by=("mllm", "server"))
    """mllm, server: for temperatures above 0. A clip's draws depend on it and on the clip alone."""
    mllm_models: dict[str, ModelConfig] = field(default_factory=dict)
    """mllm: the generators by name, each a choice of the group model: model@knowledge.mllm_models.main=… takes another,
    +model@knowledge.mllm_models.second=… adds one. Each describes what it takes, and what several say of the same clip
    follows each other in the order of their names, a line each."""
    mllm_run: str | None = None
    """mllm: the run folder whose fine-tuned model is the only generator, in the place of mllm_models."""
    mllm_batch_size: int = field(16, role="rounding", least=1)
    """mllm: clips that are described at once."""
    server_url: str | None = field(None, role="server")
    """server: where an OpenAI-compatible interface begins, http://localhost:8000/v1."""
    server_model: str | None = None
    """server: the name under which it serves the model."""
    server_revision: str = ""
    """server: which weights those are, in words of your own. A server does not tell, and descriptions of other weights
    under the same name would be taken for the same."""
    server_key_variable: str | None = field(None, role="server")
    """server: environment variable that holds the API key; null sends none. The key itself is written nowhere."""
    server_video: ServerVideo = ServerVideo.frames
    """server: how the picture is sent."""
    server_num_frames: int = field(8, least=1)
    """server: frames sampled uniformly from a clip."""
    server_frame_size: int = field(448, least=1)
    """server: longest side of a frame in pixels; smaller frames are not enlarged."""
    server_max_seconds: float = field(30.0, above=0)
    """server: longer clips are not described, and counted as failed."""
    server_concurrency: int = field(CONCURRENCY, role="server", least=1)
    """server: requests at a time."""
    server_timeout: float = field(TIMEOUT, role="server", above=0)
    """server: seconds after which a request is given up."""
    server_retries: int = field(RETRIES, role="server", least=0)
    """server: further attempts after one that timed out, met no server, or was answered by 429, by 5xx or by something
    that is no answer."""
    server_backoff: float = field(BACKOFF, role="server", least=0)
    """server: seconds before the first of them, twice as many before each further one, a minute at the most."""
