"""Chat messages of a record. Pure: no model, no files.

Training and evaluation both build their prompts here. An ablation differs from the full prompt only in the slots of the
modality that is left out.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from affect.config import DESCRIPTIONS, DataError, DescriptionsPosition, Options, PromptingConfig, SystemTurn, Task
from affect.config.paraphrases import paraphrased
from affect.data import Record
from affect.data.words import WORD
from affect.prompting.options import answered, listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One question about one record, with its answer."""

    record: Record
    task: Task
    language: str
    messages: list[dict]
    answer: str | None
    """The text of the gold label; None where the record has none for the task."""
    marked: Task | None = None
    """The task that the answer is written for where labels are answered by letters or numbers, see
    `affect.prompting.options.answered`; None where they are answered by their words."""
    marker: str = ""
    """What the model writes before its final answer, with the space between; empty where it answers at once."""
    shown: Mapping[str, str] = field(default_factory=dict)
    """The text of the user turn by slot, as in `messages`."""
    content_free: Sequence[list[dict]] = ()
    """The same prompt without content, once for each of CONTENT_FREE; only for contextual calibration."""
    dropped_examples: int = 0
    """Few-shot examples dropped to meet the token budget."""
    dropped_turns: int = 0
    """Context turns dropped to meet the token budget."""
    dropped_description_words: int = 0
    """Words cut from the ends of the clip's own descriptions to meet the token budget."""
    dropped_words: int = 0
    """Words cut from the start of the transcript to meet the token budget."""
    cut_description_words: int = 0
    """Words cut from the ends of the clip's own descriptions by prompting.max_description_words."""

    @property
    def target(self) -> str | None:
        """The text learnt in fine-tuning: marker and answer."""
        return None if self.answer is None else self.marker + self.answer

    @property
    def answer_in_words(self) -> str | None:
        """The answer that is no letter or number of an option, which means nothing without its prompt."""
        if self.answer is None or self.marked is None:
            return self.answer
        return self.task.answer(self.record.labels[self.task.name], self.language)

    @property
    def answered(self) -> Task:
        """The task that the answer is written for."""
        return self.task if self.marked is None else self.marked


def question(task: Task, language: str, prompting: PromptingConfig, record_id: str) -> str:
    """The question of a task with its labels or range, as a record's prompt puts it."""
    low, high = ("" if bound is None else task.answer(bound, language) for bound in (task.low, task.high))
    wording = paraphrased(task.question[language], prompting.paraphrase)
    labels = listed(task, language, prompting, record_id)
    return wording.format(labels=labels, low=low, high=high) + _instruction(task, language, prompting)


def _instruction(task: Task, language: str, prompting: PromptingConfig) -> str:
    """What follows the question where labels are answered by letters or numbers."""
    if not task.labels or prompting.options is Options.words:
        return ""
    letters = prompting.options is Options.letters
    return (prompting.letters_instruction if letters else prompting.numbers_instruction)[language]


def descriptions_shown(prompting: PromptingConfig, modalities: str) -> list[str]:
    """Names of the descriptions that prompts show, in order. Those of a modality that is left out are left out too,
    unless prompting.descriptions_without_media.

    >>> descriptions_shown(PromptingConfig(name="x", descriptions=["video", "audio"]), "ta")
    ['audio']
    """
    return [
        name
        for name in prompting.descriptions
        if prompting.descriptions_without_media or set(DESCRIPTIONS[name]) <= set(modalities)
    ]


def descriptions(record: Record, prompting: PromptingConfig, modalities: str) -> dict[str, tuple[str, int]]:
    """By name, the text of each shown description and the number of words that prompting.max_description_words cut
    from its end. Raises DataError where the record has no description of that name."""
    texts = {}
    for name in descriptions_shown(prompting, modalities):
        if name not in record.knowledge:
            raise DataError(
                f"{record.source or record.id}: {record.id} has no description of its {name}, which"
                f" prompting.descriptions names: make it with affect knowledge, or take {name} out of"
                " prompting.descriptions"
            )
        texts[name] = _first_words(record.knowledge[name].strip(), prompting.max_description_words)
    return texts


def _first_words(text: str, most: int | None) -> tuple[str, int]:
    """The first `most` words of a text, and the number of words cut."""
    ends = [0, *(word.end() for word in WORD.finditer(text))]
    if most is None or len(ends) - 1 <= most:
        return text, 0
    return text[: ends[most]], len(ends) - 1 - most


def slots(
    record: Record, task: Task, prompting: PromptingConfig, modalities: str, examples: Sequence[Record] = ()
) -> dict[str, str]:
    """The text of the user turn by slot, in order.

    Transcript and context are the text modality; the question is always there. examples: labelled records, the most
    similar last.
    """
    wording, language, parts = prompting.fewshot, record.language, {}
    if prompting.system_turn is SystemTurn.user:
        parts["system"] = f"{prompting.system[language]}\n\n"
    asked = answered(task, language, prompting, record.id)
    if examples and asked is not task:
        labels = listed(task, language, prompting, record.id)
        parts["options of the examples"] = wording.options[language].format(labels=labels)
    for number, shot in enumerate(examples, 1):
        clip = "".join(_clip(shot, prompting, modalities).values())
        answer = asked.answer(shot.labels[task.name], language)
        parts[f"example {number}"] = wording.example[language].format(clip=clip, answer=answer)
    if examples:
        parts["after the examples"] = wording.clip[language]
    if "t" in modalities and record.context:
        parts["context"] = prompting.context[language].format(turns="\n".join(record.context))
    parts |= _clip(record, prompting, modalities)
    parts["question"] = question(task, language, prompting, record.id)
    if prompting.cot:
        marker = prompting.answer_marker[language]
        parts["reasoning"] = prompting.cot_instruction[language].format(marker=marker)
    return parts


def _clip(record: Record, prompting: PromptingConfig, modalities: str) -> dict[str, str]:
    """Transcript and descriptions of a clip by slot."""
    wordings = {
        "audio": prompting.audio_description,
        "video": prompting.video_description,
        "audio_video": prompting.audio_video_description,
    }
    described = {
        f"{name} description": wordings[name][record.language].format(text=text)
        for name, (text, _) in descriptions(record, prompting, modalities).items()
    }
    transcript = (
        {"transcript": prompting.transcript[record.language].format(text=record.text)} if "t" in modalities else {}
    )
    before = prompting.descriptions_position is DescriptionsPosition.before
    return described | transcript if before else transcript | described


CONTENT_FREE = ("N/A", "[MASK]", "")
"""Content-free inputs of contextual calibration (Zhao et al. 2021, arXiv 2102.09690, section 5)."""


def content_free(example: Example, prompting: PromptingConfig, modalities: str) -> list[list[dict]]:
    """The messages of `example` with each of CONTENT_FREE in place of transcript and descriptions, and without context.
    Few-shot examples stay."""
    prompts = []
    for text in CONTENT_FREE:
        record = replace(example.record, text=text, knowledge=dict.fromkeys(example.record.knowledge, text))
        blank = _clip(record, prompting, modalities)
        shown = {slot: blank.get(slot, words) for slot, words in example.shown.items() if slot != "context"}
        prompts.append(chat_turns(record, shown, prompting, modalities))
    return prompts


def messages(
    record: Record, task: Task, prompting: PromptingConfig, modalities: str, examples: Sequence[Record] = ()
) -> list[dict]:
    """Chat messages: a system turn, if there is one, then a user turn of video, audio and text. examples: labelled
    records, shown as text. Raises DataError where a description is missing."""
    return chat_turns(record, slots(record, task, prompting, modalities, examples), prompting, modalities)


def chat_turns(record: Record, shown: Mapping[str, str], prompting: PromptingConfig, modalities: str) -> list[dict]:
    user: list[dict] = [{"type": kind} for letter, kind in (("v", "video"), ("a", "audio")) if letter in modalities]
    user.append({"type": "text", "text": "".join(shown.values())})
    turns = [{"role": "user", "content": user}]
    if prompting.system_turn is SystemTurn.system:
        turns.insert(0, {"role": "system", "content": [{"type": "text", "text": prompting.system[record.language]}]})
    return turns


def final_answer(text: str, marker: str) -> str | None:
    """The text after the last `marker`; None where a generated text lacks it, the whole text where `marker` is empty.
    Case, markdown emphasis and a full-width colon do not matter.

    >>> final_answer("It sounds tense. **Answer:** fear", "Answer: "), final_answer("It sounds tense", "Answer: ")
    (' fear', None)
    """
    word = marker.strip().rstrip(":\uff1a").rstrip()
    if not word:
        return text
    # Emphasis may close before or after the colon: **Answer**: and **Answer:**.
    matches = list(re.finditer(rf"{re.escape(word)}[*_ ]*[:\uff1a][*_]*", text, re.IGNORECASE))
    return text[matches[-1].end() :] if matches else None
