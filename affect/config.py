"""Every name, type and default of the configuration; affect/rules.py says which of them go together."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from affect.tasks import Task


class ConfigError(Exception):
    """The configuration cannot be run. The message says what clashes and what to do, one line a problem."""


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
    """What of a clip's picture a model is given, and how its sound stands beside it."""

    uniform = "uniform"
    """`num_frames` frames, evenly spaced, with `frame_size` pixels on their longest side at the most; sound and picture
    one after the other. The same for every model, so that ablations compare."""
    native = "native"
    """What the checkpoint's own processor takes when it is called as its model card does: its frames a second, its
    bounds on frames and pixels, the frames in their own size, and where the model can (Qwen2.5-Omni, Qwen3-Omni) the
    sound interleaved with the picture. For numbers to be put beside published ones."""


@dataclass(slots=True, kw_only=True)
class ModelConfig:
    """What every family needs. A family's own settings are in its subclass."""

    family: str = MISSING
    """Module of affect/models that loads it."""
    name: str = MISSING
    """Name in run folders and tables."""
    modalities: str = MISSING
    """Letters of "tav" the model can take."""
    precision: Precision = Precision.auto
    """Type of the weights; auto is bfloat16 where CUDA has it, else float32."""
    attention: Attention = Attention.auto
    max_seconds: float = 30.0
    """Longer clips are excluded and listed."""
    media: Media = Media.uniform
    """uniform: `num_frames` and `frame_size` decide what is taken of a picture. native: the checkpoint's own processor
    does, and the two are not used. Numbers differ, and so do memory and time: frames keep the size of the file."""
    num_frames: int = 8
    """Frames sampled uniformly from a clip (media=uniform)."""
    frame_size: int = 64
    """Longest side of a frame in pixels; smaller frames are not enlarged (media=uniform)."""
    gradient_checkpointing: str = "auto"
    """true, false or auto. Recompute activations in the backward pass: less memory, about a third slower, the same
    numbers. auto does so on a GPU where the activations of the longest batch are estimated not to fit."""
    licence: str = ""
    """Licence of the weights, for the card of what is exported."""


class ProjectorKind(str, Enum):
    """How an encoder's outputs become soft tokens."""

    mlp = "mlp"
    qformer = "qformer"


@dataclass(slots=True, kw_only=True)
class ComposedConfig(ModelConfig):
    """A causal language model with an audio and a vision encoder whose outputs stand as soft tokens in the prompt."""

    family: str = "composed"
    language: str = MISSING
    """`smollm2-wheel` (comes from the package index), a folder, or a model hub's name."""
    audio: str | None = "conv"
    """`conv` (small, log-mel, trained from scratch), a folder or hub name of an encoder, or null for none."""
    vision: str | None = "conv"
    """`conv` (small, a frame at a time, trained from scratch), a folder or hub name of an encoder, or null for none."""
    audio_tokens: int = 8
    """Soft tokens that stand for a clip's audio."""
    video_tokens: int = 8
    """Soft tokens that stand for a clip's frames together."""
    encoder_width: int = 128
    """Channels of the `conv` encoders."""
    projector: ProjectorKind = ProjectorKind.mlp
    """mlp: each soft token is made of its own part of the clip. qformer: learned queries, one a soft token, attend over
    `qformer_steps` parts of the clip."""
    qformer_steps: int = 64
    """qformer: equal parts of a clip the queries attend over."""
    qformer_layers: int = 2
    qformer_heads: int = 8
    trust_remote_code: bool = False
    """Run the Python code that comes with the checkpoints of language, audio and vision, which can do whatever you can
    do on this machine. For models whose code is not in transformers."""


@dataclass(slots=True, kw_only=True)
class NativeConfig(ModelConfig):
    """A model that transformers has whole. Most families have no settings beyond these; the model's file names which
    one it is."""

    checkpoint: str = MISSING
    """A folder or a model hub's name."""
    revision: str | None = None
    """Commit, tag or branch of the checkpoint on the hub."""


class ServerVideo(str, Enum):
    """How a server is sent the picture of a clip."""

    frames = "frames"
    """As still pictures, which every server of a vision model takes."""
    video = "video"
    """As one silent video made of the sampled frames, `video_url`, which vLLM takes beside OpenAI's interface."""


CONCURRENCY, TIMEOUT, RETRIES, BACKOFF = 8, 120.0, 4, 1.0
"""Of every server: requests at a time, seconds for one, further attempts, and seconds before the first of them."""


@dataclass(slots=True, kw_only=True)
class ServerConfig(ModelConfig):
    """A model behind a server with OpenAI's interface, such as vLLM: asked in words, never trained."""

    family: str = "server"
    url: str | None = None
    """Where its interface begins, http://localhost:8000/v1. Not where it is, but which model it is decides a number."""
    served: str | None = None
    """The name under which it serves the model; tables show it."""
    revision: str = ""
    """Which weights those are, in words of your own: a server does not tell."""
    key_variable: str | None = None
    """Environment variable that holds the API key; null sends none. The key itself is written nowhere."""
    video: ServerVideo = ServerVideo.frames
    """How the picture is sent."""
    concurrency: int = CONCURRENCY
    """Requests at a time, of a batch of evaluation.batch_size clips."""
    timeout: float = TIMEOUT
    """Seconds after which a request is given up."""
    retries: int = RETRIES
    """Further attempts after one that timed out, met no server, or was answered by 429, by 5xx or by something that is
    no answer."""
    backoff: float = BACKOFF
    """Seconds before the first of them, twice as many before each further one, a minute at the most."""


@dataclass(slots=True, kw_only=True)
class QwenOmniConfig(NativeConfig):
    """Qwen2.5-Omni, thinker only: text out, no speech."""

    family: str = "qwen_omni"


@dataclass(slots=True, kw_only=True)
class SubsetConfig:
    """How many records of each split are used; null is all. Stratified by the first task, nested, drawn by
    `subset_seed`."""

    train: int | None = None
    val: int | None = None
    test: int | None = None


class OnBadRows(str, Enum):
    """What is done where single rows of the annotations are wrong."""

    refuse = "refuse"
    exclude = "exclude"


class CrossSplitDuplicates(str, Enum):
    refuse = "refuse"
    exclude = "exclude"
    allow = "allow"


@dataclass(slots=True, kw_only=True)
class DatasetConfig:
    reader: str = MISSING
    """Module of affect/datasets that reads it."""
    root: str = MISSING
    """Folder (or, for a manifest, file) the reader is given."""
    modalities: str = "tav"
    """Letters of "tav" the dataset has."""
    language: str = "en"
    """Language of questions and answers."""
    tasks: list[str] = field(default_factory=list)
    """Which of task_definitions are trained and evaluated."""
    task_definitions: dict[str, Task] = field(default_factory=dict)
    speaker_independent: bool = False
    """No speaker may be in two splits; a run that meets one is refused."""
    options: dict[str, Any] = field(default_factory=dict)
    """The keyword-only parameters of the reader's `records` function."""
    audio_track: int | None = None
    """Which audio track is heard of files that have several (another language, a commentary), counted from 0; null is
    the one that each file marks as its default, or else the first. A file without that track is excluded."""
    subset: SubsetConfig = field(default_factory=SubsetConfig)
    fraction: float | None = None
    """Share of the training clips that is used, above 0 and up to 1, or their number, from 2; null is all. Whole groups
    (video, dialogue, speaker) are drawn by `subset_seed`, so it is met as nearly as they allow; a smaller one lies
    inside a larger one."""
    subset_seed: int = 0
    exclude_overlap_with: list[str] = field(default_factory=list)
    """Names of datasets, of this run or of the one in run=…, whose clips are left out of this one in every split."""
    on_bad_rows: OnBadRows = OnBadRows.refuse
    """Rows of the annotations that are wrong: refuse names all of them and stops; exclude leaves them out, lists each
    in exclusions.csv and counts them beside every number. A file that is wrong as a whole, for example without a
    column, is refused in any case."""
    cross_split_duplicates: CrossSplitDuplicates = CrossSplitDuplicates.refuse
    """What happens where one clip (same file or content, windows that overlap by more than 0.1 s) is in two splits.
    refuse: the run ends with a list of them. exclude: the copy in the earlier of train, val and test is left out and
    listed in exclusions.csv, so that the test split stays as published; an evaluation of run=… leaves out what that run
    was trained on. allow: they are counted and used, as published results on such a set do."""


class TooLong(str, Enum):
    shorten = "shorten"
    refuse = "refuse"


DESCRIPTIONS = {"audio": "a", "video": "v", "audio_video": "av"}
"""What a generated description can be of, with the letters of the modalities it tells of."""


class DescriptionsPosition(str, Enum):
    before = "before"
    after = "after"


class ExampleChoice(str, Enum):
    similar = "similar"
    random = "random"


@dataclass(slots=True, kw_only=True)
class FewshotConfig:
    """Labelled training examples in the prompt, as text: their clips are not shown. They are of the same dataset and
    never of the clip's own group."""

    k: int = 0
    """Examples in every prompt; 0 is none."""
    choice: ExampleChoice = ExampleChoice.similar
    """similar takes the training clips whose text is nearest by the cosine of TF-IDF, the nearest last; random draws
    them for every clip."""
    seed: int = 0
    """Of random, and of the choice between equally similar ones. Not the run's seed, so that runs over several seeds
    have the same prompts."""
    example: dict[str, str] = field(default_factory=dict)
    """One example; `{clip}` is replaced by its transcript and descriptions in their own wording, `{answer}` by its
    label."""
    clip: dict[str, str] = field(default_factory=dict)
    """Stands between the examples and the clip that is asked about."""


@dataclass(slots=True, kw_only=True)
class PromptingConfig:
    """The wording around a clip. Keys of the dictionaries are language codes."""

    name: str = MISSING
    system: dict[str, str] = field(default_factory=dict)
    """The system turn."""
    context: dict[str, str] = field(default_factory=dict)
    """Stands before the transcript when a record has earlier turns; `{turns}` is replaced by them, one a line."""
    transcript: dict[str, str] = field(default_factory=dict)
    """Stands in the prompt when modalities has t; `{text}` is replaced by the transcript."""
    descriptions: list[str] = field(default_factory=list)
    """Which generated descriptions stand in the prompt, in this order: audio, video, audio_video (one text about
    both). They come from the group `knowledge`."""
    descriptions_without_media: bool = False
    """Show a description although `modalities` leaves out what it tells of, so that a model is told in words what it is
    not given. Otherwise an ablation of audio leaves out the description of the audio too."""
    descriptions_position: DescriptionsPosition = DescriptionsPosition.after
    """Whether they stand before or after the transcript."""
    max_description_words: int | None = None
    """Words of each description that are shown, from its beginning; null is all. Chinese characters count one by
    one."""
    audio_description: dict[str, str] = field(default_factory=dict)
    """Wording around the description of the audio; `{text}` is replaced by it."""
    video_description: dict[str, str] = field(default_factory=dict)
    """Wording around the description of the video; `{text}` is replaced by it."""
    audio_video_description: dict[str, str] = field(default_factory=dict)
    """Wording around the description of both together; `{text}` is replaced by it."""
    cot: bool = False
    """Ask for reasons before the answer (chain of thought); what is read is what stands after the last
    `answer_marker`. There are no reasons to learn from, so the target of fine-tuning is the marker and the answer."""
    cot_instruction: dict[str, str] = field(default_factory=dict)
    """Follows the question; `{marker}` is replaced by `answer_marker`."""
    answer_marker: dict[str, str] = field(default_factory=dict)
    """Stands before the final answer."""
    fewshot: FewshotConfig = field(default_factory=FewshotConfig)
    max_text_tokens: int = 1024
    """Budget for the prompt without the tokens of audio and video."""
    too_long: TooLong = TooLong.shorten
    """Over the budget: shorten drops the least similar example first, then the oldest context turn, then the last words
    of the descriptions, then the transcript's first words, and counts it; refuse stops with the list of the
    records."""


class Tower(str, Enum):
    """How the parameters of one tower are trained."""

    auto = "auto"
    frozen = "frozen"
    lora = "lora"
    full = "full"


class LoraMethod(str, Enum):
    """What is made of low-rank adaptation (Hu et al., LoRA, ICLR 2022, arXiv 2106.09685)."""

    lora = "lora"
    """W + alpha / rank · B A, with B zero at the start."""
    rslora = "rslora"
    """Scaled by alpha / √rank, so that large ranks learn too (Kalajdzievski 2023, arXiv 2312.03732). At the same alpha
    the update is √rank times that of lora."""
    dora = "dora"
    """The length of every row of the weight is trained beside its direction (Liu et al., ICML 2024, arXiv 2402.09353).
    About a third slower."""
    pissa = "pissa"
    """B A starts from the greatest singular values of W, which are taken out of the frozen part: W is unchanged at the
    start (Meng et al., NeurIPS 2024, arXiv 2404.02948). It wants a smaller learning rate."""


class Target(str, Enum):
    """What is learnt."""

    answer = "answer"
    """The words of the answer."""
    head = "head"
    """A linear layer of its own for every task on the state of the prompt's last position; no words."""


class ClassSampling(str, Enum):
    """How often a training clip is drawn, by how many of its class there are."""

    natural = "natural"
    balanced = "balanced"
    square_root = "square_root"


class LabelWeights(str, Enum):
    """How much an answer weighs in the loss, by how many of its class there are."""

    none = "none"
    balanced = "balanced"
    square_root = "square_root"


@dataclass(slots=True, kw_only=True)
class FinetuningConfig:
    name: str = MISSING
    language: Tower = Tower.lora
    """auto, for every tower, is full where its weights are new (random) and frozen where they are pretrained."""
    audio: Tower = Tower.auto
    vision: Tower = Tower.auto
    projector: Tower = Tower.auto
    target: Target = Target.answer
    """answer: the words of the label, read by score, constrained and generate. head: a linear layer a task, read by
    evaluation=head."""
    method: LoraMethod = LoraMethod.lora
    """Of every tower that gets LoRA."""
    four_bit: bool = False
    """Keep the frozen weights of the language model's linear modules in 4 bits (NF4 with double quantisation: Dettmers
    et al., QLoRA, NeurIPS 2023, arXiv 2305.14314): a quarter of bfloat16's memory, and slower. Needs bitsandbytes."""
    rank: int = 16
    alpha: int = 32
    """LoRA's update is scaled by alpha / rank."""
    dropout: float = 0.0
    """On the input of the LoRA update. Drawing its random numbers takes a fifth of a training step on a CPU."""
    targets: list[str] = field(default_factory=list)
    """Last parts of the names of the linear modules that get LoRA (q_proj, …); empty is all but the output
    embedding."""
    learning_rate: float = 5e-4
    """Of LoRA, and of pretrained towers trained in full."""
    new_learning_rate: float = 2e-4
    """Of towers whose weights are new, once they are aligned, and of heads. Without alignment they need several times
    that."""
    language_learning_rate: float | None = None
    """Of this tower alone; null is learning_rate, or new_learning_rate where its weights are new."""
    audio_learning_rate: float | None = None
    vision_learning_rate: float | None = None
    projector_learning_rate: float | None = None
    weight_decay: float = 0.01
    warmup: float = 0.1
    """Share of the steps over which the learning rate rises linearly; then it falls along a cosine to zero."""
    alignment_epochs: int = 8
    """Epochs in which new towers are first fitted alone against the training answers, with the language model left out:
    cheap, and it spares the language model the epochs in which soft tokens are noise. Without new towers there is
    nothing to align."""
    alignment_learning_rate: float = 1e-3
    sampling: ClassSampling = ClassSampling.natural
    """natural: every training example once an epoch. balanced and square_root draw as many examples as there are with
    replacement, of a class of n with probability proportional to 1/n each, so that all classes come equally often, or
    to 1/√n. Only classification tasks have classes; every task keeps its share of the epoch. The alignment sees every
    clip once an epoch in any case."""
    label_weights: LabelWeights = LabelWeights.none
    """balanced and square_root multiply the loss of an answer of a class of n training examples by what is proportional
    to 1/n or 1/√n, with a mean of 1 over the examples of the task. Only classification tasks have classes."""


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
    also: list[Source] = field(default_factory=list)
    """Further sources. Their texts follow that of `source`, in this order, a line each."""
    modalities: list[str] = field(default_factory=lambda: ["audio", "video"])
    """What is described: audio, video, audio_video (both together, in one text). What a dataset does not have is left
    out for its clips. It changes no text, so it is in no fingerprint."""
    store: str | None = None
    """Folder in which descriptions are kept; null is `knowledge` under cache_root. Several processes and machines can
    fill one."""
    make: bool = False
    """train.py and evaluate.py: make the descriptions that the store lacks, instead of saying which."""
    missing: Missing = Missing.refuse
    """refuse stops with the list of what the store lacks; exclude leaves those clips out, counted and listed."""
    splits: list[str] = field(default_factory=lambda: ["train", "val", "test"])
    """affect.knowledge: the splits that are described."""
    shard: str | None = None
    """affect.knowledge: i/n with i from 0 to n - 1 fills in only the i-th of n shares, so that a multirun spreads the
    work, knowledge.shard=0/4,1/4,2/4,3/4."""
    control: Control = Control.none
    """shuffled: the description of another clip of the same dataset and split. empty: none at all. mismatched_modality:
    audio and video change places. masked: all that names a label is masked (affect/knowledge/naming.py)."""
    control_split: ControlSplit = ControlSplit.all
    """Where the control is applied: all splits, or the test split alone."""
    file_path: str | None = None
    """file: table of descriptions made elsewhere, .jsonl, .csv, .tsv or .parquet, with the columns id, modality, text
    and, where there is one, generator."""
    cues_reference: CuesReference = CuesReference.train
    """cues: whose clips the words are relative to. train: the training split of the clip's dataset. speaker: the clips
    of the same speaker in the same split, so that a test clip's words depend on the speaker's other test clips."""
    cues_audio: list[str] = field(default_factory=list)
    """cues: what is told of the sound, of pitch, intonation, range, contour, loudness, dynamics, pace, pauses, length,
    brightness, voicing, clarity (affect/knowledge/acoustic.py says what they are); empty is all."""
    cues_video: list[str] = field(default_factory=list)
    """cues: what is told of the picture, of faces, smile, framing, head, movement, movement_low, cuts, brightness,
    contrast (affect/knowledge/visual.py says what they work on); empty is all."""
    instruction_audio: dict[str, str] = field(default_factory=dict)
    """mllm, server: what is asked about the sound, by language."""
    instruction_video: dict[str, str] = field(default_factory=dict)
    """mllm, server: what is asked about the picture, by language."""
    instruction_audio_video: dict[str, str] = field(default_factory=dict)
    """mllm, server: what is asked about both together, by language."""
    by_aspects: bool = False
    """mllm, server: ask for a line on each of a fixed list of aspects, instead of for free text."""
    instruction_aspects: dict[str, str] = field(default_factory=dict)
    """mllm, server: follows the instruction when by_aspects is set; `{aspects}` is replaced by their names."""
    aspects_audio: dict[str, list[str]] = field(default_factory=dict)
    aspects_video: dict[str, list[str]] = field(default_factory=dict)
    """Those of audio_video are both lists."""
    show_transcript: bool = False
    """mllm, server: put the transcript before the instruction. Withheld, a description cannot repeat or judge the
    words."""
    instruction_transcript: dict[str, str] = field(default_factory=dict)
    """mllm, server: how the transcript is shown; `{text}` is replaced by it."""
    max_new_tokens: int = 128
    """mllm, server: a description that is not over by then is cut."""
    temperature: float = 0.0
    """mllm, server: 0 takes the most likely token each time (greedy); above 0 tokens are drawn."""
    sampling_seed: int = 0
    """mllm, server: for temperatures above 0. A clip's draws depend on it and on the clip alone."""
    mllm_models: dict[str, ModelConfig] = field(default_factory=dict)
    """mllm: the generators by name, each a choice of the group model: model@knowledge.mllm_models.main=… takes another,
    +model@knowledge.mllm_models.second=… adds one. Each describes what it takes, and what several say of the same clip
    follows each other in the order of their names, a line each."""
    mllm_run: str | None = None
    """mllm: the run folder whose fine-tuned model is the only generator, in the place of mllm_models."""
    mllm_batch_size: int = 16
    """mllm: clips that are described at once."""
    server_url: str | None = None
    """server: where an OpenAI-compatible interface begins, http://localhost:8000/v1."""
    server_model: str | None = None
    """server: the name under which it serves the model."""
    server_revision: str = ""
    """server: which weights those are, in words of your own. A server does not tell, and descriptions of other weights
    under the same name would be taken for the same."""
    server_key_variable: str | None = None
    """server: environment variable that holds the API key; null sends none. The key itself is written nowhere."""
    server_video: ServerVideo = ServerVideo.frames
    """server: how the picture is sent."""
    server_num_frames: int = 8
    """server: frames sampled uniformly from a clip."""
    server_frame_size: int = 448
    """server: longest side of a frame in pixels; smaller frames are not enlarged."""
    server_max_seconds: float = 30.0
    """server: longer clips are not described, and counted as failed."""
    server_concurrency: int = CONCURRENCY
    """server: requests at a time."""
    server_timeout: float = TIMEOUT
    """server: seconds after which a request is given up."""
    server_retries: int = RETRIES
    """server: further attempts after one that timed out, met no server, or was answered by 429, by 5xx or by something
    that is no answer."""
    server_backoff: float = BACKOFF
    """server: seconds before the first of them, twice as many before each further one, a minute at the most."""


class Readout(str, Enum):
    score = "score"
    generate = "generate"
    constrained = "constrained"
    head = "head"


class IntensityReadout(str, Enum):
    generate = "generate"
    expectation = "expectation"
    constrained = "constrained"
    head = "head"


class Calibration(str, Enum):
    none = "none"
    contextual = "contextual"


class Reader(str, Enum):
    exact = "exact"
    lenient = "lenient"


class Selection(str, Enum):
    mean_headline = "mean_headline"
    min_headline = "min_headline"


@dataclass(slots=True, kw_only=True)
class EvaluationConfig:
    name: str = MISSING
    split: str = "test"
    readout: Readout = Readout.score
    """Classification: score takes the label with the greatest log-likelihood; generate reads the generated text;
    constrained generates too, but at every token only what continues a label; head is the layer that
    finetuning.target=head has trained. Multi-label: the same, but that score generates, and constrained writes any
    combination of labels."""
    intensity_readout: IntensityReadout = IntensityReadout.generate
    """Intensity: generate reads the generated number; expectation is the mean of the task's grid of numbers, weighted
    by their likelihoods; constrained generates one of that grid; head is the layer that finetuning.target=head has
    trained."""
    calibration: Calibration = Calibration.none
    """score: contextual subtracts what the model says to a prompt without content (the transcript N/A, [MASK] and
    nothing, silence, a grey picture) from the score of every label, so that a label that it likes to say whatever is
    shown loses that advantage (Zhao et al., Calibrate Before Use, ICML 2021, arXiv 2102.09690)."""
    length_normalised: bool = False
    """score: divide a label's log-likelihood by its number of tokens."""
    logit_adjustment: float = 0.0
    """score, classification: τ of post-hoc logit adjustment. Answered is the label with the greatest score - τ · log of
    its share of the training examples; 0 is off, 1 makes up for the shares. The scores that are kept are not adjusted.
    After balanced sampling or label weights it makes up for the shares a second time."""
    reader: Reader = Reader.lenient
    """The reader whose values the headline is computed from; the numbers of both are reported."""
    max_new_tokens: int = 8
    batch_size: int = 16
    selection: Selection = Selection.mean_headline
    """What a checkpoint is chosen by: the mean or the smallest of all tasks' headline metrics on the validation split,
    each brought to [0, 1] with 1 the best."""


class Accelerator(str, Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def is_true(value: str) -> bool:
    """Of a key that takes true, false or auto: whether it is true, however YAML spells it."""
    return str(value).lower() == "true"


class Switch(str, Enum):
    auto = "auto"
    on = "on"
    off = "off"


class EncoderCache(str, Enum):
    auto = "auto"
    on = "on"
    off = "off"


@dataclass(slots=True, kw_only=True)
class TrainerConfig:
    name: str = MISSING
    accelerator: Accelerator = Accelerator.auto
    max_epochs: int = 3
    max_batches: int | None = None
    """Batches an epoch, and batches of an evaluation, at the most; null is all. For trying things out: what is left out
    is not scored."""
    batch_size: int = 8
    accumulate: int = 1
    """Batches whose gradients are added up for one optimiser step."""
    max_grad_norm: float = 1.0
    devices: int = 1
    """Processes that share the work, on all machines, each with its own CUDA device, or its own cores without CUDA. An
    optimiser step then sees batch_size × accumulate × devices clips. Where srun or torchrun starts the processes, it is
    their number."""
    try_longest_batch: Switch = Switch.auto
    """Whether the longest clips are put into one batch, forward and backward, before anything else, so that too large a
    batch is met at once. Changes no number. auto is on a GPU."""
    num_workers: str = "auto"
    """A number or auto. Processes that decode and encode clips beside each training one; 0 does it in the training
    process. auto is 0 without a GPU, and otherwise up to 4, as far as there are cores."""
    prefetch: int = 1
    """Batches that a thread has ready ahead of the model; 0 makes each when it is asked for. With num_workers the
    workers do that."""
    check_workers: int = 2
    """Threads that decode every clip once at the start to find those that cannot be used."""
    clip_cache_gb: float = 10.0
    """Gigabytes of decoded clips that are kept under cache_root, for all runs together; 0 decodes each clip each time.
    What was last used longest ago goes first."""
    encoder_cache: EncoderCache = EncoderCache.auto
    """What pretrained encoders that are not trained make of a clip is computed once and kept under cache_root, for all
    epochs and runs. auto does so where it can: not with max_batches, and not beyond encoder_cache_gb or what the disk
    has left. on refuses the run where it cannot."""
    encoder_cache_gb: float = 50.0
    """Gigabytes of that, for all runs together. What was last used longest ago goes first."""
    log_every: int = 5
    """Optimiser steps between two rows of the log."""
    save_every_steps: int | None = None
    """Optimiser steps between two savings of what resume=… continues from; null is by time alone. The end of an epoch
    is always saved."""
    save_every_minutes: float | None = 10.0
    """Minutes between two savings; null is by steps alone."""
    compile: bool = False
    """Train through torch.compile of the language model's layers: a minute or more at the start, faster steps after.
    Worth it for long trainings on a GPU; on a CPU it needs a C++ compiler."""
    progress: bool = True
    """Progress bars."""


class LoggerKind(str, Enum):
    csv = "csv"
    wandb = "wandb"


class WandbMode(str, Enum):
    auto = "auto"
    online = "online"
    offline = "offline"


@dataclass(slots=True, kw_only=True)
class LoggerConfig:
    """Every run writes log/metrics.csv; wandb is beside it."""

    kind: LoggerKind = LoggerKind.csv
    project: str = "affect"
    entity: str | None = None
    """User or team of Weights & Biases; null is the one who is logged in."""
    mode: WandbMode = WandbMode.auto
    """auto: what the environment variable WANDB_MODE says; else online where somebody is logged in, and offline
    otherwise."""
    num_samples: int = 16
    """Predictions that are shown with transcript and clip in a table; 0 is no table."""


class ExportAs(str, Enum):
    merged = "merged"
    adapter = "adapter"


@dataclass(slots=True, kw_only=True)
class Config:
    model: ModelConfig = MISSING
    datasets: dict[str, DatasetConfig] = field(default_factory=dict)
    """By name; filled by the group `dataset`, of which several can be named: dataset=[meld,demo]."""
    prompting: PromptingConfig = MISSING
    finetuning: FinetuningConfig = MISSING
    knowledge: KnowledgeConfig = MISSING
    evaluation: EvaluationConfig = MISSING
    trainer: TrainerConfig = MISSING
    logger: LoggerConfig = MISSING
    modalities: str = "tav"
    """Letters of text, audio, video that the model is given."""
    seed: int = 1
    data_root: str = "${oc.env:AFFECT_DATA,data}"
    """Folder that holds a folder per dataset. Only read."""
    cache_root: str = "${oc.env:AFFECT_CACHE,${oc.env:HOME,.}/.cache/affect}"
    """Folder for everything that is derived: converted models, the demo corpus, results of checking clips."""
    output_root: str = "outputs"
    """Folder in which a run makes its own folder."""
    resume: str | None = None
    """train.py: the run folder of a training that was stopped or killed, to be continued; everything else comes from
    it."""
    resume_with_other_code: bool = False
    """Continue although the code or a library is not the one the run was begun with: its numbers then belong to
    neither."""
    run: str | None = None
    """evaluate.py, affect.show and affect.export: the run folder whose model is used; null is the model as it comes,
    zero-shot."""
    allow_unknown_overlap: bool = False
    """Go on although it cannot be found out whether the clips that test a model are among those that it, or the
    generator of its descriptions, was trained on."""
    predictions: str | None = None
    """affect.score: table of predictions, CSV or JSONL with the columns id and prediction."""
    clip: str | None = None
    """affect.show: id of the record to show; null is the first."""
    strict: bool = False
    """affect.doctor: exit with 1 where a finding is an error."""
    export_as: ExportAs = ExportAs.merged
    """affect.export: merged writes a whole model, adapter what was trained alone."""
    export_folder: str | None = None
    """affect.export: the new folder it is written to; null is `export_merged` or `export_adapter` in the run's."""
    dry_run: bool = False
    """Check the configuration, say what would be run, and stop."""


FAMILIES = {
    "composed": ComposedConfig,
    "qwen_omni": QwenOmniConfig,
    "qwen3_omni": NativeConfig,
    "gemma3n": NativeConfig,
    "gemma4": NativeConfig,
    "phi4_multimodal": NativeConfig,
    "qwen2_audio": NativeConfig,
    "audio_flamingo3": NativeConfig,
    "voxtral": NativeConfig,
    "qwen3_vl": NativeConfig,
    "video_llama3": NativeConfig,
    "nemotron_h_omni": NativeConfig,
    "server": ServerConfig,
}
"""The schema of each model family."""

LACKING = {
    "qwen2_audio": "v",
    "audio_flamingo3": "v",
    "voxtral": "v",
    "nemotron_h_omni": "v",
    "qwen3_vl": "a",
    "video_llama3": "a",
}
"""Letters of the modalities that no checkpoint of a family takes."""

NATIVE_VIDEO = ("qwen_omni", "qwen3_omni", "qwen3_vl", "video_llama3", "gemma4")
"""Families whose checkpoints have a processor of videos, which media=native asks."""

PACKAGES = {"gemma3n": "timm"}
"""What a family needs that is not installed with affect. The extra that installs it has the family's name."""

GROUPS = ("model", "dataset", "prompting", "finetuning", "knowledge", "evaluation", "trainer", "logger")
"""The groups every run has one choice of; experiment and sweep are deltas over them."""


def register() -> None:
    """Puts the schema where Hydra composes from."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for group, node in {
        **FAMILIES,
        "prompting": PromptingConfig,
        "finetuning": FinetuningConfig,
        "knowledge": KnowledgeConfig,
        "evaluation": EvaluationConfig,
        "trainer": TrainerConfig,
        "logger": LoggerConfig,
    }.items():
        store.store(group="schema", name=group, node=node)


def near(word: str, options: Iterable[str]) -> str:
    """The end of a sentence: ", did you mean 'x'?" where an option resembles `word`, else a full stop."""
    close = get_close_matches(word, list(options), n=1, cutoff=0.6)
    return f", did you mean '{close[0]}'?" if close else "."


def is_optional(key: str) -> bool:
    """Whether a key, written with dots, may be null.

    >>> is_optional("trainer.max_batches"), is_optional("datasets.meld.subset.train"), is_optional("seed")
    (True, True, False)
    """
    kinds: list[Any] = [Config]
    for part in key.split("."):
        if any(get_origin(kind) is dict for kind in kinds):
            kinds = [get_args(kind)[1] for kind in kinds if get_origin(kind) is dict]  # `part` is a name in it
        else:
            kinds = [get_type_hints(kind)[part] for kind in kinds if part in getattr(kind, "__dataclass_fields__", ())]
        kinds = [each for kind in kinds for each in (FAMILIES.values() if kind is ModelConfig else [kind])]
    return any(type(None) in get_args(kind) for kind in kinds)


NO_VALUE = re.compile(r"(?i)none|nil|null|undefined|nan|n/a|~|")
"""How one writes in other languages that there is no value; here it is null."""


def text_for_null(key: str, value: Any, optional: bool) -> str | None:
    """The sentence that refuses a text such as None as the value of an optional key, or of a folder; None for all
    other values."""
    if not isinstance(value, str) or not NO_VALUE.fullmatch(value):
        return None
    if optional:
        return f"{key}={value} is a text: what is not there is written null, {key}=null"
    if key in ("data_root", "cache_root", "output_root"):
        return f"{key}={value} would be a folder of that name: leave it out to keep the default"
    return None


MODALITIES = {"t": "text", "a": "audio", "v": "video"}


def new_modalities(model: ModelConfig) -> str:
    """Letters of the modalities whose encoder or projector starts from random weights."""
    if not isinstance(model, ComposedConfig):
        return ""
    return "".join(letter for letter, encoder in (("a", model.audio), ("v", model.vision)) if encoder is not None)


def media_of(cfg: Config) -> str | None:
    """How clips are given to the model, a value of `Media`; None where it is given text alone."""
    return cfg.model.media.value if set("av") & set(cfg.modalities) else None


def chosen_tasks(cfg: Config) -> list[Task]:
    """The tasks of all datasets of a run. A name that no dataset has is left out: a rule refuses it."""
    return [
        dataset.task_definitions[name]
        for dataset in cfg.datasets.values()
        for name in dataset.tasks
        if name in dataset.task_definitions
    ]


def to_yaml(cfg: Config) -> str:
    """The resolved configuration, as a run folder keeps it."""
    return OmegaConf.to_yaml(OmegaConf.structured(cfg))


def read_yaml(path: Path) -> dict[str, Any]:
    """A run folder's configuration as plain values. Raises ConfigError where the file holds none."""
    try:
        plain = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        why = str(error).splitlines()[0]
        raise ConfigError(
            f"{path} cannot be read ({why}): restore the file, or delete {path.parent} and run again"
        ) from error
    if not isinstance(plain, dict):
        raise ConfigError(
            f"{path} holds a list, and a configuration is keys and values: restore it, or"
            f" delete {path.parent} and run again"
        )
    return plain
