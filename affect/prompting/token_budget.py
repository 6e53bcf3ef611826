"""Examples whose prompts keep within the token budget. Pure: no model, no files."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from affect.config import DataError, PromptingConfig, Task, TooLong
from affect.data import Record
from affect.data.words import WORD
from affect.prompting.messages import Example, chat_turns, descriptions, slots
from affect.prompting.options import answered


def example(
    record: Record,
    task: Task,
    prompting: PromptingConfig,
    modalities: str,
    count: Callable[[list[dict]], int],
    examples: Sequence[Record] = (),
) -> Example:
    """The example of a record and a task within the token budget.

    count: number of text tokens of messages. Over the budget, few-shot examples are dropped first, the least similar
    (the first) before the others; then whole context turns, oldest first; then the last words of the longest
    descriptions; then the first words of the transcript, since punchlines and answers come at the end of an utterance.
    Raises DataError where dropping is not allowed or not enough, and where a description is missing.
    """
    ends = [0, *(word.end() for word in WORD.finditer(record.text))]
    described = descriptions(record, prompting, modalities)
    num_words = {name: len(WORD.findall(text)) for name, (text, _) in described.items()}
    longest = max(num_words.values(), default=0)
    has_text = "t" in modalities
    most = (len(examples), len(record.context) if has_text else 0, longest, len(ends) - 1 if has_text else 0)

    def attempt(num_examples: int, turns: int, cut: int, words: int) -> dict[str, str]:
        text = record.text[ends[words] :].lstrip() if words else record.text
        left = replace(record, context=record.context[turns:], text=text)
        limited = replace(prompting, max_description_words=longest - cut) if cut else prompting
        return slots(left, task, limited, modalities, examples[num_examples:])

    def tokens(dropped: Sequence[int]) -> int:
        return count(chat_turns(record, attempt(*dropped), prompting, modalities))

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
    asked = answered(task, record.language, prompting, record.id)
    return Example(
        record=record,
        task=task,
        language=record.language,
        messages=chat_turns(record, shown, prompting, modalities),
        answer=asked.answer(record.labels[task.name], record.language) if task.name in record.labels else None,
        marked=None if asked is task else asked,
        marker=_lead(prompting.answer_marker[record.language]) if prompting.cot else "",
        shown=shown,
        dropped_examples=dropped[0],
        dropped_turns=dropped[1],
        dropped_description_words=sum(max(0, words - kept) for words in num_words.values()),
        dropped_words=dropped[3],
        cut_description_words=sum(cut for _, cut in described.values()),
    )


def _lead(marker: str) -> str:
    """A marker with the space before an answer, which a full-width colon does not need."""
    marker = marker.rstrip()
    return marker if marker.endswith("\uff1a") else f"{marker} "


def _smallest(enough: Callable[[int], bool], most: int) -> int:
    """The smallest n in 0..most for which the monotonic `enough` holds; `most` if there is none."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return low


def losses(examples: Sequence[Example], prompting: PromptingConfig) -> list[str]:
    """A sentence for each reason why prompts were shortened: the token budget, and max_description_words."""
    sentences = []
    dropped = {
        unit: [getattr(example, name) for example in examples]
        for unit, name in (
            ("examples", "dropped_examples"),
            ("context turns", "dropped_turns"),
            ("words of descriptions", "dropped_description_words"),
            ("words of transcript", "dropped_words"),
        )
    }
    prompts = sum(map(any, zip(*dropped.values(), strict=True)))
    if prompts:
        # Units that every prompt has are listed with 0 too.
        optional = {"examples", "words of descriptions"}
        lost = [f"{sum(n)} {unit}" for unit, n in dropped.items() if sum(n) or unit not in optional]
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


CHARACTERS_PER_TOKEN = 4
"""Of a text token, about: with it lengths of text and of audio can be added up."""


def prompt_length(example: Example, audio_tokens: float = 0.0) -> float:
    """Length of a prompt in characters, audio tokens included: enough to put prompts of like length into one batch
    without tokenising all of them."""
    texts = (part["text"] for part in example.messages[-1]["content"] if part["type"] == "text")
    return sum(map(len, texts)) + CHARACTERS_PER_TOKEN * audio_tokens
