"""Parses the text a model answered with. An exact and a lenient reader are reported side by side.

`exact` takes only an answer that is nothing but a label or a number. `lenient` takes an answer that names exactly one,
anywhere; it reads whatever `exact` reads, and to the same value. Neither guesses:

- Position means nothing. "Answer: joy. Explanation: no sign of anger" is joy, because anger is denied; "Answer:
joy. Explanation: the anger is played" is several_labels. A rule for "Answer:" would favour the models that
write it. - A denied label is not claimed, and is never turned into the opposite one, not even of two: "not
happy" is no_label unless "not happy" is a label itself. Denials are recognised in English ("not", "isn't",
"neither … nor", "no sign of", "rather than", …, up to three words before the label, within a clause) and
Chinese (不, 没有, 并非, …). - A label's word counts as a whole word and in that form only: "angry" is not "anger".
Next to scripts written without spaces (Chinese, Japanese, Korean particles, Thai) there are no word boundaries
to ask for, so a substring counts. - A number is written in digits with an optional sign that touches them: "-
2" may be a list item, so it is not read. `lenient` takes a sign in words too ("minus 1.5", 负0.6), and no number
whose words contradict it (affect.evaluation.signs). "1,5" is 1.5, but "1,500" may be 1500 and is not read;
neither are "80%", "1-2" and "±2". Such a piece still counts as a second number next to a readable one. What
touches letters ("2nd", "1e3", "GPT-4", "1½") is a word. - "2/3", "2 of 3" and "2 out of 3" are 2 where 3 is the
top of the range; on another scale ("7/10") they are not read.

Where several labels may apply, an answer that claims several is what was asked for: `exact` takes a list of them and
nothing else, `lenient` all that are claimed anywhere. The word for none is the empty set; beside a label it makes
several_labels, since only one of the two can be meant.

Thoughts of reasoning models (`<think>…</think>`, see affect.prompting.thoughts) are removed before anything is read.
Where they are not closed there is no answer: no_label, with the reason."""

import math
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from affect.config import Kind, Task, Value
from affect.evaluation import signs
from affect.prompting import thoughts

OUTCOMES = ("valid", "no_label", "several_labels", "refusal", "empty", "out_of_range", "error")
"""How reading an answer can end. Only `valid` and `out_of_range` come with a value.

valid           the answer claims one label, or one number within the range; multi-label: labels, or that none applies
no_label        there is text, but no label or number that can be read in it
several_labels  it claims more than one; multi-label: labels, and that none applies
refusal         it claims none and says that it cannot or will not answer
empty           nothing but white space, quotes and punctuation
out_of_range    it claims one number, outside the task's range; the number is kept as it is
error           there is no answer, since obtaining it failed; set by the caller, never by a reader
"""


@dataclass(frozen=True, slots=True)
class Reading:
    value: Value | None
    """The label in the dataset's spelling, the number, or the labels, sorted; None where none could be read."""
    outcome: str
    """One of OUTCOMES."""
    reason: str | None = None
    """Why there is no value, where there is more to say than the outcome does."""


def exact(text: str, task: Task, language: str) -> Reading:
    """Reads an answer that consists of a label's word in `language`, the label itself, or a number, and nothing else;
    for a multi-label task of such words, parted by commas, semicolons, line ends, "and" or "&".

    White space, quotes, markdown emphasis around it, final punctuation and upper case do not matter. Without a value
    the outcome is `empty` or `no_label`. Raises on no string.

    >>> task = Task(labels=["0", "1"], words={"en": {"0": "not funny", "1": "funny"}})
    >>> exact("**Not funny.**", task, "en").value, exact("It is funny.", task, "en").outcome
    ('0', 'no_label')
    """
    answer = thoughts.without(text)
    if answer is None:
        return _UNCLOSED
    core = _core(answer)
    if task.kind is Kind.intensity:
        value = _number(core)
        if value is not None:
            return _measured(value, task)
    elif task.kind is Kind.multi_label:
        named = _listed(core, task, language)
        if named is not None:
            return Reading(named, "valid")
    else:
        # A word stands before a label of the same spelling, since the word is what the prompt offered.
        for label in task.labels:
            if core in _forms(task.word(label, language)):
                return Reading(label, "valid")
        for label in task.labels:
            if core in _forms(label):
                return Reading(label, "valid")
    return Reading(None, "no_label" if core else "empty")


def lenient(text: str, task: Task, language: str) -> Reading:
    """Reads an answer that names exactly one label's word in `language`, or exactly one number, anywhere; for a
    multi-label task all labels that it names.

    The rules are those at the head of this module. The time is linear in the length of the text. Raises on no string.

    >>> task = Task(labels=["happy", "unhappy", "neutral"])
    >>> lenient("She sounds unhappy, clearly not happy.", task, "en").value
    'unhappy'
    >>> lenient("not happy", task, "en").outcome, lenient("happy or neutral", task, "en").outcome
    ('no_label', 'several_labels')
    """
    answer = thoughts.without(text)
    if answer is None:
        return _UNCLOSED
    reading = exact(answer, task, language)
    if reading.outcome != "no_label":
        return reading
    folded = _fold(answer)
    claims: set[str | float | None]
    words = tuple(task.word(label, language) for label in task.labels)
    if task.kind is Kind.intensity:
        claims = _numbers(folded, task)
    elif task.kind is Kind.multi_label:
        claims = _labels(folded, (*task.labels, _NONE), (*words, task.word_for_none(language)))
        if claims and not claims & {_NONE, None}:
            return Reading(tuple(sorted(str(label) for label in claims)), "valid")
        if claims == {_NONE}:
            return Reading((), "valid")
    else:
        claims = _labels(folded, tuple(task.labels), words)
    if len(claims) > 1:
        return Reading(None, "several_labels")
    # None is a number that is there but cannot be read.
    value = claims.pop() if claims else None
    if value is None:
        return Reading(None, "refusal" if _REFUSAL.search(folded) else "no_label")
    return Reading(value, "valid") if isinstance(value, str) else _measured(value, task)


def why_no_number(text: str) -> str:
    """Why no number is read in an answer to an intensity task, in words.

    >>> why_no_number("quite good"), why_no_number("not negative: 1.5"), why_no_number("80%")
    ('no number', 'a number whose words leave its sign undecided', 'a number of a form that is not read')
    """
    folded = signs.plain(_fold(thoughts.without(text) or ""))
    of_words = signs.Signs(folded)
    pieces = [match for match in _PIECE.finditer(folded) if not _DIGITS.isdisjoint(match[0])]
    if not pieces:
        return "no number"
    for match in pieces:
        value = _number(match[0])
        if value is not None and of_words.apply(value, *match.span(), explicit=match[0][0] in "+-") is None:
            return "a number whose words leave its sign undecided"
    return "a number of a form that is not read"


_UNCLOSED = Reading(None, "no_label", thoughts.UNCLOSED)

# Quotes, markdown emphasis and what is invisible may surround an answer; punctuation may only end it, for ".5" is a
# number. Written as code points where an editor would show something else: no-break, ideographic and zero-width space,
# byte order mark; curly quotes; full-width comma, semicolon, colon, exclamation and question mark.
_QUOTES = "\"'`*~\u2018\u2019“”„«»「」『』《》"
_AROUND = " \t\r\n\f\v\u00a0\u3000\u200b\ufeff_" + _QUOTES
_FINAL = ".,;:!?…。、" + "\uff0c\uff1b\uff1a\uff01\uff1f"

# Typographic signs and full-width digits are what models write for ASCII ones. A dash that is left alone would turn
# "-2" into 2, so all of them are signs. With them the curly apostrophe and the full-width point.
_ASCII = signs.TO_ASCII | {0x2019: "'", 0xFF0E: "."} | {0xFF10 + digit: str(digit) for digit in range(10)}

# Scripts without spaces between words: Thai and Lao, Burmese, Khmer, kana, ideographs, Hangul.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
)
_LETTER = rf"[^\W_{_UNSPACED}]"
# Combining marks belong to the word but are not \w: Latin, Arabic, and the blocks from Devanagari to Sinhala.
_MARK = "[\u0300-\u036f\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff]"
_NO_LETTER_BEFORE = rf"(?<!{_LETTER})(?<!{_MARK})"
_NO_LETTER_AFTER = rf"(?!{_LETTER}|{_MARK})"

# "no doubt" and "not only" affirm, and a "but" ends what is denied. "n't" needs no boundary: its verb stands before it.
# "**not** happy" and "not _very_ 'happy'" deny as well. Possessive (++), so that every answer takes linear time.
_DENIAL = (
    rf"(?:n't|{_NO_LETTER_BEFORE}(?:not|no|never|neither|nor|non|cannot|without|hardly|rather than|instead of|lack of))"
    rf"[{_QUOTES}]*+(?! (?:only|just|merely|simply|doubt|question)\b)"
    rf"(?:[ _-]{{1,3}}(?!(?:but|and|yet)\b)[a-z{_QUOTES}]++){{0,3}}?[ _-]{{1,3}}[{_QUOTES}]*+"
    # 非常 (very) and 不仅 (not only) affirm. Only function words may stand in between: 不安和愤怒 denies nothing.
    r"|(?:不(?![仅但只光])|[没沒未無无]|并非|非(?!常))"
    r"(?:是|有|很|太|会|能|再|算|感到|觉得|显得|表现出|那么|任何|特别){0,3}"
    rf"[{_QUOTES}]*+"
)
# Every alternative begins with a letter, which lets re skip to it; "i" is then asked to be a word by looking back.
_REFUSAL = re.compile(
    r"i(?<!\wi) (?:cannot|can't|can not|could not|couldn't|won't|will not|am not able|must decline)\b"
    r"|i'm not able\b|unable to\b|(?:i'm|i am|we are) sorry\b|sorry, (?:but|i)\b|apologi[sz]e\b|not appropriate\b"
    r"|as an (?:ai|artificial intelligence)\b|as an? (?:\w{1,20} )?language model\b"
    r"|抱歉|对不起|無法|无法|不能回答|作为一个"
)

# Stands for the word for none among labels; no label of a table can be it.
_NONE = "\0none"
# What parts the labels of a list: comma, semicolon, line end, ampersand, full-width comma and semicolon, the Chinese
# enumeration comma, and the word.
_BETWEEN = re.compile("[,;\n&\uff0c\uff1b\u3001]|\\band\\b")

_DIGITS = frozenset("0123456789")
_IN_NUMBERS = _DIGITS | frozenset("+-±%., ")
_PLAIN_NUMBER = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]++)?|\.[0-9]++)")
_COMMA_NUMBER = re.compile(r"([+-]?[0-9]++),([0-9]++)")
# A piece is everything that touches a digit, so that half a word or half a date is never taken for a number. Points and
# commas belong to it between digits, and a point before the first where it does not end a word or an ellipsis.
_PIECE = re.compile(
    rf"(?:[+±-] (?=[0-9.]))?(?:{_LETTER}|[0-9+±%-]|(?<=[0-9])[.,](?=[0-9])|(?<!{_LETTER})(?<![.,])\.(?=[0-9]))++(?: %)?"
)


def _fold(text: str) -> str:
    """One space between words, and one line end between lines with text, since a denial ends with its line."""
    lines = (" ".join(line.split()) for line in text.translate(_ASCII).casefold().splitlines())
    return "\n".join(line for line in lines if line)


def _core(text: str) -> str:
    return _fold(text).lstrip(_AROUND).rstrip(_AROUND + _FINAL)


def _listed(core: str, task: Task, language: str) -> tuple[str, ...] | None:
    """The labels of an answer that is a list of them and nothing else, sorted; None where it is anything more."""
    if core in _forms(task.word_for_none(language)):
        return ()
    # A word stands before a label of the same spelling, since the word is what the prompt offered.
    by_form = {form: label for label in task.labels for form in _forms(label)}
    by_form |= {form: label for label in task.labels for form in _forms(task.word(label, language))}
    if core in by_form:
        return (by_form[core],)
    # Models that write code write a list of theirs.
    pieces = [piece for piece in map(_core, _BETWEEN.split(core.strip("[]"))) if piece]
    if not pieces or any(piece not in by_form for piece in pieces):
        return None
    return tuple(sorted({by_form[piece] for piece in pieces}))


@lru_cache(maxsize=1024)
def _forms(word: str) -> frozenset[str]:
    """Composed and decomposed, since normalising the answers instead takes quadratic time on piled-up accents."""
    return frozenset(_core(unicodedata.normalize(form, word)) for form in ("NFC", "NFD")) - {""}


@lru_cache(maxsize=64)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str] | None:
    """Matches a claimed label as group 1, and denied ones without a group. None where there are no words."""
    # Longest first, so that "not funny" is found before "funny" can be taken out of it.
    forms = sorted({form for word in words for form in _forms(word)}, key=lambda form: (-len(form), form))
    if not forms:
        return None
    unspaced = re.compile(f"[{_UNSPACED}]")
    ended = [
        # A label that is a number is not to be found in "-1" or "1.5".
        (r"(?<![+-])(?<![0-9][.,])" if form[0].isdigit() else "")
        + re.escape(form)
        + (r"(?![.,][0-9])" if form[-1].isdigit() else "")
        + ("" if unspaced.match(form[-1]) else _NO_LETTER_AFTER)
        for form in forms
    ]
    # Sorted by how they begin, since the boundary before a word is asked for once for all words, not once for each.
    free = [pattern for form, pattern in zip(forms, ended, strict=True) if unspaced.match(form)]
    bound = [pattern for form, pattern in zip(forms, ended, strict=True) if not unspaced.match(form)]
    starts = ([f"{_NO_LETTER_BEFORE}(?:{'|'.join(bound)})"] if bound else []) + free
    label = "|".join(starts)
    # Labels before denials: "no" and "not funny" may be labels.
    return re.compile(f"({label})|(?:{_DENIAL})(?:{label})(?:[{_QUOTES}]*+ n?or [{_QUOTES}]*+(?:{label}))*+")


def _labels(folded: str, labels: tuple[str, ...], words: tuple[str, ...]) -> set[str | float | None]:
    pattern = _pattern(words)
    if pattern is None:
        return set()
    by_form = {form: label for label, word in zip(labels, words, strict=True) for form in _forms(word)}
    # Most answers that name no label do not contain one even within a word, and that is found out much faster.
    if not any(form in folded for form in by_form):
        return set()
    numbers = {form: number for form in by_form if (number := _number(form)) is not None}
    if not numbers:
        return {by_form[match[1]] for match in pattern.finditer(folded) if match[1] is not None}
    by_number = {number: by_form[form] for form, number in numbers.items()}
    folded = signs.plain(folded)
    of_words, signed = signs.Signs(folded), min(numbers.values()) < 0
    claims: set[str | float | None] = set()
    for match in pattern.finditer(folded):
        form = match[1]
        if form in numbers:
            value = of_words.apply(numbers[form], *match.span(1), explicit=form[0] in "+-", context=signed)
            claims.add(None if value is None else by_number.get(value))
        elif form is not None:
            claims.add(by_form[form])
    return claims


def _numbers(folded: str, task: Task) -> set[str | float | None]:
    if not any(digit in folded for digit in _DIGITS):
        # Most answers without a number have no digit at all, and that is found out much faster.
        return set()
    folded = signs.plain(folded)
    of_words = signs.Signs(folded)
    values: list[float | None] = []
    end = 0
    for match in _PIECE.finditer(folded):
        piece = match[0]
        if _DIGITS.isdisjoint(piece) or not _IN_NUMBERS.issuperset(piece):
            continue
        value = _number(piece)
        if values and folded[end : match.start()].strip() in ("/", "of", "out of"):
            if value != task.high:
                values[-1] = None
        elif value is None:
            values.append(None)
        else:
            values.append(of_words.apply(value, match.start(), match.end(), explicit=piece[0] in "+-"))
        end = match.end()
    return set(values)


def _number(piece: str) -> float | None:
    comma = _COMMA_NUMBER.fullmatch(piece)
    if comma:
        # Three digits after the comma are thousands, unless a zero stands before it.
        if len(comma[2]) == 3 and comma[1].lstrip("+-") != "0":
            return None
        piece = f"{comma[1]}.{comma[2]}"
    if not _PLAIN_NUMBER.fullmatch(piece):
        return None
    # Enough digits make an infinity; adding 0 turns -0.0 into 0.0.
    value = float(piece) + 0.0
    return value if math.isfinite(value) else None


def _measured(value: float, task: Task) -> Reading:
    assert task.low is not None and task.high is not None
    return Reading(value, "valid" if task.low <= value <= task.high else "out_of_range")
