"""The paraphrases of the questions that datasets ask, and what is refused about prompt factors."""

import re
from pathlib import Path

import pytest
import yaml

from affect.config import ConfigError
from affect.config.label_maps import declared
from affect.config.paraphrases import paraphrases
from affect.config.prompting import PARAPHRASES

CONF = Path(__file__).resolve().parents[2] / "conf"

QUESTIONS = {
    question
    for path in (CONF / "dataset").glob("*.yaml")
    for task in yaml.safe_load(path.read_text("utf-8"))["task_definitions"].values()
    for question in task["question"].values()
} | {question for space in declared().spaces.values() for question in space.question.values()}


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"\{\w*\}", text))


def test_every_question_of_every_dataset_has_paraphrases() -> None:
    assert len(QUESTIONS) > 25
    assert paraphrases().keys() == QUESTIONS


@pytest.mark.parametrize("question", sorted(QUESTIONS))
def test_paraphrases_ask_the_same_in_other_words(question: str) -> None:
    wordings = paraphrases()[question]
    assert len(wordings) == PARAPHRASES
    assert len({question, *wordings}) == PARAPHRASES + 1
    for wording in wordings:
        assert placeholders(wording) == placeholders(question)
        assert wording.format(labels="a, b", low="-1", high="1").strip() == wording.format(
            labels="a, b", low="-1", high="1"
        )
        # The language is that of the question.
        assert bool(re.search("[\u4e00-\u9fff]", wording)) == bool(re.search("[\u4e00-\u9fff]", question))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["prompting.paraphrase=6"], "prompting.paraphrase=6 has to be at most 5"),
        (["dataset=mosi", "prompting.options=letters"], "prompting.options=letters is about labels, but every chosen"),
        (["dataset=sims", "prompting.options_order=shuffled"], "set prompting.options_order=fixed, or choose another"),
        (["prompting.options_seed=3"], "prompting.options_seed=3 has no effect with prompting.options_order=fixed"),
        (
            ["prompting.paraphrase=1", "datasets.demo.task_definitions.emotion.question.en='Which? {labels}'"],
            "prompting.paraphrase=1 has no wording of the question (en) of task 'emotion' of dataset=demo",
        ),
        (
            ["prompting.options=letters", "datasets.demo.task_definitions.emotion.question.en='Which?'"],
            "task 'emotion' of dataset=demo has a question (en) that does not list its labels",
        ),
        (
            ["prompting.options=numbers", "~prompting.numbers_instruction.en"],
            "add prompting.numbers_instruction.en",
        ),
        (
            ["prompting=fewshot", "prompting.options=letters", "~prompting.fewshot.options.en"],
            "add prompting.fewshot.options.en",
        ),
        (["prompting.fewshot.options.en='Options'"], "prompting.fewshot.options.en lacks its placeholder {labels}"),
    ],
)
def test_what_cannot_be_varied_is_refused(configure, words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        configure("experiment=demo", *words, program="evaluate")
    assert sentence in str(refused.value)


def test_what_can_be_varied_is_not_refused(configure) -> None:
    demo = ("experiment=demo", "modalities=t", "prompting.options=letters")
    words = ("prompting.options_order=shuffled", "prompting.options_seed=3", "prompting.paraphrase=5")
    configure(*demo, *words, "prompting.system_turn=none", program="evaluate")
    # The numbers of a second task stay as they are.
    configure(*demo, "datasets.demo.tasks=[emotion,sentiment]", program="evaluate")
