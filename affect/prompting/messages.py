"""Builds the chat messages of a record. Pure: no model, no files. Training and evaluation build their prompts here and
nowhere else, and an ablation differs from the full prompt only in the slots of the modality that is left out."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from affect.config import DESCRIPTIONS, DataError, DescriptionsPosition, PromptingConfig, Task, TooLong
from affect.data import Record

WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
"""What is cut from a transcript or a description at a time. Kana and Chinese characters count one by one, since no
spaces part their words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One question about one record: what is put to the model, and what it should answer."""

    record: Record
    task: Task
    language: str
    messages: list[dict]
    answer: str | None
    """The text of a right answer; None where the record has no label for the task."""
    marker: str = ""
    """What the model writes before its final answer, the space between them included; empty where it answers at
    once."""
    shown: Mapping[str, str] = field(default_factory=dict)
    """The text of the user's turn by slot, as it stands in `messages`."""
    content_free: Sequence[list[dict]] = ()
    """The same prompt about a clip that says nothing, once with each of CONTENT_FREE; only where it is asked for."""
    dropped_examples: int = 0
    """Few-shot examples left out to meet the token budget."""
    dropped_turns: int = 0
    """Context turns left out to meet the token budget."""
    dropped_description_words: int = 0
    """Words cut from the ends of the clip's own descriptions to meet the token budget."""
    dropped_words: int = 0
    """Words cut from the beginning of the transcript to meet the token budget."""
    cut_description_words: int = 0
    """Words cut from the ends of the clip's own descriptions by prompting.max_description_words, before any budget."""

    @property
    def target(self) -> str | None:
        """What fine-tuning teaches: the answer, after its marker where there is one."""
        return None if self.answer is None else self.marker + self.answer


def question(task: Task, language: str) -> str:
    """The task's question with its labels or range filled in."""
    low, high = ("" if bound is None else task.answer(bound, language) for bound in (task.low, task.high))
    labels = ", ".join(task.word(label, language) for label in task.labels)
    return task.question[language].format(labels=labels, low=low, high=high)


def descriptions_shown(prompting: PromptingConfig, modalities: str) -> list[str]:
    """Names of the descriptions that stand in a prompt of these modalities, in order. What is left out of the
    modalities is left out of the descriptions too, unless prompting.descriptions_without_media.

    >>> descriptions_shown(PromptingConfig(name="x", descriptions=["video", "audio"]), "ta")
    ['audio']
    """
    return [
        name
        for name in prompting.descriptions
        if prompting.descriptions_without_media or set(DESCRIPTIONS[name]) <= set(modalities)
    ]


def descriptions(record: Record, prompting: PromptingConfig, modalities: str) -> dict[str, tuple[str, int]]:
    """By name, the text of each description that is shown and the number of words that prompting.max_description_words
    has cut from its end. Raises DataError where the record has none of that name."""
    made = {}
    for name in descriptions_shown(prompting, modalities):
        if name not in record.knowledge:
            raise DataError(
                f"{record.source or record.id}: {record.id} has no description of its {name}, which"
                f" prompting.descriptions names: make it with affect knowledge, or take {name} out of"
                " prompting.descriptions"
            )
        made[name] = _first_words(record.knowledge[name].strip(), prompting.max_description_words)
    return made


def _first_words(text: str, most: int | None) -> tuple[str, int]:
    """The text up to the end of its first `most` words, and how many more it had."""
    ends = [0, *(word.end() for word in WORD.finditer(text))]
    if most is None or len(ends) - 1 <= most:
        return text, 0
    return text[: ends[most]], len(ends) - 1 - most


def slots(
    record: Record, task: Task, prompting: PromptingConfig, modalities: str, examples: Sequence[Record] = ()
) -> dict[str, str]:
    """The text of the user's turn by slot, in the order in which it is written. The transcript and the turns before it
    are the text modality; the question is always there. `examples` are labelled records, the most telling last."""
    wording, parts = prompting.fewshot, {}
    for number, shot in enumerate(examples, 1):
        clip = "".join(_clip(shot, prompting, modalities).values())
        answer = task.answer(shot.labels[task.name], record.language)
        parts[f"example {number}"] = wording.example[record.language].format(clip=clip, answer=answer)
    if examples:
        parts["after the examples"] = wording.clip[record.language]
    if "t" in modalities and record.context:
        parts["context"] = prompting.context[record.language].format(turns="\n".join(record.context))
    parts |= _clip(record, prompting, modalities)
    parts["question"] = question(task, record.language)
    if prompting.cot:
        marker = prompting.answer_marker[record.language]
        parts["reasoning"] = prompting.cot_instruction[record.language].format(marker=marker)
    return parts


def _clip(record: Record, prompting: PromptingConfig, modalities: str) -> dict[str, str]:
    """What is said in a clip and what its sound and its picture are like, by slot."""
    wordings = {
        "audio": prompting.audio_description,
        "video": prompting.video_description,
        "audio_video": prompting.audio_video_description,
    }
    told = {
        f"{name} description": wordings[name][record.language].format(text=text)
        for name, (text, _) in descriptions(record, prompting, modalities).items()
    }
    said = {"transcript": prompting.transcript[record.language].format(text=record.text)} if "t" in modalities else {}
    return told | said if prompting.descriptions_position is DescriptionsPosition.before else said | told


CONTENT_FREE = ("N/A", "[MASK]", "")
"""What stands for words where there are none (Zhao et al. 2021, arXiv 2102.09690, section 5)."""


def content_free(example: Example, prompting: PromptingConfig, modalities: str) -> list[list[dict]]:
    """The messages of `example` with each of CONTENT_FREE in the place of the clip's words and descriptions, and
    without the turns before it. Few-shot examples stay."""
    made = []
    for text in CONTENT_FREE:
        record = replace(example.record, text=text, knowledge=dict.fromkeys(example.record.knowledge, text))
        blank = _clip(record, prompting, modalities)
        shown = {slot: blank.get(slot, words) for slot, words in example.shown.items() if slot != "context"}
        made.append(_turns(record, shown, prompting, modalities))
    return made


def messages(
    record: Record, task: Task, prompting: PromptingConfig, modalities: str, examples: Sequence[Record] = ()
) -> list[dict]:
    """Chat messages: a system turn; then video, audio and text as the parts of the user's turn. `examples` are labelled
    records that are shown as text. Raises DataError where a description is missing."""
    return _turns(record, slots(record, task, prompting, modalities, examples), prompting, modalities)


def _turns(record: Record, shown: Mapping[str, str], prompting: PromptingConfig, modalities: str) -> list[dict]:
    user: list[dict] = [{"type": kind} for letter, kind in (("v", "video"), ("a", "audio")) if letter in modalities]
    user.append({"type": "text", "text": "".join(shown.values())})
    return [
        {"role": "system", "content": [{"type": "text", "text": prompting.system[record.language]}]},
        {"role": "user", "content": user},
    ]


def example(
    record: Record,
    task: Task,
    prompting: PromptingConfig,
    modalities: str,
    count: Callable[[list[dict]], int],
    examples: Sequence[Record] = (),
) -> Example:
    """The example of a record and a task within the token budget; `count` gives the number of text tokens of messages.

    Over the budget, few-shot examples go first, the least similar (the first) before the others; then whole context
    turns, oldest first; then the last words of the descriptions, the longest first; then words of the transcript, from
    its beginning: the end of an utterance is what punchlines and answers hang on. Raises DataError when that is not
    allowed or not enough, and where a description is missing.
    """
    ends = [0, *(word.end() for word in WORD.finditer(record.text))]
    told = descriptions(record, prompting, modalities)
    num_words = {name: len(WORD.findall(text)) for name, (text, _) in told.items()}
    longest = max(num_words.values(), default=0)
    has_text = "t" in modalities
    most = (len(examples), len(record.context) if has_text else 0, longest, len(ends) - 1 if has_text else 0)

    def attempt(num_examples: int, turns: int, cut: int, words: int) -> dict[str, str]:
        text = record.text[ends[words] :].lstrip() if words else record.text
        left = replace(record, context=record.context[turns:], text=text)
        limited = replace(prompting, max_description_words=longest - cut) if cut else prompting
        return slots(left, task, limited, modalities, examples[num_examples:])

    def tokens(dropped: Sequence[int]) -> int:
        return count(_turns(record, attempt(*dropped), prompting, modalities))

    def fits(dropped: Sequence[int]) -> bool:
        return tokens(dropped) <= prompting.max_text_tokens

    dropped = [0, 0, 0, 0]
    if not fits(dropped):
        if prompting.too_long is TooLong.refuse:
            raise DataError(
                f"{record.source or record.id}: the prompt of {record.id} has {tokens(dropped)} text tokens, more"
                f" than prompting.max_text_tokens={prompting.max_text_tokens}: raise it, or set"
                " prompting.too_long=shorten"
            )
        if not fits(most):
            raise DataError(
                f"{record.source or record.id}: the prompt of {record.id} has {tokens(most)}"
                " text tokens without any of its transcript, more than"
                f" prompting.max_text_tokens={prompting.max_text_tokens}: raise it, or shorten the wording"
            )
        for at in range(len(dropped)):
            before, after = dropped[:at], dropped[at + 1 :]
            dropped[at] = _smallest(lambda n, before=before, after=after: fits([*before, n, *after]), most[at])
            if fits(dropped):
                break
    shown = attempt(*dropped)
    kept = longest - dropped[2]
    return Example(
        record=record,
        task=task,
        language=record.language,
        messages=_turns(record, shown, prompting, modalities),
        answer=task.answer(record.labels[task.name], record.language) if task.name in record.labels else None,
        marker=_lead(prompting.answer_marker[record.language]) if prompting.cot else "",
        shown=shown,
        dropped_examples=dropped[0],
        dropped_turns=dropped[1],
        dropped_description_words=sum(max(0, words - kept) for words in num_words.values()),
        dropped_words=dropped[3],
        cut_description_words=sum(cut for _, cut in told.values()),
    )


def _lead(marker: str) -> str:
    """A marker as it stands before an answer: a full-width colon brings its own space."""
    marker = marker.rstrip()
    return marker if marker.endswith("\uff1a") else f"{marker} "


def _smallest(enough: Callable[[int], bool], most: int) -> int:
    """The smallest n in 0..most for which `enough`, which stays true once it is; `most` if there is none."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return low


def losses(examples: Sequence[Example], prompting: PromptingConfig) -> list[str]:
    """A sentence for each way in which prompts lost words: to the token budget, and to max_description_words."""
    sentences = []
    shortened = {
        what: [getattr(example, name) for example in examples]
        for what, name in (
            ("examples", "dropped_examples"),
            ("context turns", "dropped_turns"),
            ("words of descriptions", "dropped_description_words"),
            ("words of transcript", "dropped_words"),
        )
    }
    prompts = sum(map(any, zip(*shortened.values(), strict=True)))
    if prompts:
        # What no prompt has cannot be lost; what all have and none lost is worth a 0.
        optional = {"examples", "words of descriptions"}
        lost = [f"{sum(n)} {what}" for what, n in shortened.items() if sum(n) or what not in optional]
        sentences.append(
            f"{prompts} of {len(examples)} prompts were over prompting.max_text_tokens={prompting.max_text_tokens}"
            f" and lost {', '.join(lost[:-1])} and {lost[-1]}"
        )
    cut = [example.cut_description_words for example in examples if example.cut_description_words]
    if cut:
        sentences.append(
            f"{len(cut)} of {len(examples)} prompts have descriptions of more than"
            f" prompting.max_description_words={prompting.max_description_words} words, and {sum(cut)} words were cut"
        )
    return sentences


def final_answer(text: str, marker: str) -> str | None:
    """What stands after the last `marker` in a generated text, None where it is not there; the whole text where there
    is no marker to look for. Upper case, markdown emphasis and a full-width colon do not matter.

    >>> final_answer("It sounds tense. **Answer:** fear", "Answer: "), final_answer("It sounds tense", "Answer: ")
    (' fear', None)
    """
    word = marker.strip().rstrip(":\uff1a").rstrip()
    if not word:
        return text
    # Emphasis may close before or after the colon, **Answer**: and **Answer:**.
    found = list(re.finditer(rf"{re.escape(word)}[*_ ]*[:\uff1a][*_]*", text, re.IGNORECASE))
    return text[found[-1].end() :] if found else None


CHARACTERS_PER_TOKEN = 4
"""Of a text token, about: with it lengths of text and of audio can be added up."""


def prompt_length(example: Example, audio_tokens: float = 0.0) -> float:
    """Length of a prompt in characters, audio tokens included: enough to put prompts of like length into one batch
    without tokenising all of them."""
    texts = (part["text"] for part in example.messages[-1]["content"] if part["type"] == "text")
    return sum(map(len, texts)) + CHARACTERS_PER_TOKEN * audio_tokens
