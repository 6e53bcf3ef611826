"""The options of a question: which order it lists its labels in, and what they are answered by. Pure."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from string import ascii_uppercase

from affect.config import Kind, Options, OptionsOrder, PromptingConfig, Task


def shown_order(labels: Sequence[str], order: OptionsOrder, seed: int, record_id: str) -> list[str]:
    """The labels in the order in which a record's prompt lists them.

    shuffled: by the hash of seed, record and label, so that the order can be computed again from a prediction's id.

    >>> shown_order(["joy", "anger", "fear"], OptionsOrder.reversed, 0, "demo/test/0001")
    ['fear', 'anger', 'joy']
    """
    if order is OptionsOrder.shuffled:
        return sorted(labels, key=lambda label: hashlib.sha256(f"{seed}/{record_id}/{label}".encode()).digest())
    return list(labels if order is OptionsOrder.fixed else reversed(labels))


def marks(options: Options, count: int) -> list[str]:
    """What the first `count` options are answered by; empty for words.

    >>> marks(Options.letters, 3), marks(Options.numbers, 3), marks(Options.words, 3)
    (['A', 'B', 'C'], ['1', '2', '3'], [])
    """
    if options is Options.words:
        return []
    return list(ascii_uppercase[:count]) if options is Options.letters else [str(n + 1) for n in range(count)]


def listed(task: Task, language: str, prompting: PromptingConfig, record_id: str) -> str:
    """The labels as a record's prompt lists them, such as `A. joy, B. anger`."""
    shown = shown_order(task.labels, prompting.options_order, prompting.options_seed, record_id)
    words = [task.word(label, language) for label in shown]
    if before := marks(prompting.options, len(words)):
        words = [f"{mark}. {word}" for mark, word in zip(before, words, strict=True)]
    return ", ".join(words)


def answered(task: Task, language: str, prompting: PromptingConfig, record_id: str) -> Task:
    """The task that a record's answer is written for: `task` itself, or, with letters or numbers, `task` with the
    labels in the order shown and the marks as their words."""
    before = marks(prompting.options, len(task.labels))
    if task.kind is Kind.intensity or not before:
        return task
    shown = shown_order(task.labels, prompting.options_order, prompting.options_seed, record_id)
    return replace(task, labels=shown, words={language: dict(zip(shown, before, strict=True))})


def option_conflicts(task: Task, language: str, prompting: PromptingConfig) -> Iterator[str]:
    """A clause for each reason why the labels of a task cannot be shown as `prompting` says, without its name."""
    options, order = prompting.options, prompting.options_order
    if task.kind is Kind.intensity or (options is Options.words and order is OptionsOrder.fixed):
        return
    asked = " and ".join(
        f"prompting.{key}={value.value}"
        for key, value, usual in (
            ("options", options, Options.words),
            ("options_order", order, OptionsOrder.fixed),
        )
        if value is not usual
    )
    if "{labels}" not in task.question.get(language, "{labels}"):
        yield (
            f"has a question ({language}) that does not list its labels, which {asked} would change: write {{labels}}"
            f" into it, or leave {asked} out"
        )
    if options is Options.letters and len(task.labels) > len(ascii_uppercase):
        yield (
            f"has {len(task.labels)} labels, more than there are letters for prompting.options=letters: set"
            " prompting.options=numbers"
        )
        return
    before = {mark.casefold() for mark in marks(options, len(task.labels))}
    alike = [word for label in task.labels if (word := task.word(label, language)).casefold() in before]
    if alike:
        yield (
            f"has the word ({language}) '{alike[0]}' for a label, which prompting.options={options.value} gives to an"
            f" option too: set prompting.options={'numbers' if options is Options.letters else 'letters'} or words"
        )
