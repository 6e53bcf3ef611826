"""Records to chat messages. Pure: no model, no files. Training and evaluation build their prompts here and nowhere
else, and an ablation differs from the full prompt only in the slots of the modality that is left out."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from affect.config import PromptingConfig, TooLong
from affect.record import DataError, Record
from affect.tasks import Task

WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
"""What is cut from a transcript at a time. Kana and Chinese characters count one by one, since no spaces part their
words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One question about one record: what is put to the model, and what it should answer."""

    record: Record
    task: Task
    language: str
    messages: list[dict]
    answer: str | None
    """The text of a right answer; None where the record has no label for the task."""
    dropped_turns: int = 0
    """Context turns left out to meet the token budget."""
    dropped_words: int = 0
    """Words cut from the beginning of the transcript to meet the token budget."""


def question(task: Task, language: str) -> str:
    """The task's question with its labels or range filled in."""
    low, high = ("" if bound is None else task.answer(bound, language) for bound in (task.low, task.high))
    labels = ", ".join(task.word(label, language) for label in task.labels)
    return task.question[language].format(labels=labels, low=low, high=high)


def slots(record: Record, task: Task, prompting: PromptingConfig, modalities: str) -> dict[str, str]:
    """The text of the user's turn by slot, in the order in which it is written. The transcript and the turns before it
    are the text modality; the question is always there."""
    parts = {}
    if "t" in modalities:
        if record.context:
            parts["context"] = prompting.context[record.language].format(turns="\n".join(record.context))
        parts["transcript"] = prompting.transcript[record.language].format(text=record.text)
    parts["question"] = question(task, record.language)
    return parts


def messages(record: Record, task: Task, prompting: PromptingConfig, modalities: str) -> list[dict]:
    """Chat messages: a system turn; then video, audio and text as the parts of the user's turn."""
    user: list[dict] = [{"type": kind} for letter, kind in (("v", "video"), ("a", "audio")) if letter in modalities]
    user.append({"type": "text", "text": "".join(slots(record, task, prompting, modalities).values())})
    return [
        {"role": "system", "content": [{"type": "text", "text": prompting.system[record.language]}]},
        {"role": "user", "content": user},
    ]


def example(
    record: Record, task: Task, prompting: PromptingConfig, modalities: str, count: Callable[[list[dict]], int]
) -> Example:
    """The example of a record and a task within the token budget; `count` gives the number of text tokens of messages.

    Over the budget, whole context turns go first, oldest first, then words of the transcript, from its beginning: the
    end of an utterance is what punchlines and answers hang on. Raises DataError when that is not allowed or not enough.
    """
    ends = [0, *(word.end() for word in WORD.finditer(record.text))]

    def attempt(turns: int, words: int) -> list[dict]:
        text = record.text[ends[words] :].lstrip() if words else record.text
        return messages(replace(record, context=record.context[turns:], text=text), task, prompting, modalities)

    def fits(turns: int, words: int) -> bool:
        return count(attempt(turns, words)) <= prompting.max_text_tokens

    turns, words = 0, 0
    if not fits(0, 0):
        if prompting.too_long is TooLong.refuse:
            raise DataError(
                f"{record.source or record.id}: the prompt of {record.id} has {count(attempt(0, 0))} text tokens, more"
                f" than prompting.max_text_tokens={prompting.max_text_tokens}: raise it, or set"
                " prompting.too_long=shorten"
            )
        all_turns = len(record.context) if "t" in modalities else 0
        all_words = len(ends) - 1 if "t" in modalities else 0
        if not fits(all_turns, all_words):
            raise DataError(
                f"{record.source or record.id}: the prompt of {record.id} has {count(attempt(all_turns, all_words))}"
                " text tokens without any of its transcript, more than"
                f" prompting.max_text_tokens={prompting.max_text_tokens}: raise it, or shorten the wording"
            )
        turns = _smallest(lambda n: fits(n, 0), all_turns)
        if not fits(turns, 0):
            words = _smallest(lambda n: fits(turns, n), all_words)
    return Example(
        record=record,
        task=task,
        language=record.language,
        messages=attempt(turns, words),
        answer=task.answer(record.labels[task.name], record.language) if task.name in record.labels else None,
        dropped_turns=turns,
        dropped_words=words,
    )


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
