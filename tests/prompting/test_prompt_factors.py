"""Options by words, letters and numbers, their order, paraphrases, and the place of the system text."""

from collections import Counter
from dataclasses import replace

import pytest
from scipy.stats import chisquare

from affect.config import FewshotConfig, Kind, Options, OptionsOrder, PromptingConfig, SystemTurn, Task
from affect.config.paraphrases import paraphrases
from affect.data import Record
from affect.prompting import messages as prompts
from affect.prompting import token_budget
from affect.prompting.options import option_conflicts, shown_order

PLAIN = PromptingConfig(
    name="plain",
    system={"en": "You judge feelings.", "zh": "你判断情感。"},
    transcript={"en": 'They say: "{text}"\n', "zh": "台词：“{text}”\n"},
    letters_instruction={"en": " Write its letter.", "zh": "只写字母。"},
    numbers_instruction={"en": " Write its number.", "zh": "只写数字。"},
    fewshot=FewshotConfig(
        example={"en": "{clip}Answer: {answer}\n"}, clip={"en": "Now:\n"}, options={"en": "Options: {labels}.\n"}
    ),
)
EMOTION = Task(
    name="emotion",
    labels=["joy", "anger", "fear"],
    question={"en": "Which emotion? One of: {labels}.", "zh": "哪种情感？{labels}"},
    words={"zh": {"joy": "喜悦", "anger": "愤怒", "fear": "恐惧"}},
)
SEVERAL = replace(EMOTION, kind=Kind.multi_label)
LEVEL = Task(name="level", kind=Kind.intensity, low=-1, high=1, step=0.5, question={"en": "From {low} to {high}?"})
RECORD = Record(
    id="meld/test/0/2",
    dataset="meld",
    split="test",
    text="Oh no",
    labels={"emotion": "anger", "level": 0.5},
    group="test/0",
)
LETTERS, NUMBERS = {"options": Options.letters}, {"options": Options.numbers}
BACKWARDS, SHUFFLED = {"options_order": OptionsOrder.reversed}, {"options_order": OptionsOrder.shuffled}


def made(record: Record = RECORD, task: Task = EMOTION, shots: tuple[Record, ...] = (), **changes) -> prompts.Example:
    return token_budget.example(record, task, replace(PLAIN, **changes), "t", lambda messages: 0, shots)


def text_of(example: prompts.Example) -> str:
    return example.messages[-1]["content"][-1]["text"]


@pytest.mark.parametrize(
    ("changes", "question", "answer"),
    [
        ({}, "Which emotion? One of: joy, anger, fear.", "anger"),
        (LETTERS, "Which emotion? One of: A. joy, B. anger, C. fear. Write its letter.", "B"),
        (NUMBERS, "Which emotion? One of: 1. joy, 2. anger, 3. fear. Write its number.", "2"),
        (BACKWARDS, "Which emotion? One of: fear, anger, joy.", "anger"),
        (LETTERS | BACKWARDS, "Which emotion? One of: A. fear, B. anger, C. joy. Write its letter.", "B"),
    ],
)
def test_question_and_answer(changes, question, answer):
    example = made(**changes)
    assert text_of(example) == f'They say: "Oh no"\n{question}'
    assert (example.answer, example.target, example.answer_in_words) == (answer, answer, "anger")
    assert example.task is EMOTION and example.record.labels["emotion"] == "anger"


def test_another_language():
    example = made(replace(RECORD, language="zh"), **LETTERS)
    assert text_of(example) == "台词：“Oh no”\n哪种情感？A. 喜悦, B. 愤怒, C. 恐惧只写字母。"
    assert (example.answer, example.answer_in_words) == ("B", "愤怒")


def test_several_labels_are_answered_in_the_order_shown():
    record = replace(RECORD, labels={"emotion": ("fear", "joy")})
    assert made(record, SEVERAL).answer == "joy, fear"
    assert made(record, SEVERAL, **LETTERS).answer == "A, C"
    assert made(record, SEVERAL, **NUMBERS, **BACKWARDS).answer == "1, 3"
    assert made(replace(RECORD, labels={"emotion": ()}), SEVERAL, **LETTERS).answer == "none"


def test_a_number_from_a_range_has_no_options():
    changed = made(task=LEVEL, **LETTERS, **SHUFFLED)
    assert (changed.messages, changed.answer) == (made(task=LEVEL).messages, made(task=LEVEL).answer)


@pytest.mark.parametrize("options", [Options.words, Options.letters])
def test_a_shuffled_list_is_told_by_seed_and_id(options):
    example = made(options=options, **SHUFFLED)
    order = shown_order(EMOTION.labels, OptionsOrder.shuffled, 0, RECORD.id)
    words = order if options is Options.words else [f"{m}. {label}" for m, label in zip("ABC", order, strict=True)]
    assert f"One of: {', '.join(words)}." in text_of(example)
    assert example.answer == ("anger" if options is Options.words else "ABC"[order.index("anger")])
    seeds = {tuple(shown_order(EMOTION.labels, OptionsOrder.shuffled, seed, RECORD.id)) for seed in range(40)}
    assert len(seeds) == 6
    # It goes by the set of labels, and not by the order of their definition.
    assert shown_order(EMOTION.labels[::-1], OptionsOrder.shuffled, 0, RECORD.id) == order


def test_every_label_is_at_every_place_equally_often():
    places: Counter = Counter()
    for number in range(3000):
        order = shown_order(EMOTION.labels, OptionsOrder.shuffled, 7, f"meld/test/{number}")
        assert sorted(order) == sorted(EMOTION.labels)
        places.update(enumerate(order))
    assert len(places) == 9 and chisquare([*places.values()]).pvalue > 0.01


def test_few_shot_examples_are_answered_by_the_letters_of_the_prompt_they_are_in():
    shot = replace(RECORD, id="meld/train/1", text="What a day", labels={"emotion": "joy"})
    assert text_of(made(shots=(shot,), **LETTERS, **BACKWARDS)) == (
        'Options: A. fear, B. anger, C. joy.\nThey say: "What a day"\nAnswer: C\nNow:\nThey say: "Oh no"\n'
        "Which emotion? One of: A. fear, B. anger, C. joy. Write its letter."
    )
    assert text_of(made(shots=(shot,))).startswith('They say: "What a day"\nAnswer: joy\n')


def test_a_prompt_without_content_lists_the_same_options():
    prompting = replace(PLAIN, **LETTERS, **SHUFFLED)
    example = token_budget.example(RECORD, EMOTION, prompting, "t", lambda messages: 0)
    question = text_of(example).split("\n")[-1]
    assert all(
        messages[-1]["content"][-1]["text"].endswith(f"\n{question}")
        for messages in prompts.content_free(example, prompting, "t")
    )


def test_reasons_are_asked_for_after_the_options():
    words = {"cot_instruction": {"en": "\nReasons, then {marker}"}, "answer_marker": {"en": "Answer:"}}
    example = made(cot=True, **words, **LETTERS)
    assert text_of(example).endswith("C. fear. Write its letter.\nReasons, then Answer:")
    assert example.target == "Answer: B"


def test_the_system_text_is_a_turn_or_the_beginning_of_the_users_or_nowhere():
    usual, user, none = (made(system_turn=place) for place in SystemTurn)
    assert [message["role"] for message in usual.messages] == ["system", "user"]
    assert usual.messages[1:] == none.messages
    assert [message["role"] for message in user.messages] == ["user"]
    assert text_of(user) == f"You judge feelings.\n\n{text_of(none)}"
    assert list(user.shown) == ["system", "transcript", "question"]
    with_media = prompts.messages(RECORD, EMOTION, replace(PLAIN, system_turn=SystemTurn.user), "tav")
    assert [part["type"] for part in with_media[0]["content"]] == ["video", "audio", "text"]


def test_a_paraphrase_changes_the_question_alone():
    question = "Which emotion does the speaker express? Answer with one word: {labels}."
    task = replace(EMOTION, question={"en": question})
    texts = {text_of(made(task=task, paraphrase=number, **LETTERS)) for number in range(6)}
    assert len(texts) == 6
    assert all('They say: "Oh no"\n' in text and "A. joy, B. anger, C. fear" in text for text in texts)
    assert text_of(made(task=task, paraphrase=2)) == (
        'They say: "Oh no"\n' + paraphrases()[question][1].format(labels="joy, anger, fear")
    )


@pytest.mark.parametrize(
    ("task", "changes", "clause"),
    [
        (replace(EMOTION, question={"en": "Joy, anger or fear?"}), LETTERS, "does not list its labels"),
        (replace(EMOTION, question={"en": "Joy, anger or fear?"}), SHUFFLED, "leave prompting.options_order=shuffled"),
        (Task(labels=[f"l{n}" for n in range(27)], question={"en": "{labels}"}), LETTERS, "set prompting.options=num"),
        (Task(labels=["0", "1"], question={"en": "{labels}"}), NUMBERS, "the word (en) '1' for a label"),
        (Task(labels=["b", "x"], question={"en": "{labels}"}), LETTERS, "the word (en) 'b' for a label"),
    ],
)
def test_options_that_would_be_ambiguous_are_refused(task, changes, clause):
    [found] = option_conflicts(task, "en", replace(PLAIN, **changes))
    assert clause in found


def test_options_that_can_be_shown_are_not_refused():
    for changes in ({}, LETTERS, NUMBERS, BACKWARDS, LETTERS | SHUFFLED):
        for task in (EMOTION, SEVERAL, LEVEL):
            assert not list(option_conflicts(task, "en", replace(PLAIN, **changes)))
