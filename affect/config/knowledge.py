"""Schema of the group `knowledge`: where descriptions of audio and video come from."""

from dataclasses import dataclass
from enum import Enum

from affect.config.fields import field
from affect.config.model import BACKOFF, CONCURRENCY, RETRIES, TIMEOUT, ModelConfig, ServerVideo


class Source(str, Enum):
    """Source of descriptions, each a module of affect/knowledge/sources."""

    none = "none"
    cues = "cues"
    mllm = "mllm"
    server = "server"
    file = "file"


class Missing(str, Enum):
    """Treatment of clips without a description."""

    refuse = "refuse"
    exclude = "exclude"


class Control(str, Enum):
    """What replaces descriptions, to measure how much of a gain comes from their content."""

    none = "none"
    shuffled = "shuffled"
    empty = "empty"
    mismatched_modality = "mismatched_modality"
    masked = "masked"


class ControlSplit(str, Enum):
    all = "all"
    test = "test"


class CuesForm(str, Enum):
    """How measured cues are told."""

    phrases = "phrases"
    """In words: "high pitch, very loud"."""
    levels = "levels"
    """The name of each cue and its level, always in the same order: "pitch 4/5, loudness 5/5". Small models may find
    what never changes its wording easier to learn."""


class CuesReference(str, Enum):
    """Clips that a cue is relative to."""

    train = "train"
    speaker = "speaker"


@dataclass(slots=True, kw_only=True)
class KnowledgeConfig:
    """Generated descriptions of audio and video: their source, content and storage. Keys of a single source begin with
    its name, or name it."""

    source: Source = Source.none
    """Source of the descriptions; none: no descriptions."""
    also: list[Source] = field(default_factory=list)
    """Further sources. Their texts follow that of `source` in this order, one line each."""
    modalities: list[str] = field(default_factory=lambda: ["audio", "video"], role="check")
    """Modalities to describe: audio, video, audio_video (one text about both). Modalities that a dataset lacks are left
    out. They change no text, so they are in no fingerprint."""
    store: str | None = field(None, role="location")
    """Folder of the stored descriptions; null: `knowledge` under cache_root. Several processes and machines can write
    to it."""
    make: bool = field(False, role="check", phase="evaluation")
    """train.py and evaluate.py: generate missing descriptions instead of listing them."""
    missing: Missing = field(Missing.refuse, phase="evaluation")
    """refuse: stop with the list of missing descriptions. exclude: leave those clips out, counted and listed."""
    splits: list[str] = field(default_factory=lambda: ["train", "val", "test"], role="check", phase="evaluation")
    """affect knowledge: the splits to describe."""
    shard: str | None = field(None, role="check", phase="evaluation", programs=("knowledge",))
    """affect knowledge: i/n, with i from 0 to n - 1, describes only the i-th of n shares of the clips. A multirun
    distributes the work: knowledge.shard=0/4,1/4,2/4,3/4."""
    control: Control = field(Control.none, phase="evaluation")
    """shuffled: the description of another clip of the same dataset and split. empty: no description.
    mismatched_modality: descriptions of audio and video are exchanged. masked: words that name a label are masked
    (affect/knowledge/naming.py)."""
    control_split: ControlSplit = field(ControlSplit.all, phase="evaluation")
    """Splits that the control is applied to: all of them, or the test split alone."""
    file_path: str | None = field(None, role="data_location")
    """file: table of existing descriptions (.jsonl, .csv, .tsv or .parquet) with the columns id, modality, text and,
    optionally, generator."""
    cues_reference: CuesReference = CuesReference.train
    """cues: clips that the words are relative to. train: the training split of the clip's dataset. speaker: clips of
    the same speaker in the same split, so that the words of a test clip depend on the speaker's other test clips."""
    cues_form: CuesForm = CuesForm.phrases
    """cues: phrases tells each cue in words. levels tells its name and its level from 1, the lowest, to 5."""
    cues_audio: list[str] = field(default_factory=list)
    """cues: acoustic cues to describe: pitch, intonation, range, contour, loudness, dynamics, pace, pauses, length,
    brightness, voicing, clarity (defined in affect/data/cues/acoustic.py); empty: all."""
    cues_video: list[str] = field(default_factory=list)
    """cues: visual cues to describe: faces, smile, framing, head, movement, movement_low, cuts, brightness, contrast
    (defined in affect/data/cues/visual.py); empty: all."""
    instruction_audio: dict[str, str] = field(default_factory=dict, used_by=("mllm", "server"))
    """mllm, server: instruction for audio, by language."""
    instruction_video: dict[str, str] = field(default_factory=dict, used_by=("mllm", "server"))
    """mllm, server: instruction for video, by language."""
    instruction_audio_video: dict[str, str] = field(default_factory=dict, used_by=("mllm", "server"))
    """mllm, server: instruction for both together, by language."""
    by_aspects: bool = field(False, used_by=("mllm", "server"))
    """mllm, server: ask for one line per aspect of a fixed list instead of free text."""
    instruction_aspects: dict[str, str] = field(default_factory=dict, used_by=("mllm", "server"))
    """mllm, server: text after the instruction with by_aspects=true; `{aspects}` is replaced by their names."""
    aspects_audio: dict[str, list[str]] = field(default_factory=dict, used_by=("mllm", "server"))
    """mllm, server: names of the aspects of audio, by language."""
    aspects_video: dict[str, list[str]] = field(default_factory=dict, used_by=("mllm", "server"))
    """mllm, server: names of the aspects of video, by language; audio_video has both lists."""
    show_transcript: bool = field(False, used_by=("mllm", "server"))
    """mllm, server: show the transcript before the instruction. Without it a description cannot repeat or judge the
    words."""
    instruction_transcript: dict[str, str] = field(default_factory=dict, used_by=("mllm", "server"))
    """mllm, server: wording around the transcript; `{text}` is replaced by it."""
    max_new_tokens: int = field(128, used_by=("mllm", "server"), least=1)
    """mllm, server: maximum length of a description in tokens; longer ones are cut."""
    temperature: float = field(0.0, used_by=("mllm", "server"), least=0)
    """mllm, server: 0 decodes greedily; above 0 tokens are sampled."""
    sampling_seed: int = field(0, used_by=("mllm", "server"))
    """mllm, server: seed of sampling. The tokens of a clip depend on it and on the clip alone."""
    mllm_models: dict[str, ModelConfig] = field(default_factory=dict)
    """mllm: the generators by name, each a choice of the group model: model@knowledge.mllm_models.main=… replaces one,
    +model@knowledge.mllm_models.second=… adds one. Each describes the modalities that it takes; texts of several follow
    each other in the order of their names, one line each."""
    mllm_run: str | None = None
    """mllm: run folder whose fine-tuned model is the only generator, instead of mllm_models."""
    mllm_batch_size: int = field(16, role="rounding", least=1)
    """mllm: number of clips in a batch."""
    server_url: str | None = field(None, role="server")
    """server: base URL of an OpenAI-compatible interface, such as http://localhost:8000/v1."""
    server_model: str | None = None
    """server: name of the model on the server."""
    server_revision: str = ""
    """server: version of the weights, in words of your own. A server does not report it, and descriptions by other
    weights of the same name would be taken for the same."""
    server_key_variable: str | None = field(None, role="server")
    """server: environment variable with the API key; null sends none. The key itself is written nowhere."""
    server_video: ServerVideo = ServerVideo.frames
    """server: how video is sent."""
    server_num_frames: int = field(8, least=1)
    """server: frames sampled uniformly from a clip."""
    server_frame_size: int = field(448, least=1)
    """server: longest side of a frame in pixels; smaller frames are not enlarged."""
    server_max_seconds: float = field(30.0, above=0)
    """server: maximum length of a clip in seconds; longer clips are not described, and counted as failed."""
    server_concurrency: int = field(CONCURRENCY, role="server", least=1)
    """server: maximum number of simultaneous requests."""
    server_timeout: float = field(TIMEOUT, role="server", above=0)
    """server: timeout of a request in seconds."""
    server_retries: int = field(RETRIES, role="server", least=0)
    """server: retries after a timeout, a failed connection, status 429 or 5xx, or a response that is no answer."""
    server_backoff: float = field(BACKOFF, role="server", least=0)
    """server: seconds before the first retry, doubled before each further one, a minute at most."""
