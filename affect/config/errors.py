"""The exceptions whose message is meant for the user."""

from collections.abc import Iterable
from difflib import get_close_matches


class WriteError(OSError):
    """What was made could not be written. As a string it is a sentence that names the file, the reason and the
    remedy."""

    def __init__(self, sentence: str, cause: Exception) -> None:
        super().__init__(getattr(cause, "errno", None), getattr(cause, "strerror", None) or str(cause))
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


class ConfigError(Exception):
    """The configuration cannot be run. The message says what clashes and what to do, one line a problem."""


def near(word: str, options: Iterable[str]) -> str:
    """The end of a sentence: ", did you mean 'x'?" where an option resembles `word`, else a full stop."""
    close = get_close_matches(word, list(options), n=1, cutoff=0.6)
    return f", did you mean '{close[0]}'?" if close else "."


class DataError(Exception):
    """Something in the user's data is wrong. The message names the file, the row and the remedy."""


class NothingAnswered(Exception):
    """A run whose predictions are all errors. The message says how many, why, and where the rest is."""
