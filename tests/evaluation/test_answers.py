"""What the two readers make of an answer."""

import doctest
import math
import random
import time

import pytest

from affect.config import Kind, Task
from affect.evaluation import parsing, signs
from affect.evaluation.parsing import OUTCOMES, Reading, exact, lenient

EMOTION = Task(name="emotion", labels=["neutral", "joy", "sadness", "anger"])
MOOD = Task(name="mood", labels=["happy", "unhappy", "neutral"])
HUMOR = Task(name="humor", labels=["0", "1"], words={"en": {"0": "not funny", "1": "funny"}})
SIMS = Task(name="polarity", labels=["pos", "neg"], words={"zh": {"pos": "开心", "neg": "愤怒"}})
FEELINGS = Task(
    name="feelings",
    kind=Kind.multi_label,
    labels=["joy", "anger", "fear"],
    words={"zh": {"joy": "开心", "anger": "愤怒"}},
    none={"zh": "无情绪"},
)
INTENSITY = Task(name="sentiment", kind=Kind.intensity, low=-3, high=3, step=0.5, headline="mae")


def reading(reader, text, task, language="en"):
    result = reader(text, task, language)
    return result.outcome if result.value is None else result.value


def test_examples_in_the_docstrings_are_true():
    result = doctest.testmod(parsing)
    assert result.attempted >= 4 and result.failed == 0


@pytest.mark.parametrize(
    ("text", "task", "expected"),
    [
        ("joy", EMOTION, "joy"),
        (' "**Joy**." \n', EMOTION, "joy"),
        ("JOY!", EMOTION, "joy"),
        ("It is joy", EMOTION, "no_label"),
        ("joyful", EMOTION, "no_label"),
        ("Not  funny.", HUMOR, "0"),
        ("funny", HUMOR, "1"),
        ("0", HUMOR, "0"),
        ("", EMOTION, "empty"),
        (" \n", EMOTION, "empty"),
        ("'…'", EMOTION, "empty"),
        ("+1.5", INTENSITY, 1.5),
        ("-0.5", INTENSITY, -0.5),
        ("\u22121", INTENSITY, -1.0),
        ("\u20131.", INTENSITY, -1.0),
        ("**2**", INTENSITY, 2.0),
        (".5", INTENSITY, 0.5),
        ("1,5", INTENSITY, 1.5),
        ("0,125", INTENSITY, 0.125),
        ("1,500", INTENSITY, "no_label"),
        ("about 2", INTENSITY, "no_label"),
        ("3.5", INTENSITY, 3.5),
    ],
)
def test_exact_reads_a_bare_answer_only(text, task, expected):
    assert reading(exact, text, task) == expected


def test_exact_prefers_the_word_the_prompt_offered_to_a_label_spelled_alike():
    swapped = Task(labels=["0", "1"], words={"en": {"0": "1", "1": "0"}})
    assert exact("1", swapped, "en") == Reading("0", "valid")


def test_decomposed_accents_are_the_same_word():
    task = Task(labels=["col\u00e8re", "joie"])
    assert lenient("cole\u0300re", task, "fr").value == "col\u00e8re"
    assert lenient("la cole\u0300re monte", task, "fr").value == "col\u00e8re"
    assert lenient("joie\u0301 monte", task, "fr").outcome == "no_label"


@pytest.mark.parametrize(
    ("text", "task", "expected"),
    [
        ("The emotion is joy.", EMOTION, "joy"),
        ("Joy, because joy is heard.", EMOTION, "joy"),
        ("The emotion is _joy_", EMOTION, "joy"),
        ("joy or sadness", EMOTION, "several_labels"),
        ("joyful and angry", EMOTION, "no_label"),
        ("She is unhappy", MOOD, "unhappy"),
        ("This is not funny at all", HUMOR, "0"),
        ("This is funny", HUMOR, "1"),
        ("1. not funny", HUMOR, "0"),
        ("not very funny", HUMOR, "no_label"),
        ("Answer: joy. Explanation: there is no sign of anger.", EMOTION, "joy"),
        ("Answer: joy. Explanation: the anger is played.", EMOTION, "several_labels"),
        ("", EMOTION, "empty"),
        ("**", EMOTION, "empty"),
        ("I'm sorry, I cannot see the video.", EMOTION, "refusal"),
        ("I\u2019m unable to judge", EMOTION, "refusal"),
        ("As an AI language model, I have no feelings", EMOTION, "refusal"),
        ("很抱歉,我看不到视频", EMOTION, "refusal"),
        ("I'm sorry, but I cannot be certain: joy", EMOTION, "joy"),
        ("A person talks.", EMOTION, "no_label"),
    ],
)
def test_lenient_reads_the_one_label_that_is_named(text, task, expected):
    assert reading(lenient, text, task) == expected


@pytest.mark.parametrize(
    "denial",
    [
        "not happy",
        "isn\u2019t happy",
        "not a very happy tone",
        "neither happy nor neutral",
        "not 'happy' or 'neutral'",
        "non-happy",
        "not_happy",
        "**not** happy",
        "not **happy**",
        "no trace of happy",
        "hardly happy",
    ],
)
def test_a_denied_label_is_not_claimed(denial):
    assert lenient(f"The speaker sounds {denial}", MOOD, "en") == Reading(None, "no_label")
    assert lenient(f"The speaker sounds {denial}, but unhappy", MOOD, "en") == Reading("unhappy", "valid")


@pytest.mark.parametrize(
    "text", ["not only happy", "no doubt happy", "not unhappy but happy", "no\nhappy", "Not sure. Happy"]
)
def test_what_only_looks_like_a_denial_does_not_deny(text):
    assert lenient(text, MOOD, "en").value == "happy"


def test_no_can_itself_be_a_label():
    task = Task(labels=["yes", "no"])
    assert reading(lenient, "No, it is not sarcastic", task) == "no"
    assert reading(lenient, "no yes", task) == "several_labels"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("他非常开心", "pos"),
        ("“开心”。", "pos"),
        ("他不开心", "no_label"),
        ("没有表现出“愤怒”", "no_label"),
        ("不是愤怒而是开心", "pos"),
        ("他感到不安和愤怒", "neg"),
        ("开心和愤怒", "several_labels"),
    ],
)
def test_labels_in_a_script_without_spaces(text, expected):
    assert reading(lenient, text, SIMS, "zh") == expected


def test_a_latin_label_may_touch_chinese_but_not_latin_letters():
    assert lenient("答案是joy。", EMOTION, "zh").value == "joy"
    assert lenient("答案是joyful。", EMOTION, "zh").outcome == "no_label"


def test_labels_that_are_numbers_are_not_found_within_others():
    task = Task(labels=["-1", "0", "1"])
    assert [reading(lenient, text, task) for text in ("it is -1", "it is 1.", "it is 1.5", "it is 10")] == [
        "-1",
        "1",
        "no_label",
        "no_label",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The sentiment is 1.5.", 1.5),
        ("Sentiment: \u20132", -2.0),
        ("2, yes, 2.0", 2.0),
        ("between 1 and 2", "several_labels"),
        ("from -3 to 3", "several_labels"),
        ("I'd say 7", 7.0),
        ("2/3", 2.0),
        ("3 out of 3", 3.0),
        ("7/10", "no_label"),
        ("情感强度为-2分", -2.0),
        ("强度\uff12", 2.0),
        ("2.The tone is warm", 2.0),
        ("It is...2", 2.0),
        ("GPT-4 says 2", 2.0),
        ("- 2", "no_label"),
        ("score-2", "no_label"),
        ("1-2", "no_label"),
        ("1e3", "no_label"),
        ("1e-3", "no_label"),
        ("80 %", "no_label"),
        ("2 (80% sure)", "several_labels"),
        ("1,000", "no_label"),
        ("1,000.5", "no_label"),
        ("nan", "no_label"),
        ("inf", "no_label"),
        ("9" * 400, "no_label"),
        ("\u00b12", "no_label"),
        ("1\u00bd", "no_label"),
        ("I cannot rate this", "refusal"),
        ("two", "no_label"),
    ],
)
def test_lenient_reads_the_one_number_that_is_named(text, expected):
    assert reading(lenient, text, INTENSITY) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("minus 1.5", -1.5),
        ("The score is minus 1,5.", -1.5),
        ("**Minus** 1.5", -1.5),
        ("minus (1.5)", -1.5),
        ("minus 2 out of 3", -2.0),
        ("Not sure, but minus 1.5", -1.5),
        ("negative 1.5", -1.5),
        ("neg. 1.5", -1.5),
        ("Negative: 1.5", -1.5),
        ("negative (1.5)", -1.5),
        ("negative -1.5", -1.5),
        ("a negative score of 1.5", -1.5),
        ("a negative sentiment score of 1.5", -1.5),
        ("1.5 below zero", -1.5),
        ("1.5 points below zero", -1.5),
        ("below zero: 1.5", -1.5),
        ("&minus;1.5", -1.5),
        ("-<b>1.5</b>", -1.5),
        ("-\u200b1.5", -1.5),
        ("负0.6", -0.6),
        ("负 0.6", -0.6),
        ("负的0.6", -0.6),
        ("负面：0.6", -0.6),
        ("负（０．６）", -0.6),
        ("負0.6", -0.6),
        ("零下0.6", -0.6),
        ("情感得分为负0.6分", -0.6),
        ("消极0.6", -0.6),
        *((f"{dash}1.5", -1.5) for dash in signs.DASHES),
        *((f"{plus}1.5", 1.5) for plus in signs.PLUSES),
        # Words that say the same as the number.
        ("The score is 1.5", 1.5),
        ("plus 1.5", 1.5),
        ("positive 1.5", 1.5),
        ("positive: 1.5", 1.5),
        ("Positive (1.5)", 1.5),
        ("mildly happy (1.5)", 1.5),
        ("正0.6", 0.6),
        ("他很积极：0.6", 0.6),
        ("被欺负了，0.6", 0.6),
        ("neither negative nor positive: 0", 0.0),
        ("-> 1.5", 1.5),
        ("Some words are negative. Overall it is positive: 1.5", 1.5),
        ("Some words are negative. +1.5", 1.5),
        # Nothing decides.
        ("not negative: 1.5", "no_label"),
        ("isn't negative, 1.5", "no_label"),
        ("non-negative 1.5", "no_label"),
        ("less negative: 1.5", "no_label"),
        ("not positive: 1.5", "no_label"),
        ("She is not positive. 1.5", "no_label"),
        ("not minus 1.5", "no_label"),
        ("minus -1.5", "no_label"),
        ("minus minus 1.5", "no_label"),
        ("more positive than negative: 1.5", "no_label"),
        ("between negative and positive: 1.5", "no_label"),
        ("\u00ac1.5", "no_label"),
        ("一0.6", "no_label"),
        ("positive -1.5", "no_label"),
        ("plus or minus 1.5", "no_label"),
        ("+/-1.5", "no_label"),
        ("\u00b1 1.5", "no_label"),
        ("\u00ad1.5", "no_label"),
        ("-(1.5)", "no_label"),
        ("-**1.5**", "no_label"),
        ("-\n1.5", "no_label"),
        ("(-) 1.5", "no_label"),
        ("(1.5)", "no_label"),
        ("Score: (1.5)", "no_label"),
        ("1.5-", "no_label"),
        ("on the negative side, 1.5", "no_label"),
        ("1.5 (negative)", "no_label"),
        ("It is negative, +1.5", "no_label"),
        ("Sentiment: negative. Score: 1.5", "no_label"),
        ("Sentiment: negative\nIntensity: 1.5", "no_label"),
        ("minus one point five", "no_label"),
        ("minus one (1.5)", "no_label"),
        ("负零点六", "no_label"),
        ("不是负0.6", "no_label"),
        ("非负0.6", "no_label"),
        ("正负0.6", "no_label"),
        ("并不消极，0.6", "no_label"),
        ("情感为负，强度0.6", "no_label"),
        ("0.6（负面）", "no_label"),
        ("from minus 3 to 3", "several_labels"),
        ("between -3 and minus 1", "several_labels"),
    ],
)
def test_the_sign_of_a_number_is_that_of_its_words_or_it_is_not_read(text, expected):
    assert reading(lenient, text, INTENSITY) == expected


@pytest.mark.parametrize(
    ("text", "signed", "unsigned"),
    [
        ("minus 1", "-1", "no_label"),
        ("负1", "-1", "no_label"),
        ("negative: 1", "-1", "1"),
        ("It is 1, negative.", "no_label", "1"),
        ("- 1", "no_label", "1"),
        ("positive: 1", "1", "1"),
        ("The class is 1.", "1", "1"),
        ("neither negative nor positive, 0", "0", "0"),
        ("minus 2", "no_label", "no_label"),
    ],
)
def test_classes_that_are_numbers_have_signs_too(text, signed, unsigned):
    assert reading(lenient, text, Task(labels=["-1", "0", "1"])) == signed
    assert reading(lenient, text, Task(labels=["0", "1", "2"]) if text != "minus 2" else HUMOR) == unsigned


def test_a_number_out_of_the_range_is_kept_and_marked():
    assert exact("4", INTENSITY, "en") == Reading(4.0, "out_of_range")
    assert lenient("I say -3.5", INTENSITY, "en") == Reading(-3.5, "out_of_range")
    assert lenient("I say -3", INTENSITY, "en") == Reading(-3.0, "valid")


def test_minus_zero_is_zero():
    assert math.copysign(1.0, exact("-0.0", INTENSITY, "en").value) == 1.0


@pytest.mark.parametrize("task", [EMOTION, MOOD, HUMOR])
def test_what_a_perfect_model_answers_is_read_by_both(task):
    for label in task.labels:
        answer = task.answer(label, "en")
        assert exact(answer, task, "en") == lenient(answer, task, "en") == Reading(label, "valid")


def test_what_a_perfect_model_answers_about_intensity_is_read_by_both():
    for value in INTENSITY.grid():
        answer = INTENSITY.answer(value, "en")
        assert exact(answer, INTENSITY, "en") == lenient(answer, INTENSITY, "en") == Reading(value, "valid")


def test_no_string_raises_and_lenient_reads_whatever_exact_reads():
    generator = random.Random(0)
    pieces = [
        "joy",
        "happy",
        "unhappy",
        "not ",
        "n't ",
        "no",
        "funny",
        "开心",
        "不",
        "1",
        "-",
        "+",
        ".",
        ",",
        "/",
        "%",
        " of ",
    ]
    pieces += [
        " ",
        "\n",
        "'",
        "**",
        "\u2212",
        "\u0301",
        "\u200b",
        "\ud800",
        "\U0001f600",
        "\u0130",
        "\u00bd",
        "\x00",
        "e",
    ]
    exactly_read = 0
    for _ in range(5000):
        pick = [generator.choice(pieces) for _ in range(generator.randrange(7))]
        text = "".join(pick + [chr(generator.randrange(0x110000))] * generator.randrange(2))
        for task, language in ((EMOTION, "en"), (MOOD, "en"), (HUMOR, "en"), (SIMS, "zh"), (INTENSITY, "en")):
            strict, loose = exact(text, task, language), lenient(text, task, language)
            for result in (strict, loose):
                assert result.outcome in OUTCOMES
                assert (result.value is not None) == (result.outcome in ("valid", "out_of_range"))
                known = result.value is None or (
                    math.isfinite(result.value) if task is INTENSITY else result.value in task.labels
                )
                assert known, (text, result)
            if strict.value is not None:
                exactly_read += 1
                assert loose == strict, text
    assert exactly_read > 100


@pytest.mark.parametrize("task", [EMOTION, SIMS, INTENSITY])
def test_a_very_long_answer_takes_linear_time(task):
    patterns = [
        "a",
        "9",
        " ",
        "'",
        "not ",
        "not a ",
        "an't ",
        "1 / ",
        "1,",
        "- ",
        "+",
        "a\u0301\u0316",
        "不是很",
        "i am ",
        "joy or ",
        "1 ",
        "negative ",
        "not negative ",
        "minus 1 ",
        "1 below ",
        "正负",
        "<think>",
        "</think>",
        "[think",
        "thought ",
    ]
    for pattern in patterns:
        # The label at the end keeps the search from being cut short. A second is many times what is needed (0.02
        # to 0.3 s) and a small part of what quadratic time would be (minutes).
        text = (pattern * 100_000)[:100_000] + " joy 开心 1"
        start = time.process_time()
        lenient(text, task, "zh")
        assert time.process_time() - start < 1.0, pattern


def test_a_task_without_labels_claims_nothing():
    assert lenient("joy", Task(name="empty"), "en") == Reading(None, "no_label")


@pytest.mark.parametrize(
    ("text", "exactly", "loosely"),
    [
        ("joy", ("joy",), ("joy",)),
        ("joy, anger", ("anger", "joy"), ("anger", "joy")),
        ("**Joy**; 'anger' and fear.", ("anger", "fear", "joy"), ("anger", "fear", "joy")),
        ("joy, and joy", ("joy",), ("joy",)),
        ('["joy", "fear"]', ("fear", "joy"), ("fear", "joy")),
        ("joy\nanger", ("anger", "joy"), ("anger", "joy")),
        ("None.", (), ()),
        ("none of these", "no_label", ()),
        ("I hear joy and some anger", "no_label", ("anger", "joy")),
        ("joy, but no anger", "no_label", ("joy",)),
        ("joy, sadness", "no_label", ("joy",)),
        ("joy, none", "no_label", "several_labels"),
        ("not joy", "no_label", "no_label"),
        ("I cannot tell, sorry", "no_label", "refusal"),
        (" , ", "empty", "empty"),
        ("", "empty", "empty"),
    ],
)
def test_any_number_of_labels_can_be_claimed(text, exactly, loosely):
    assert reading(exact, text, FEELINGS) == exactly
    assert reading(lenient, text, FEELINGS) == loosely


def test_lists_of_labels_are_read_in_the_words_of_a_language():
    assert exact("开心、愤怒", FEELINGS, "zh") == Reading(("anger", "joy"), "valid")
    assert exact("无情绪", FEELINGS, "zh") == lenient("我觉得是无情绪", FEELINGS, "zh") == Reading((), "valid")
    assert lenient("开心，不愤怒", FEELINGS, "zh") == Reading(("joy",), "valid")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_a_perfect_model_answers_about_several_labels_is_read_by_both(language):
    for value in ((), ("fear",), ("anger", "joy"), ("anger", "fear", "joy")):
        answer = FEELINGS.answer(value, language)
        assert exact(answer, FEELINGS, language) == lenient(answer, FEELINGS, language) == Reading(value, "valid")
    assert FEELINGS.answer(("anger", "joy"), "en") == "joy, anger"
