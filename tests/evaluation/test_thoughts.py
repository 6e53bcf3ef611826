"""Thoughts of reasoning models are not part of their answers."""

import doctest

import pytest

from affect.config import Kind, Task
from affect.evaluation.parsing import Reading, exact, lenient
from affect.prompting import thoughts

EMOTION = Task(name="emotion", labels=["neutral", "joy", "sadness", "anger"])
INTENSITY = Task(name="sentiment", kind=Kind.intensity, low=-3, high=3, step=0.5, headline="mae")


def test_examples_in_the_docstrings_are_true():
    result = doctest.testmod(thoughts)
    assert result.attempted >= 4 and result.failed == 0


@pytest.mark.parametrize(
    "text",
    [
        "<think>Anger or joy? The voice is flat.</think>sadness",
        "<think>\nAnger?\n</think>\n\nsadness",
        "<think></think>sadness",
        "could be joy</think>sadness",
        "</think>\n\nsadness",
        "<THINK>anger</THINK> Sadness.",
        "< think >anger</ think >sadness",
        '<think time="3">anger</think>sadness',
        "<think>I open <think> again: anger</think>sadness",
        "<think>anger<think>joy</think>anger</think>sadness",
        "<think>anger</think>joy</think>sadness",
        "<think>anger</think>sadness<think>joy?</think>",
        "sadness <think>or joy?</think>",
        "<think>anger</think><answer>sadness</answer>",
        "<thinking>anger</thinking>sadness",
        "<thought>anger</thought>sadness",
        "<thoughts>anger</thoughts>sadness",
        "<reasoning>anger</reasoning>sadness",
        "<analysis>anger</analysis>sadness",
        "<scratchpad>anger</scratchpad>sadness",
        "<seed:think>anger</seed:think>sadness",
        "<longcat_think>anger</longcat_think>sadness",
        "<inner_monologue>anger</inner_monologue>sadness",
        "<|think|>anger<|/think|>sadness",
        "<deepthink>anger</deepthink>sadness",
        "<thought_process>anger</thought_process>sadness",
        "<chain_of_thought>anger</chain_of_thought>sadness",
        "<think>anger</thinking>sadness",
        "<|start|>assistant<|channel|>analysis<|message|>anger<|end|><|start|>assistant<|channel|>final<|message|>sadness",
        "[THINK]anger[/THINK]sadness",
        "\u25c1think\u25b7anger\u25c1/think\u25b7sadness",
        "\uff1cthink\uff1eanger\uff1c/think\uff1esadness",
        "&lt;think&gt;anger&lt;/think&gt;sadness",
        "<思考>anger</思考>sadness",
        "【思考】anger【/思考】sadness",
        "<|begin_of_thought|>anger<|end_of_thought|><|begin_of_solution|>sadness<|end_of_solution|>",
        "<|START_THINKING|>anger<|END_THINKING|>sadness",
        "<|channel|>analysis<|message|>anger<|end|><|start|>assistant<|channel|>final<|message|>sadness<|return|>",
        "analysisWe see anger.assistantfinalsadness",
        "<|channel>thought\nanger<channel|>sadness",
        "<unused94>thought\nanger<unused95>sadness",
        "Here is my thought process:\nanger\n\nHere is my response:\nsadness",
        "Thinking...\nanger\n...done thinking.\n\nsadness",
    ],
)
def test_thoughts_are_cut_before_an_answer_is_read(text):
    assert exact(text, EMOTION, "en") == lenient(text, EMOTION, "en") == Reading("sadness", "valid")


@pytest.mark.parametrize(
    "text",
    [
        "<think>This could be joy",
        "joy <think>or is it",
        "<think>anger</think>joy<think>wait",
        "<thinking>joy",
        "[THINK]joy",
        "\u25c1think\u25b7joy",
        "<|channel|>analysis<|message|>joy",
        "analysisThe voice shows joy",
        "<|channel>thought\njoy",
    ],
)
def test_thoughts_that_are_not_closed_leave_no_answer_and_say_so(text):
    for reader in (exact, lenient):
        assert reader(text, EMOTION, "en") == Reading(None, "no_label", thoughts.UNCLOSED)
    assert "max_new_tokens" in thoughts.UNCLOSED


@pytest.mark.parametrize(
    "text",
    ["I think it is joy.", "My thoughts: joy", "Reasoning: she laughs. Answer: joy", "<3 joy", "a < b, joy", "<joy>"],
)
def test_thoughts_without_marks_are_an_answer(text):
    assert lenient(text, EMOTION, "en") == Reading("joy", "valid")


def test_nothing_behind_the_thoughts_is_an_empty_answer():
    assert lenient("<think>joy</think>\n", EMOTION, "en") == Reading(None, "empty")
    assert lenient("joy</think", EMOTION, "en") == Reading(None, "empty")


def test_numbers_in_thoughts_do_not_count():
    assert lenient("<think>2 or 3</think>minus 1.5", INTENSITY, "en") == Reading(-1.5, "valid")
    assert lenient("2 or 3</think>1", INTENSITY, "en") == Reading(1.0, "valid")


def test_a_prompt_that_opens_the_thoughts_is_closed_by_the_answer():
    assert thoughts.without("could be joy", within=True) is None
    assert thoughts.without("could be joy</think>anger", within=True) == "anger"
