"""Schema of the group `prompting`: the wording around a clip, examples, descriptions, the token budget."""

from dataclasses import dataclass
from enum import Enum

from omegaconf import MISSING

from affect.config.fields import field


class TooLong(str, Enum):
    shorten = "shorten"
    refuse = "refuse"


DESCRIPTIONS = {"audio": "a", "video": "v", "audio_video": "av"}
"""Kinds of generated descriptions, with the letters of the modalities that they describe."""


class DescriptionsPosition(str, Enum):
    before = "before"
    after = "after"


class ExampleChoice(str, Enum):
    similar = "similar"
    random = "random"


class Options(str, Enum):
    """What labels are answered by."""

    words = "words"
    letters = "letters"
    numbers = "numbers"


class OptionsOrder(str, Enum):
    """The order in which a question lists its labels."""

    fixed = "fixed"
    reversed = "reversed"
    shuffled = "shuffled"


class SystemTurn(str, Enum):
    """Where the text of `system` stands."""

    system = "system"
    user = "user"
    none = "none"


PARAPHRASES = 5
"""Wordings of every question beside its own, see paraphrases.yaml."""


@dataclass(slots=True, kw_only=True)
class FewshotConfig:
    """Labelled training examples in the prompt, as text: their clips are not shown. They are of the same dataset and
    never of the clip's own group."""

    k: int = field(0, least=0)
    """Examples in every prompt; 0 is none."""
    choice: ExampleChoice = ExampleChoice.similar
    """similar takes the training clips whose text is nearest by the cosine of TF-IDF, the nearest last; random draws
    them for every clip."""
    seed: int = field(0, least=0)
    """Seed of random, and of ties in similarity. Not the run's seed, so that runs with other seeds have the same
    prompts."""
    example: dict[str, str] = field(default_factory=dict)
    """One example; `{clip}` is replaced by its transcript and descriptions in their own wording, `{answer}` by its
    label."""
    clip: dict[str, str] = field(default_factory=dict)
    """Text between the examples and the clip in question."""
    options: dict[str, str] = field(default_factory=dict, used_by=("letters", "numbers"))
    """Text before the examples that says what their letters or numbers stand for, with prompting.options=letters or
    numbers; `{labels}` is replaced by the labels."""


@dataclass(slots=True, kw_only=True)
class PromptingConfig:
    """The wording around a clip. Keys of the dictionaries are language codes."""

    name: str = field(MISSING, role="name")
    """The choice of the group, for names of runs and for tables."""
    system: dict[str, str] = field(default_factory=dict)
    """The system turn."""
    system_turn: SystemTurn = field(SystemTurn.system, tags=("younger",))
    """system: `system` is a turn of its own. user: it is the beginning of the user turn's text. none: it is left out;
    chat templates that have a system turn of their own then write that."""
    paraphrase: int = field(0, least=0, most=PARAPHRASES, tags=("younger",))
    """Wording of the question: 0 is that of the task's definition, 1 to 5 are its paraphrases
    (affect/config/paraphrases.yaml)."""
    options: Options = field(Options.words, tags=("younger",))
    """What labels are answered by, in the question, in the target of training and in every readout of text. letters
    lists them as `A. joy, B. anger`, and the answer is a letter; numbers likewise, from 1. Predictions hold the labels.
    Tasks whose answer is a number from a range have no options, and stay as they are."""
    letters_instruction: dict[str, str] = field(default_factory=dict, used_by=("letters",))
    """Follows the question with options=letters."""
    numbers_instruction: dict[str, str] = field(default_factory=dict, used_by=("numbers",))
    """Follows the question with options=numbers."""
    options_order: OptionsOrder = field(OptionsOrder.fixed, tags=("younger",))
    """The order in which the question lists the labels: fixed is that of the task's definition; shuffled draws one for
    every clip."""
    options_seed: int = field(0, least=0, tags=("younger",))
    """Seed of shuffled. Not the run's seed, so that runs with other seeds have the same prompts."""
    context: dict[str, str] = field(default_factory=dict)
    """Text before the transcript when a record has earlier turns; `{turns}` is replaced by them, one a line."""
    transcript: dict[str, str] = field(default_factory=dict)
    """Text for the transcript, when modalities has t; `{text}` is replaced by it."""
    descriptions: list[str] = field(default_factory=list)
    """Generated descriptions in the prompt, in this order: audio, video, audio_video (one text about both). They come
    from the group `knowledge`."""
    descriptions_without_media: bool = False
    """Keep the description of a modality that `modalities` leaves out. Otherwise an ablation of audio also removes the
    description of the audio."""
    descriptions_position: DescriptionsPosition = DescriptionsPosition.after
    """Descriptions before or after the transcript."""
    max_description_words: int | None = field(None, least=1)
    """Maximum number of words of each description, from its beginning; null is all. Each Chinese character counts as
    one."""
    audio_description: dict[str, str] = field(default_factory=dict)
    """Wording around the description of the audio; `{text}` is replaced by it."""
    video_description: dict[str, str] = field(default_factory=dict)
    """Wording around the description of the video; `{text}` is replaced by it."""
    audio_video_description: dict[str, str] = field(default_factory=dict)
    """Wording around the description of both together; `{text}` is replaced by it."""
    cot: bool = False
    """Ask for reasons before the answer (chain of thought); the answer is read after the last `answer_marker`. Datasets
    have no reasons, so the target of fine-tuning is the marker and the answer."""
    cot_instruction: dict[str, str] = field(default_factory=dict)
    """Follows the question; `{marker}` is replaced by `answer_marker`."""
    answer_marker: dict[str, str] = field(default_factory=dict)
    """Text before the final answer."""
    fewshot: FewshotConfig = field(default_factory=FewshotConfig)
    """Labelled training examples in the prompt."""
    max_text_tokens: int = field(1024, least=1)
    """Maximum length of the prompt, without the tokens of audio and video."""
    too_long: TooLong = TooLong.shorten
    """Over the budget: shorten drops the least similar example first, then the oldest context turn, then the last words
    of the descriptions, then the transcript's first words, and counts it; refuse stops with the list of the
    records."""
