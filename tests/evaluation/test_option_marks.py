"""Answers by letters and numbers, read as what they stand for."""

import time

import pytest

from affect.config import Kind, PromptingConfig, Task
from affect.config.prompting import Options, OptionsOrder
from affect.evaluation import parsing
from affect.evaluation.option_marks import in_words
from affect.prompting.options import answered

LABELS = ["neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"]
TASK = Task(name="emotion", labels=LABELS, question={"en": "{labels}"})
CHINESE = Task(labels=["joy", "anger"], words={"zh": {"joy": "高兴", "anger": "愤怒"}}, question={"zh": "{labels}"})


def asked(task: Task, options: str, language: str = "en", order: str = "fixed") -> Task:
    prompting = PromptingConfig(name="x", options=Options(options), options_order=OptionsOrder(order))
    return answered(task, language, prompting, "id")


def read(text: str, options: str, task: Task = TASK, language: str = "en", order: str = "fixed") -> tuple:
    words = in_words(text, asked(task, options, language, order), task, language)
    lenient = parsing.lenient(words, task, language)
    return parsing.exact(words, task, language).value, lenient.value, lenient.outcome


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("B", "surprise"),
        ("b", "surprise"),
        ("(B)", "surprise"),
        ("B.", "surprise"),
        ("**B**\n", "surprise"),
        ("B. surprise", "surprise"),
        ("b) Surprise.", "surprise"),
        ("surprise", "surprise"),
        ("A", "neutral"),
        ("A. neutral", "neutral"),
        ("G", "anger"),
        ("\uff22", "surprise"),
    ],
)
def test_answers_that_are_a_letter(text: str, label: str) -> None:
    assert read(text, "letters") == (label, label, "valid")


@pytest.mark.parametrize(
    ("text", "label", "outcome"),
    [
        ("The answer is B.", "surprise", "valid"),
        ("The answer is A", "neutral", "valid"),
        ("The answer is 'B'.", "surprise", "valid"),
        ("I choose _B_ here", "surprise", "valid"),
        ("I say A!", "neutral", "valid"),
        ("It is B. surprise, clearly.", "surprise", "valid"),
        ("Option (D), since she cries", "sadness", "valid"),
        ("Answer: G) anger", "anger", "valid"),
        ("It is not B, but G.", "anger", "valid"),
        ("B or C", None, "several_labels"),
        ("B. joy", None, "several_labels"),
        ("B (surprise)", "surprise", "valid"),
        ("A happy man speaks.", None, "no_label"),
        ("I think so. A man is calm.", None, "no_label"),
        ("Plan H, vitamin K", None, "no_label"),
        ("B-movie, A+ and C's", None, "no_label"),
        ("H", None, "no_label"),
        ("ABC", None, "no_label"),
        ("", None, "empty"),
    ],
)
def test_letters_in_a_text(text: str, label: str | None, outcome: str) -> None:
    assert read(text, "letters")[1:] == (label, outcome)


def test_the_pronoun_is_no_option() -> None:
    task = Task(labels=[f"label{n}x" for n in range(10)], question={"en": "{labels}"})
    assert read("I think it is B", "letters", task)[1] == "label1x"
    assert read("I'm sure: C", "letters", task)[1] == "label2x"
    assert read("I", "letters", task)[1] == "label8x"


@pytest.mark.parametrize(
    ("text", "label", "outcome"),
    [
        ("2", "surprise", "valid"),
        ("2. surprise", "surprise", "valid"),
        ("Number 7.", "anger", "valid"),
        ("2 or 3", None, "several_labels"),
        ("1.5", None, "no_label"),
        ("-1", None, "no_label"),
        ("\u22121", None, "no_label"),
        ("80%", None, "no_label"),
        ("1%", None, "no_label"),
        ("2nd", None, "no_label"),
        ("12", None, "no_label"),
        ("8", None, "no_label"),
    ],
)
def test_numbers(text: str, label: str | None, outcome: str) -> None:
    assert read(text, "numbers")[1:] == (label, outcome)


def test_ten_is_no_one() -> None:
    task = Task(labels=[f"label {'abcdefghijkl'[n]}" for n in range(12)], question={"en": "{labels}"})
    assert read("10", "numbers", task)[0] == "label j"
    assert read("It is 12.", "numbers", task)[1] == "label l"


def test_the_letter_is_that_of_the_order_shown() -> None:
    assert read("A", "letters", order="reversed")[0] == "anger"
    shown = asked(TASK, "letters", order="shuffled").labels
    assert shown != LABELS and [read(mark, "letters", order="shuffled")[0] for mark in "ABCDEFG"] == shown


def test_chinese() -> None:
    assert read("选B", "letters", CHINESE, "zh")[1] == "anger"
    assert read("答案是A。", "letters", CHINESE, "zh")[1] == "joy"
    assert read("B. 愤怒", "letters", CHINESE, "zh")[0] == "anger"
    assert read("不是A", "letters", CHINESE, "zh")[1:] == (None, "no_label")


def test_several_labels_at_once() -> None:
    task = Task(kind=Kind.multi_label, labels=["joy", "anger", "fear"], question={"en": "{labels}"})
    assert read("A, C", "letters", task) == (("fear", "joy"), ("fear", "joy"), "valid")
    assert read("none", "letters", task)[0] == ()


@pytest.mark.parametrize("options", ["letters", "numbers"])
@pytest.mark.parametrize("task", [TASK, CHINESE])
def test_what_a_model_is_trained_on_is_read_back(options: str, task: Task) -> None:
    language = next(iter(task.question))
    for label in task.labels:
        for order in ("fixed", "reversed", "shuffled"):
            answer = asked(task, options, language, order).answer(label, language)
            assert read(answer, options, task, language, order) == (label, label, "valid")


@pytest.mark.parametrize("text", ["B" * 100_000, "B " * 50_000, "." * 100_000, "(" * 100_000, "A. " * 30_000 + "x"])
def test_long_answers_take_linear_time(text: str) -> None:
    start = time.process_time()
    in_words(text, asked(TASK, "letters"), TASK, "en")
    assert time.process_time() - start < 2
