"""What counts as naming an answer: the same for the leak audit, which counts it, and for the control that masks it."""

import subprocess
import sys

import pytest

from affect.config import Control, Kind, Task, Value
from affect.data import Record
from affect.knowledge import leak_audit, lexicon
from affect.knowledge.controls import controlled, vocabulary
from affect.knowledge.naming import namings

EMOTION = Task(name="task", labels=["joy", "anger", "fear", "sadness", "disgust", "surprise", "neutral"])
POLARITY = Task(name="task", labels=["positive", "neutral", "negative"])
HUMOUR = Task(name="task", labels=["0", "1"], words={"en": {"0": "serious", "1": "funny"}})
MOSI = Task(name="task", kind=Kind.intensity, low=-3, high=3, step=0.5)
SIMS = Task(name="task", kind=Kind.intensity, low=-1, high=1, step=0.2)


def record(text: str, value: Value = "none of them") -> Record:
    return Record(
        id="x/test/1", dataset="x", split="test", text="", group="1", labels={"task": value}, knowledge={"audio": text}
    )


def named(text: str, task: Task, value: Value) -> str:
    """As the audit of one description says: gold, both, other or none."""
    found = leak_audit.audit_task([record(text, value)], {"x/test/1": {"audio": text}}, task)
    shares = found["descriptions"]["audio"]["named"]
    [what] = [key for key in leak_audit.NAMED if shares[key] == 1]
    return what


def masked(text: str, task: Task) -> str:
    [made] = controlled([record(text)], [task], Control.masked, 0)
    return made.knowledge["audio"]


@pytest.mark.parametrize(
    ("text", "expected", "value"),
    [
        ("He is happy, cheerful, delighted: I rate it 2.4", "He is ___, ___, ___: I rate it ___", 2.4),
        ("delights, cheered, disappointed by none", "___, ___, ___ by none", None),
        ("He sounds heartbroken and upset.", "He sounds ___ and ___.", -2.0),
        ("a nervous, anxious voice", "a ___, ___ voice", -1.0),
        ("It is about -1.5 here", "It is about ___ here", -1.5),
        ("It is about −1.5 here", "It is about ___ here", -1.5),
        ("negative 1.5", "___", -1.5),
        ("minus two point five at most", "___ at most", -2.5),
        ("I would rate this clip two", "I would rate this clip ___", 2.0),
        ("the score is below zero", "the score is ___", -1.0),
        ("Rating:２．４", "Rating:___", 2.4),
        ("强度为负1.5，她很难过", "强度为___，她很___", -1.5),
        ("打二分", "打___分", 2.0),
        ("0 is what I hear", "___ is what I hear", 0.0),
    ],
)
def test_sentiment_words_and_numbers_in_the_range_name_an_intensity(text, expected, value):
    assert masked(text, MOSI) == expected
    if value is not None:
        assert named(text, MOSI, value) == "gold" and named(text, MOSI, -value or 3.0) == "other"


@pytest.mark.parametrize(
    "text",
    [
        "A 440 Hz tone of 2 seconds, 3 % louder; 7 of 10 frames, take 16.",
        "The voice is strong and clear, low, with an energetic pace and a bright timbre.",
        "A man in a dark jacket sits alone at a table; he laughs, smiles and nods, well lit, and takes care.",
        "Please note a hand on her heart, a focused look, a definite stress on the last word; attack of the strings.",
        "One man and two women face the camera; the first one is in a position of interest.",
        "音高很低、语速较快、停顿很少，没有动作。",
    ],
)
def test_what_is_heard_and_seen_names_no_sentiment(text):
    for task, value in ((MOSI, 2.0), (SIMS, 0.2), (POLARITY, "positive")):
        assert (masked(text, task), named(text, task, value)) == (text, "none")


def test_numbers_outside_the_range_name_nothing():
    assert masked("from 2 to 0.8, or -0.4, not 1.2", SIMS) == "from 2 to ___, or ___, not 1.2"


@pytest.mark.parametrize(
    ("text", "expected", "label"),
    [
        ("She is saddened.", "She is ___.", "sadness"),
        ("angered, angering, raged", "___, ___, ___", "anger"),
        ("she fears it, a frightening face", "she ___ it, a ___ face", "fear"),
        ("it disgusts her", "it ___ her", "disgust"),
        ("an amazing, startling turn", "an ___, ___ turn", "surprise"),
        ("hap\u200bpy, joy\u00adful, h\u2060appy\ufeff", "___, ___, ___", "joy"),
        ("ＨＡＰＰＹ, ha\u0301ppy", "___, ___", "joy"),
        ("她聽起來很憤怒，生氣", "她聽起來很___，___", "anger"),
        ("厭惡", "___", "disgust"),
        ("an 😠 voice", "an ___ voice", "anger"),
        ("class 1", "___", "joy"),
        ("It is option 4, I think", "It is ___, I think", "sadness"),
        ("Option B: clear", "___: clear", "anger"),
        ("(c)", "___", "fear"),
        ("the third option", "the ___", "fear"),
        ("label: seven", "___", "neutral"),
        ("The answer is (A).", "The ___.", "joy"),
        ("選項三", "___", "fear"),
        ("第2类", "___", "anger"),
    ],
)
def test_inflected_disguised_and_listed_labels_are_named(text, expected, label):
    assert masked(text, EMOTION) == expected
    assert named(text, EMOTION, label) == "gold"
    assert named(text, EMOTION, next(other for other in EMOTION.labels if other != label)) == "other"


@pytest.mark.parametrize(
    "text",
    [
        "hangry madness enjoys a joystick",
        "He takes a careful position in a class of 12, with good information about the contents.",
        "Please see: he composes himself while a critic speaks about it.",
        "answer: a man is asked to answer 2 questions; category 12",
        "I rate it 2.4, a great and wonderful, terrible day",
        "He is in the classroom, in the first class of the train (see below)",
    ],
)
def test_a_classification_is_not_named_by_other_words(text):
    assert (masked(text, EMOTION), named(text, EMOTION, "joy")) == (text, "none")


def test_labels_that_are_numbers_are_named_as_labels_only():
    assert masked("0 to 1 pauses; class 1, label: 0", HUMOUR) == "0 to 1 pauses; ___, ___"
    assert named("class 1", HUMOUR, "1") == "gold" and named("label 0", HUMOUR, "1") == "other"
    assert named("1 pause", HUMOUR, "1") == "none"


def test_words_of_sentiment_name_labels_that_are_polarities():
    assert named("a wonderful, cheerful speech", POLARITY, "positive") == "gold"
    assert named("a wonderful, gloomy speech", POLARITY, "positive") == "both"
    words = Task(name="task", labels=["0", "1"], words={"en": {"0": "negative", "1": "positive"}})
    assert named("a wonderful, cheerful speech", words, "0") == "other"


def test_everything_of_several_tasks_is_masked_once():
    [made] = controlled([record("negative 1.5, class 2, happy, greatly varying")], [EMOTION, MOSI], Control.masked, 0)
    assert made.knowledge["audio"] == "___, ___, ___, greatly varying"


def test_places_are_those_of_the_given_text():
    text = "Ⅷ ﬁnally: hap\u200bpy!"
    [one] = namings(text, vocabulary(EMOTION))
    assert text[one.start : one.end] == "hap\u200bpy" and one.word == "happy" and one.labels == {"joy"}


def test_the_lexicon_is_read_without_a_network():
    assert len(lexicon.english()) > 3000
    assert lexicon.english()["delighted"] > 2 > -2 > lexicon.english()["terrible"]
    assert not {"low", "smiling", "like", "no", "clearly"} & set(lexicon.english())
    # Only what it reads is imported: its package would bring a client of HTTP with it.
    code = "from affect.knowledge import lexicon; import sys; lexicon.english(); print('requests' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
