"""Schema of the group `prompting`: the wording around a clip, examples, descriptions, the token budget."""

from dataclasses import dataclass
from enum import Enum

from omegaconf import MISSING

from affect.config.fields import field


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

    k: int = field(0, least=0)
    """Examples in every prompt; 0 is none."""
    choice: ExampleChoice = ExampleChoice.similar
    """similar takes the training clips whose text is nearest by the cosine of TF-IDF, the nearest last; random draws
    them for every clip."""
    seed: int = field(0, least=0)
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

    name: str = field(MISSING, role="name")
    """The choice of the group, for names of runs and for tables."""
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
    max_description_words: int | None = field(None, least=1)
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
    """Labelled training examples in the prompt."""
    max_text_tokens: int = field(1024, least=1)
    """Budget for the prompt without the tokens of audio and video."""
    too_long: TooLong = TooLong.shorten
    """Over the budget: shorten drops the least similar example first, then the oldest context turn, then the last words
    of the descriptions, then the transcript's first words, and counts it; refuse stops with the list of the
    records."""
