"""The sign that words give to a number: "minus 1.5", "1.5 below zero", 负0.6. Pure.

A number keeps the sign it is written with, gets the one of the words beside it, or, where that cannot be decided, is
not read. It is never taken for positive by default:

- A sign word directly before the number decides: "minus 1.5", "negative (1.5)", "a negative score of 1.5", 负的0.6. So
  does "below zero" after it.
- Denied ("not negative: 1.5"), doubled ("minus -1.5") or open ("plus or minus 1.5") sign words leave it undecided.
- A sign character apart from the number ("- 1.5", "-(1.5)", "-**1.5**") may be a dash, and leaves it undecided. So does
  a number alone in parentheses, which is a negative one in accounting.
- Any other word for negative in the answer ("Sentiment: negative. Score: 1.5") contradicts a positive number. Only a
  plus or a word for positive directly before the number outweighs it, and only from another sentence.

Words are English and Chinese, the languages in which tasks are worded, and what is spelled alike or clear elsewhere.
Texts are expected in lower case with one kind of hyphen, minus and plus, as affect.evaluation.parsing folds them.
"""

import html
import re
from bisect import bisect

# Hyphens and dashes of Unicode (category Pd, without the wave dashes, which stand for ranges) and its minus signs;
# katakana's long vowel, a box line and a Korean vowel are what keyboards give in the place of a dash.
DASHES = (
    "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\u02d7\u207b\u208b\u2796\u2296\u229f\ufe58\ufe63\uff0d"
    "\u2e3a\u2e3b\u2052\u058a\u05be\u1806\u30fc\uff70\u2500\u3161"
)
PLUSES = "\uff0b\ufe62\u207a\u208a\u2795\u2295\u229e\ufb29"

_FORMAT = re.compile("[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
# A soft hyphen may be shown as a minus or not at all; ¬ and the Chinese one are what stands in its place where an
# encoding or a keyboard was the wrong one.
_PERHAPS_MINUS = re.compile("(?:\u00ad|¬|(?<![\u3400-\u9fff])一)(?=\\s*[0-9.])")
_BOTH = re.compile(r"\+\s?[/|]?\s?-(?=[\s0-9.])|-\s?[/|]\s?\+|\u2213")
_TAG = re.compile(r"</?[a-z]{1,10}>")

# Words that are nothing but a sign, and words that say on which side of zero something is.
_MINUS = (
    r"(?:\bminus\b(?: sign)?|минус|マイナス|마이너스|零下|[负負](?:号|號)"
    r"|(?<![欺辜抱胜勝自背肩])[负負](?![责責担擔荷债債伤傷]))"
)
_SUBTRACTED = "[减減]"
_PLUS = "正"
_NEGATIVE = (
    r"(?:\bn[eé]gati[vf]\w*|\bneg\b\.?|отрицательн\w*"
    r"|\b(?:below|under|beneath|(?:less|lower|smaller) than) (?:the )?(?:zero|neutral|nought|null)(?: point| line)?\b"
    r"|\bsub-?zero\b|[负負](?:面|向|性|值|数|數|分|的)|消[极極]|(?:低于|低於|小于|小於|不到)零|零(?:度)?以下)"
)
_POSITIVE = (
    r"(?:\bpositi[vf]\w*|\bpos\b\.?|\bplus\b|\b(?:above|over|(?:more|greater|higher) than) (?:the )?(?:zero|neutral)\b"
    r"|正(?:面|向|性|值|数|數|分|的)|[积積][极極]|零上|(?:高于|高於|大于|大於)零)"
)
_NOUN = (
    r"(?:(?: sentiment| emotion(?:al)?| polarity| valence| intensity)?"
    r"(?: score| value| number| rating| intensity| valence| polarity| sentiment| level| side| direction)?)"
)
_JOINED = (
    r"(?: of| at| by| is)?(?:[\s\"'`*_~$=:\uff1a“”\u2018\u2019„«»「」『』\uff08(\[{]"
    r"|为|為|是|有|得分|分数|分數|情感|强度|強度){0,12}"
)
_BEFORE = {
    word: re.compile(rf"{pattern}{_NOUN}{_JOINED}\Z")
    for word, pattern in (
        ("minus", f"(?:{_MINUS}|{_SUBTRACTED})"),
        ("negative", _NEGATIVE),
        ("positive", f"(?:{_POSITIVE}|{_PLUS})"),
    )
}
_EITHER = re.compile(
    rf"(?:\bplus\W{{0,3}}(?:or|and)?\W{{0,3}}minus|\bminus\W{{0,3}}(?:or|and)?\W{{0,3}}plus|正\W?或?[负負]|±){_JOINED}\Z"
)
_AFTER = re.compile(
    r"[\"'`*_~$”\u2019\uff09)\]}]{0,4}(?: (?:points?|units?|degrees?|steps?))?"
    r" (?:below|under|beneath|(?:less|lower) than) (?:the )?(?:zero|neutral|nought|null)\b"
)
# A dash that belongs to nothing else: a rule of three (---) and an arrow (->) are no signs.
_LONE = re.compile(r"(?<!-)-{1,2}(?![->])(?:[^\w\s]|\s|\\[a-z]{1,12})*\Z")
_ACCOUNTING = re.compile(r"(?:\A|[:\uff1a=\n]|为|為|是)\s*[(\uff08]\s*\Z")
_CLOSED = re.compile(r"\s*[)\uff09]")

_NEGATIVE_ANYWHERE = re.compile(
    rf"{_MINUS}|{_NEGATIVE}|比零低|在零之下"
    r"|\b(?:moins|menos|meno)\b|[(\[{\"'`*$]\s?-\s?[)\]}\"'`*$]|(?:\bsign|符号|符號)\W{0,3}(?:is |为|為|是)?\W{0,3}-"
)
_DENYING = re.compile(
    r"n't\b|\b(?:not|no|non|never|nothing|none|neither|nor|without|cannot|hardly|scarcely|less|instead|rather"
    r"|far from|anything but|opposite of|double|minus)\b|[不没沒無无未非莫负負]|并非"
)
_DENIED_POSITIVE = re.compile(
    r"(?:n't|\b(?:not|no|non|never|nothing|neither|nor|without|hardly|scarcely|less|far from|anything but|opposite of))"
    rf"(?:[ -]\w+){{0,3}}?[ -]{_POSITIVE}"
    r"|(?:[不没沒無无未非]|并非|不是|没有)(?:很|太|是|有)?(?:正(?:面|向|的)|[积積][极極])"
)
_POSITIVE_ANYWHERE = re.compile(_POSITIVE)
_HINT = re.compile(rf"{_MINUS}|{_SUBTRACTED}|{_NEGATIVE}|{_POSITIVE}|{_PLUS}|±|[(\uff08]|-(?![0-9.])")
_SENTENCE_END = re.compile(r"[!?;\n。\uff01\uff1f\uff1b]|\.(?![0-9])(?!\S)")
_CLAUSE_END = re.compile(
    r"[,;:!?\n\uff0c\uff1b\uff1a。、\uff01\uff1f]|\.(?![0-9])|\b(?:but|yet|so|therefore|overall)\b|而是|但"
)

WINDOW = 80
"""Characters before a number in which a sign word that decides may stand."""
NEAREST = 4
"""Sign words before a number that are looked at."""


class Signs:
    """The signs of the numbers in one answer. Built once for an answer; the time is linear in its length."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._hints = [match.start() for match in _HINT.finditer(text)]
        self._ends = [match.start() for match in _SENTENCE_END.finditer(text)]
        against = [match.start() for match in _NEGATIVE_ANYWHERE.finditer(text)]
        against += [match.start() for match in _DENIED_POSITIVE.finditer(text)]
        self._negative_sentences = {bisect(self._ends, at) for at in against}
        self._positive_sentences = {bisect(self._ends, m.start()) for m in _POSITIVE_ANYWHERE.finditer(text)}

    def apply(self, value: float, start: int, end: int, explicit: bool, context: bool = True) -> float | None:
        """The value of the number at text[start:end] with the sign of its words; None where that is undecided.

        `explicit` says that it is written with a sign character, which `value` has. Without `context` the number is the
        name of a class among which none is negative: then only a minus in words counts.
        """
        if value == 0 or not (self._hints or self._negative_sentences):
            return value
        text = self.text
        place = bisect(self._hints, start - 1)
        near = [at for at in self._hints[max(0, place - NEAREST) : place] if at >= start - WINDOW]
        if any(_EITHER.match(text, at, start) for at in near):
            return None
        if context and not explicit:
            if any(_LONE.match(text, at, start) for at in near):
                return None
            if near and _ACCOUNTING.search(text, max(0, start - 8), start) and _CLOSED.match(text, end):
                return None
        found = {word: at for word, pattern in _BEFORE.items() for at in near if pattern.match(text, at, start)}
        if any(self._denied(at) for at in found.values()):
            return None
        if "minus" in found and "negative" not in found:
            return None if explicit else -value
        if "negative" in found or _AFTER.match(text, end):
            if not context:
                return value  # "negative: 1" names class 1
            if bisect(self._ends, start) in self._positive_sentences:
                return None  # "more positive than negative: 1.5"
            return -abs(value) if value < 0 or not explicit else None
        if value < 0:
            return None if "positive" in found else value
        if context and self._negative_sentences:
            outweighed = explicit or "positive" in found
            if not outweighed or bisect(self._ends, start) in self._negative_sentences:
                return None
        return value

    def _denied(self, at: int) -> bool:
        """Whether something before `at` in the same clause denies what stands there."""
        begin = max(0, at - WINDOW)
        for match in _CLAUSE_END.finditer(self.text, begin, at):
            begin = match.end()
        return _DENYING.search(self.text, begin, at) is not None


def plain(folded: str) -> str:
    """A folded text without what hides a sign: invisible characters, HTML tags and entities. ± stands for all ways to
    write both signs, and for what may be a minus."""
    if "&" in folded:
        folded = html.unescape(folded).translate(TO_ASCII)
    folded = _PERHAPS_MINUS.sub("±", folded)
    return _BOTH.sub("±", _TAG.sub("", _FORMAT.sub("", folded)))


TO_ASCII = dict.fromkeys(map(ord, DASHES), "-") | dict.fromkeys(map(ord, PLUSES), "+")
