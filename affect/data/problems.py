"""Exclusions from a dataset, and problems with rows, which are reported together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TypeVar

from affect.config import DataError
from affect.data.record import SPLITS

T = TypeVar("T")

SHOWN = 20
"""Problems that a message shows: one wrong column makes ten thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """Clips that a reader leaves out or does not find; they are shown with the results."""

    id: str
    split: str
    reason: str
    source: str
    count: int = 1
    """Number of clips: a whole missing speaker is one Excluded."""
    bad_row: bool = False
    """Whether it is a wrong row, left out because on_bad_rows=exclude. Accounts count all of these under one reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowProblem:
    """What is wrong with one row."""

    source: str
    sentence: str
    splits: tuple[str, ...]
    """The splits that the row may belong to: one, or several where the row does not say."""
    count: int
    """Records that are lost with the row: 0 for a row of a table beside the annotations."""
    number: int | None
    """Number of the row in its table, where that is known."""


class RowErrors(DataError):
    """All problems of a `Problems`. The message shows the first of them."""

    def __init__(self, problems: Sequence[RowProblem], remedy: str | None = None):
        self.problems = list(problems)
        rest = len(problems) - SHOWN
        lines = self.sentences[:SHOWN]
        lines += [f"… and {rest:,} more problems"] if rest > 0 else []
        super().__init__("\n".join([*lines, *([remedy] if remedy else [])]))

    @property
    def sentences(self) -> list[str]:
        """All problems, each with its row."""
        return [f"{problem.source}: {problem.sentence}" for problem in self.problems]


@dataclass(slots=True)
class Problems:
    """Collects problems, so that a user corrects a file once and not once per row."""

    splits: tuple[str, ...] = SPLITS
    """The splits of rows that are added without one: those that the table holds."""
    found: list[RowProblem] = field(default_factory=list)

    def add(
        self,
        source: str,
        sentence: str,
        *,
        split: str | tuple[str, ...] | None = None,
        count: int = 1,
        number: int | None = None,
    ) -> None:
        """`split` is None where the row does not say; `count` and `number` are those of `RowProblem`."""
        splits = self.splits if split is None else (split,) if isinstance(split, str) else split
        self.found.append(RowProblem(source=source, sentence=sentence, splits=splits, count=count, number=number))

    def check(self, remedy: str | None = None) -> None:
        """Raises RowErrors with every problem, if there are any, and the remedy as a last line."""
        if self.found:
            raise RowErrors(self.found, remedy)


class SplitErrors(DataError):
    """Why splits cannot be read, by split: the others can."""

    def __init__(self, by_split: Mapping[str, DataError]):
        self.by_split = dict(by_split)
        super().__init__("\n".join(dict.fromkeys(map(str, by_split.values()))))


def parts(files: Mapping[tuple[str, ...], Iterable[T]]) -> Iterator[T]:
    """The items of a dataset whose splits lie in several files, by the splits of a file. A DataError of one file
    does not keep the others from being read. Raises SplitErrors at the end."""
    errors: dict[str, DataError] = {}
    for splits, items in files.items():
        try:
            yield from items
        except DataError as error:
            errors |= dict.fromkeys(splits, error)
    if errors:
        raise SplitErrors(errors)


def near(word: str, options: Iterable[str]) -> str | None:
    """The option that `word` was probably meant to be: equal but for case, or for a letter or two."""
    by_folded = {option.strip().casefold(): option for option in options}
    close = get_close_matches(word.strip().casefold(), by_folded, n=1, cutoff=0.7)
    return by_folded[close[0]] if close else None


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """The clause " (did you mean 'x'?)", or nothing."""
    close = near(word, options)
    return f" (did you mean '{close}'?)" if close else ""
