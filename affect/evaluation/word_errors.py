"""Word error rate of recognised transcripts."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NORMALISATION = "lower case, punctuation removed"

_MARKS = re.compile(r"[^\w\s']|_")
_LONE_APOSTROPHES = re.compile(r"(?<!\w)'|'(?!\w)")


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Errors of transcripts against their references, summed over clips."""

    errors: int
    """Substitutions, deletions and insertions of the alignment that has fewest."""
    words: int
    """Words of the references."""

    @property
    def rate(self) -> float:
        """(S + D + I) / N, which exceeds 1 where more words are inserted than there are; NaN without words."""
        return self.errors / self.words if self.words else float("nan")


def words(text: str) -> list[str]:
    """The words of a transcript as they are compared: NORMALISATION. An apostrophe within a word stays, straight or
    curved.

    >>> words("'Kids -- aren\u2019t they talking, by the door?'")
    ['kids', "aren't", 'they', 'talking', 'by', 'the', 'door']
    """
    plain = unicodedata.normalize("NFKC", text).replace("\u2019", "'").lower()
    return _LONE_APOSTROPHES.sub(" ", _MARKS.sub(" ", plain)).split()


def word_errors(pairs: Iterable[tuple[str, str]]) -> WordErrors:
    """Errors over pairs of reference and recognised transcript.

    Word error rate = (S + D + I) / N with the sums taken over all clips before dividing, so that a clip counts by its
    number of words; words are those of `words`. Languages that are written without spaces have one word a sentence:
    compare other things there.

    >>> word_errors([("Kids are talking by the door.", "Kids are talking by a door"), ("dogs are sitting", "")])
    WordErrors(errors=4, words=9)
    """
    errors = number = 0
    for reference, recognised in pairs:
        said = words(reference)
        errors += edits(said, words(recognised))
        number += len(said)
    return WordErrors(errors, number)


def edits(one: Sequence[str], other: Sequence[str]) -> int:
    """Levenshtein distance: the smallest number of substitutions, deletions and insertions that turn `one` into
    `other`.

    >>> edits("kitten", "sitting")
    3
    """
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]
