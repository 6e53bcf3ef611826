"""Finds where a description names a label: by a word, a number, an option ("option 4"), or a word with a sentiment. The
leak audit counts these places, and the control `masked` masks them.

Texts are compared without case, accents, width and invisible characters, and with simplified Chinese characters
(OpenCC's table t2s); an emoji counts as its Unicode name.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache

import opencc

from affect.knowledge import lexicon

CHINESE = "\u3040-\u30ff\u3400-\u9fff"
"""Characters of scripts without spaces between words, for use in a character class."""

LETTER = rf"[^\W\d_{CHINESE}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """A place in a text that names labels."""

    start: int
    end: int
    """Position in the text before normalising."""
    word: str
    """The text there, normalised."""
    labels: frozenset[str]
    own: bool = False
    """Whether it is a label's own word rather than a synonym."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What names the labels of one task."""

    words: Mapping[str, Collection[str]]
    """Words that name each label, in all languages and any spelling."""
    own: Collection[str] = ()
    """Those of the words that are labels themselves."""
    options: Sequence[str] = ()
    """Labels in the order of the question, for "option 2", "class 1" and "(B)"."""
    scale: tuple[float, float] | None = None
    """Range of an intensity; a number in it names the label of its side of the middle."""
    sides: tuple[str, str, str] | None = None
    """Labels below, at and above the middle of the scale. Words that the lexicon rates negative or positive name the
    first and the last."""
    index: "_Index" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", _Index(self.words))


# ---------------------------------------------------------------- normalising


@cache
def _simplified() -> dict[int, str]:
    """Simplified by traditional character. Ambiguous characters do no harm, since both sides of a comparison go through
    this table."""
    characters = [chr(code) for code in range(0x3400, 0xA000)]
    converted = opencc.OpenCC("t2s").convert("\n".join(characters)).split("\n")
    return {ord(one): other for one, other in zip(characters, converted, strict=True) if one != other}


@lru_cache(maxsize=4096)
def _character(character: str) -> str:
    if unicodedata.category(character) == "So" and ord(character) > 0x2600:
        return f" {unicodedata.name(character, '').casefold()} "
    decomposed = unicodedata.normalize("NFKD", character)
    visible = [part for part in decomposed if unicodedata.category(part) not in ("Mn", "Me", "Cf")]
    return "".join(visible).casefold().translate(_simplified())


def normalised(text: str) -> str:
    """The form in which texts are compared.

    >>> normalised("An\u200bGRY, féars, 憤怒")
    'angry, fears, 愤怒'
    """
    return "".join(map(_character, text))


def _aligned(text: str) -> tuple[str, list[int]]:
    """The normalised text, and for each of its characters the index of its origin in `text`."""
    pieces = [_character(character) for character in text]
    origins = [at for at, piece in enumerate(pieces) for _ in piece]
    return "".join(pieces), origins


# ---------------------------------------------------------------- words

# fmt: off
ENDINGS = frozenset((
    "", "e", "s", "es", "d", "ed", "ing", "ly", "y", "ies", "ied", "ying", "ily", "er", "ers", "est", "ier", "iest",
    "i",
))
# fmt: on
"""Endings of inflected forms. A stemmer alone would remove more: position has the stem of positive, careful that of
care."""

NO_FORMS = frozenset(
    ("please", "posit", "negate", "compose", "composes", "composing", "critic", "critics", "concerning")
)
"""Words with the stem of a label's word and another meaning."""


def _differs_by_an_ending(token: str, word: str) -> bool:
    """Whether two words of the same stem are inflected forms of one word.

    >>> _differs_by_an_ending("terrifying", "terrify"), _differs_by_an_ending("position", "positive")
    (True, False)
    """
    shared = 0
    while shared < min(len(token), len(word)) and token[shared] == word[shared]:
        shared += 1
    # The last consonant may be doubled: sad, sadder.
    rests = [token[shared:], word[shared:]]
    if shared and all(rest[:1] == token[shared - 1] for rest in rests if rest):
        rests = [rest[1:] for rest in rests]
    return all(rest in ENDINGS for rest in rests)


class _Index:
    """Words, arranged for looking them up."""

    def __init__(self, words: Mapping[str, Collection[str]]) -> None:
        self.labels: dict[str, set[str]] = defaultdict(set)
        for label, of_label in words.items():
            for word in of_label:
                if plain := normalised(word):
                    self.labels[plain].add(label)
        self.by_stem: dict[str, list[str]] = defaultdict(list)
        self.chinese_lengths: list[int] = []
        phrases = []
        for word in self.labels:
            if re.search(f"[{CHINESE}]", word):
                self.chinese_lengths.append(len(word))
            elif re.fullmatch(f"{LETTER}+", word):
                self.by_stem[lexicon.stem(word)].append(word)
            else:
                phrases.append(word)
        self.chinese_lengths = sorted(set(self.chinese_lengths), reverse=True)
        longest_first = sorted(phrases, key=lambda word: (-len(word), word))
        joined = "|".join(map(re.escape, longest_first))
        # Not \\b, which takes a Chinese character beside an English word for a part of it.
        self.phrases = re.compile(rf"(?<!{LETTER})(?:{joined})(?!{LETTER})") if joined else None

    def of_token(self, token: str) -> set[str]:
        """Labels of the word of which `token` is a form."""
        if token in self.labels or token in NO_FORMS:
            return self.labels.get(token, set())
        alike = [word for word in self.by_stem.get(lexicon.stem(token), ()) if _differs_by_an_ending(token, word)]
        return {label for word in alike for label in self.labels[word]}


_TOKEN = re.compile(f"{LETTER}+")
_OF_CHINESE = re.compile(f"[{CHINESE}]")


def _of_words(
    text: str, vocabulary: Vocabulary, own: Collection[str]
) -> Iterator[tuple[int, int, Collection[str], bool]]:
    index = vocabulary.index
    for match in _TOKEN.finditer(text):
        labels = index.of_token(match[0])
        if not labels and vocabulary.sides is not None and (rating := _rating(match[0])):
            labels = {vocabulary.sides[2 if rating > 0 else 0]}
        if labels:
            yield *match.span(), labels, match[0] in own
    for match in index.phrases.finditer(text) if index.phrases is not None else ():
        yield *match.span(), index.labels[match[0]], match[0] in own
    for match in _OF_CHINESE.finditer(text) if index.chinese_lengths else ():
        for length in index.chinese_lengths:
            word = text[match.start() : match.start() + length]
            if len(word) == length and word in index.labels:
                yield match.start(), match.start() + length, index.labels[word], word in own
                break


@lru_cache(maxsize=8192)
def _rating(token: str) -> float:
    """The rating of a form of a word of the lexicon; 0 for other words."""
    ratings = lexicon.english()
    if token in ratings or token in lexicon.DEGREES:
        return ratings.get(token, 0.0)
    alike = [word for word in _lexicon_by_stem().get(lexicon.stem(token), ()) if _differs_by_an_ending(token, word)]
    return ratings[alike[0]] if alike else 0.0


@cache
def _lexicon_by_stem() -> Mapping[str, Sequence[str]]:
    by_stem = defaultdict(list)
    for word in lexicon.english():
        by_stem[lexicon.stem(word)].append(word)
    return by_stem


# ---------------------------------------------------------------- numbers and options

_ENGLISH_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_CHINESE_NUMBERS = "零一二三四五六七八九十"
_VALUES = {word: value for numbers in (_ENGLISH_NUMBERS, _CHINESE_NUMBERS) for value, word in enumerate(numbers)}
_VALUES["两"] = 2
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")

_SIGN = r"(?P<sign>[-+\u2212\u2013\u2014]\s?|(?:minus|plus|negative|positive)\s+|负|正|零下)?"
_MINUS = frozenset("-\u2212\u2013\u2014负") | {"minus", "negative", "零下"}
_UNITS = (
    "s|sec|secs|seconds?|ms|milliseconds?|min|minutes?|hz|khz|hertz|db|decibels?|fps|x|k|px|pixels?|years?|st|nd|rd|th"
)
_NO_UNIT = rf"(?!\s?(?:%|\u2030|(?:{_UNITS})(?!{LETTER})|秒|毫秒|分钟|赫兹|分贝|岁|帧))"
_WORDS = "|".join(_ENGLISH_NUMBERS)
_CHARACTERS = f"[{_CHINESE_NUMBERS}两]"
_RATING = "rat(?:e|es|ed|ing)|scor(?:e|es|ed|ing)|intensity|sentiment|valence|answer|label|value"
_CHINESE_RATING = "评分|打分|得分|分数|强度|评为|打|答案|评价"

_NUMBERS = (
    re.compile(
        rf"(?<![a-z\d.,]){_SIGN}(?P<whole>\d+)(?:[.,](?P<fraction>\d+))?(?!{LETTER})(?![.,]?\d){_NO_UNIT}",
    ),
    re.compile(rf"(?<!{LETTER}){_SIGN}(?P<whole>{_WORDS})\s+point\s+(?P<fraction>{_WORDS})(?!{LETTER})"),
    re.compile(rf"{_SIGN}(?P<whole>{_CHARACTERS})点(?P<fraction>{_CHARACTERS})"),
    # A number in words counts only after a word for rating: "one man" is a count.
    re.compile(
        rf"(?<!{LETTER})(?:{_RATING})(?!{LETTER})[^.;!?\d]{{0,24}}?(?<!{LETTER}){_SIGN}(?P<whole>{_WORDS})(?!{LETTER})"
    ),
    re.compile(rf"(?:{_CHINESE_RATING})[是为约:\s]*{_SIGN}(?P<whole>{_CHARACTERS})(?=分|[^{CHINESE}]|$)"),
)
_BESIDE_ZERO = re.compile(
    rf"(?<!{LETTER})(?:(?P<below>below|under|less than)|above|over|greater than|more than)\s+"
    rf"(?:zero(?!{LETTER})|0(?![.,]?\d))"
)


def _of_numbers(text: str, vocabulary: Vocabulary) -> Iterator[tuple[int, int, Collection[str], bool]]:
    assert vocabulary.scale is not None and vocabulary.sides is not None
    low, high = vocabulary.scale
    for pattern in _NUMBERS:
        for match in pattern.finditer(text):
            groups = match.groupdict()
            whole, fraction, sign = groups["whole"], groups.get("fraction") or "0", groups["sign"] or ""
            value = float(f"{_VALUES.get(whole, whole)}.{_VALUES.get(fraction, fraction)}")
            value = -value if sign.strip() in _MINUS else value
            if low <= value <= high:
                yield match.start("sign" if sign else "whole"), match.end(), {_side(value, vocabulary)}, False
    for match in _BESIDE_ZERO.finditer(text):
        if low < 0 < high:
            yield *match.span(), {_side(low if match["below"] else high, vocabulary)}, False


def _side(value: float, vocabulary: Vocabulary) -> str:
    assert vocabulary.scale is not None and vocabulary.sides is not None
    middle = sum(vocabulary.scale) / 2
    return vocabulary.sides[1 + (value > middle) - (value < middle)]


_IS = r"(?:is|was|would be|=|:|#|-|no\.?|number|nr\.?)"
# "Answer two questions" names no option.
_LISTED = "class|option|choice|label|category|candidate|alternative"
_KEYWORD = rf"(?<!{LETTER})(?:(?:{_LISTED})(?!{LETTER})\s*{_IS}?|answer\s*{_IS})"
_BETWEEN = r"\s*[\"'\[({<*]*"
# After a lone a or i a noun or a verb may come: "answer: a man is seen".
_LONE = r"[ai](?!['\u2019])(?!\s+(?!is|was|fits|seems|applies)\w)"
_OPTIONS = (
    re.compile(
        rf"{_KEYWORD}{_BETWEEN}(?P<name>\d{{1,2}}(?![.,]?\d)|{_WORDS}|[b-hj-z]|{_LONE})(?!{LETTER})[\"'\])}}>]*"
    ),
    re.compile(rf"(?<!{LETTER})(?P<name>{'|'.join(_ORDINALS)})\s+(?:option|choice|label|category|answer)(?!{LETTER})"),
    re.compile(r"[(\[](?P<name>[a-z])[)\]]"),
    re.compile(
        rf"(?:选项|类别|标签)[是为:\s]*第?(?P<name>\d{{1,2}}(?!\d)|{_CHARACTERS}|[a-z](?!{LETTER}))",
    ),
    re.compile(
        rf"(?:答案|选择|选)[是为:\s]*第?(?P<name>\d{{1,2}}(?!\d)|{_CHARACTERS}(?![{CHINESE}])|[a-z](?!{LETTER}))",
    ),
    re.compile(rf"第(?P<name>\d{{1,2}}|{_CHARACTERS})(?:个)?(?:类|选项|标签|种情感|种情绪|答案)"),
)


def _of_options(text: str, vocabulary: Vocabulary) -> Iterator[tuple[int, int, Collection[str], bool]]:
    for pattern in _OPTIONS:
        for match in pattern.finditer(text):
            label = _option(match["name"], vocabulary.options)
            if label is not None:
                yield *match.span(), {label}, False


def _option(name: str, labels: Sequence[str]) -> str | None:
    """The label that `name` stands for in the list of labels: the label itself, a number from 1 (0 is the first too) or
    a letter from A; None beyond the end of the list.

    >>> _option("4", ["joy", "anger"]), _option("b", ["joy", "anger"]), _option("0", ["1", "0"])
    (None, 'anger', '0')
    """
    if name in labels:
        return name
    if name in _ORDINALS:
        number = _ORDINALS.index(name) + 1
    elif name.isdecimal():
        number = int(name)
    else:
        number = _VALUES.get(name, ord(name[0]) - ord("a") + 1)
    return labels[max(number, 1) - 1] if number <= len(labels) else None


# ---------------------------------------------------------------- places in a text


def namings(text: str, vocabulary: Vocabulary) -> list[Naming]:
    """Every place that names a label, in order; of overlapping places the first, and of these the longest. Negations
    count too: "not angry" names anger."""
    plain, origins = _aligned(text)
    own = {normalised(word) for word in vocabulary.own}
    places = list(_of_words(plain, vocabulary, own))
    if vocabulary.scale is not None:
        places += _of_numbers(plain, vocabulary)
    if vocabulary.options:
        places += _of_options(plain, vocabulary)
    kept, free = [], 0
    for start, end, labels, is_own in sorted(places, key=lambda place: (place[0], -place[1])):
        if start < free:
            continue
        free = end
        last = origins[end - 1] + 1
        # Accents and invisible characters after the last letter belong to it.
        while last < len(text) and not _character(text[last]):
            last += 1
        kept.append(Naming(start=origins[start], end=last, word=plain[start:end], labels=frozenset(labels), own=is_own))
    return kept


def masked(text: str, vocabularies: Iterable[Vocabulary], mask: str) -> tuple[str, int]:
    """`text` with everything that names a label of one of the vocabularies replaced by `mask`, and the number of
    masks."""
    spans = sorted((naming.start, naming.end) for vocabulary in vocabularies for naming in namings(text, vocabulary))
    pieces, at, count = [], 0, 0
    for start, end in spans:
        if start >= at:
            pieces += [text[at:start], mask]
            count += 1
        at = max(at, end)
    return "".join([*pieces, text[at:]]), count
