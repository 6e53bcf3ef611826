"""Reads answers to lettered or numbered options. Pure.

The letter or number of an option is replaced by the option's word, and the text is then read as any other
(affect.evaluation.parsing), so that denials, and answers that name two options, are treated alike. `B. anger` is one
option and not two, and an answer that names an option by its word alone is read too. What counts as a mark:

- an answer that is nothing else, in upper or lower case: `B`, `(b)`, `b. anger`.
- within a text, a capital letter that stands alone. "I" before another word is a pronoun, and "A" before a word in
  small letters an article where a sentence begins: "The answer is A" names an option, "A happy man" does not.
- within a text, a number that stands alone. "1.5", "-1", "80%" and "2nd" are others.
"""

import re
from functools import lru_cache

from affect.config import Task
from affect.evaluation import signs

_TO_ASCII = (
    signs.TO_ASCII
    | {0xFF10 + digit: str(digit) for digit in range(10)}
    | {0xFF21 + place: chr(65 + place) for place in range(26)}
)
"""Typographic signs, and full-width digits and capital letters, which models write for those of ASCII."""

_BEFORE = r"(?<![A-Za-z\u00c0-\u024f0-9+-])(?<![0-9][.,])"
_AFTER = r"(?![A-Za-z\u00c0-\u024f0-9%+]|[.,][0-9]|['\u2019-][A-Za-z])"
_PRONOUN = re.compile(r"\s+\w")
_ARTICLE = re.compile(r"\s+[a-z]")
_SENTENCE_BEGINS = re.compile(r"(?:\A|[.!?:;\n。])\W*\Z")


def in_words(text: str, marked: Task, task: Task, language: str) -> str:
    """`text` with the word of each option in the place of its letter or number.

    marked: the task as the prompt asked it, see affect.prompting.options.answered. task: the same with its own words.

    >>> task = Task(labels=["joy", "anger"])
    >>> marked = Task(labels=["anger", "joy"], words={"en": {"anger": "A", "joy": "B"}})
    >>> in_words("b", marked, task, "en"), in_words("It is A. anger, not B.", marked, task, "en")
    ('joy', 'It is anger, not joy.')
    >>> in_words("A happy man. I say B", marked, task, "en")
    'A happy man. I say joy'
    """
    words = {marked.word(label, language): task.word(label, language) for label in marked.labels}
    text = text.translate(_TO_ASCII)
    alone, within = _patterns(tuple(words), tuple(sorted(words.values())))
    if match := alone.fullmatch(text):
        only = words[match["mark"].upper()]
        if match["own"] is None or match["own"].casefold() == only.casefold():
            return only

    def word(match: re.Match[str]) -> str:
        mark, end = match["mark"], match.end("mark")
        if mark is None or (mark == "I" and _PRONOUN.match(text, end)):
            return match[0]
        before = text[max(0, match.start() - 40) : match.start()]
        if mark == "A" and _ARTICLE.match(text, end) and _SENTENCE_BEGINS.search(before):
            return match[0]
        if match["own"] is None:
            return words[mark] + match["close"]
        same = match["own"].casefold() == words[mark].casefold()
        return words[mark] if same else f"{words[mark]}{match['close']} {match['own']}"

    return within.sub(word, text)


@lru_cache(maxsize=64)
def _patterns(options: tuple[str, ...], words: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns of an answer that is a mark, with or without a word, and nothing else; and of words and marks in a
    text. Possessive (*+), so that every answer takes linear time."""
    marks, own = _any(options), _any(words)
    alone = rf"[\W_]*+(?<![+-])(?P<mark>{marks})(?!%)[\W_]*+(?:(?P<own>{own})[\W_]*+)?"
    within = (
        rf"(?<![A-Za-z])(?i:{own})(?![A-Za-z])"
        rf"|\(?{_BEFORE}(?P<mark>{marks}){_AFTER}(?P<close>[.):]*+)(?:\s++(?P<own>(?i:{own}))(?![A-Za-z]))?"
    )
    return re.compile(alone, re.IGNORECASE), re.compile(within)


def _any(texts: tuple[str, ...]) -> str:
    """Alternatives, the longest first: 10 is not 1 and a 0."""
    return "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))
