"""A table of strings, so that a text that many clips or runs share is written into the page once."""

NONE = -1
"""Number of a text that is not there."""


class Texts:
    """Numbers strings in the order in which they first come.

    >>> texts = Texts()
    >>> [texts.number(word) for word in ("a", "b", "a", None)], texts.listed
    ([0, 1, 0, -1], ['a', 'b'])
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.listed: list[str] = []

    def number(self, text: str | None) -> int:
        """The number of `text`; NONE for None. Halves of surrogate pairs, which UTF-8 lacks, become U+FFFD."""
        if text is None:
            return NONE
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self.listed)
            self.listed.append(text.encode("utf-8", "replace").decode("utf-8") if _lone(text) else text)
        return number


def _lone(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
