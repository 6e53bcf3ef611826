"""Length, repetition and empty phrases of descriptions. Pure."""

from collections import Counter
from collections.abc import Sequence

from affect.knowledge.quality.claims import empty_characters
from affect.prompting.fewshot import TERM

N = 3
"""Words of a phrase whose repetition counts."""


def words(text: str) -> list[str]:
    """The words of a text in lower case; of Chinese and kana, the characters.

    >>> words("Oh NO, 真高兴")
    ['oh', 'no', '真', '高', '兴']
    """
    return [
        word
        for run in TERM.findall(text.casefold())
        for word in (run if "\u3040" <= run[0] <= "\u9fff" or "\uf900" <= run[0] <= "\ufaff" else [run])
    ]


def repetition(text: str) -> float:
    """Share of the phrases of N words that have occurred before in the text, in [0, 1]; 0 for texts without phrases
    (seq-rep-n of Welleck et al., Neural text generation with unlikelihood training, ICLR 2020, with n = 3 for short
    texts).

    >>> repetition("a man speaks, a man speaks, a man speaks"), repetition("a man speaks loudly")
    (0.5714285714285714, 0.0)
    """
    own = words(text)
    phrases = [tuple(own[start : start + N]) for start in range(len(own) - N + 1)]
    return 1 - len(set(phrases)) / len(phrases) if phrases else 0.0


def empty(text: str) -> float:
    """Share of the characters, without white space around the text, in phrases that say nothing (claims.yaml).

    >>> empty("It is clear that"), empty("The woman laughs")
    (1.0, 0.0)
    """
    stripped = text.strip()
    return empty_characters(stripped) / len(stripped) if stripped else 0.0


def shared(texts: Sequence[str]) -> list[bool]:
    """Of each text, whether another clip has the same, apart from white space and upper case."""
    folded = [" ".join(text.casefold().split()) for text in texts]
    counts = Counter(folded)
    return [counts[text] > 1 for text in folded]
