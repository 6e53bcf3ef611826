"""Data of a chart. affect/reports/drawing.py draws it for papers; pages draw it with their own library."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points of one line, bars of one colour, or one row of a heat map."""

    name: str
    """In the legend; of a heat map, the label of the row."""
    x: Sequence[float] | Sequence[str]
    """Numbers or categories of a line, categories of bars, column labels of a heat map."""
    y: Sequence[float | None]
    """As many as x. None is a point that is undefined, and is left empty."""
    low: Sequence[float | None] = ()
    """Lower ends of the intervals, as many as x; empty without intervals. A heat map shows none."""
    high: Sequence[float | None] = ()
    """Upper ends."""

    def __post_init__(self) -> None:
        assert len(self.x) == len(self.y), f"{self.name}: {len(self.x)} x and {len(self.y)} y"
        assert len(self.low) == len(self.high), f"{self.name}: {len(self.low)} low and {len(self.high)} high"
        assert len(self.low) in (0, len(self.x)), f"{self.name}: {len(self.low)} intervals of {len(self.x)} points"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One figure with one pair of axes."""

    title: str
    x_label: str
    y_label: str
    """Of a heat map, the label of the rows."""
    kind: Literal["line", "bar", "heat map"]
    series: Sequence[Series]
    """At least one. The series of bars and of a heat map, and lines over categories, may differ in their categories;
    the axis has them in the order in which they come first."""


def is_categorical(chart: Chart) -> bool:
    """Whether the x axis has categories and not numbers."""
    return chart.kind != "line" or any(isinstance(x, str) for series in chart.series for x in series.x)


def categories(chart: Chart) -> list[str]:
    """The labels of a categorical x axis, from the left.

    >>> rows = [Series(name="a", x=["t", "v"], y=[1, 2]), Series(name="b", x=["v", "tv"], y=[1, 2])]
    >>> categories(Chart(title="", x_label="", y_label="", kind="bar", series=rows))
    ['t', 'v', 'tv']
    """
    return list(dict.fromkeys(str(x) for series in chart.series for x in series.x))
