"""Charts of a metric over the strength of interventions, beside the runs on unchanged clips."""

from collections.abc import Iterator, Sequence

from affect.config import Intervention
from affect.evaluation.significance import FEWEST_SEEDS, LEVEL
from affect.reports.charts import Chart, Series
from affect.reports.page.overview import over_seeds
from affect.reports.rows import Row, Table

AXES = {
    "share": "share of clips (or words) changed",
    "snr": "signal-to-noise ratio in dB",
    "seconds": "seconds of silence at the end",
}
"""What stands below the axis of each strength of an intervention; its seed is none."""

UNCHANGED = "unchanged clips"


def robustness(table: Table) -> Iterator[tuple[Chart | None, list[str]]]:
    """A chart for each strength, a line an intervention; and bars of the interventions that have none. Only settings
    count of which there is a row without intervention too."""
    if not table.metrics:
        return
    clean = {_base(row, table): row for row in table.rows if _name(row) is None}
    changed = [row for row in table.rows if _name(row) is not None and _base(row, table) in clean]
    about = [
        f"Every point is the mean over the seeds of a setting, with the {LEVEL:.0%} interval of that mean over seeds"
        f" from {FEWEST_SEEDS} on; {UNCHANGED} are those of the same setting without intervention."
    ]
    for strength, axis in AXES.items():
        if rows := [row for row in changed if row.whole.get(f"intervention.{strength}") is not None]:
            yield _chart(table, axis, "line", [*_lines(rows, clean, strength, table)]), about
    if rows := [row for row in changed if not any(f"intervention.{strength}" in row.whole for strength in AXES)]:
        yield _chart(table, "intervention", "bar", [*_bars(rows, clean, table)]), about


def _name(row: Row) -> str | None:
    """The intervention of a row; None where there is none."""
    name = row.whole.get("intervention.name", Intervention.none.value)
    return None if name == Intervention.none.value else name


def _base(row: Row, table: Table) -> tuple[str, ...]:
    """The settings of a row that are about something other than interventions. One of them has the transcripts of a
    speech recogniser."""
    others = (key for key in table.settings if not key.startswith(("intervention.", "transcription.")))
    return tuple(row.setting[key] or "-" for key in others)


def _chart(table: Table, x_label: str, kind: str, series: list[Series]) -> Chart:
    metric = table.metrics[0]
    return Chart(
        title=f"{table.task}: {metric} by {x_label}", x_label=x_label, y_label=metric, kind=kind, series=series
    )  # type: ignore[arg-type]


def _lines(rows: Sequence[Row], clean: dict[tuple[str, ...], Row], strength: str, table: Table) -> Iterator[Series]:
    def place(row: Row) -> float:
        return float(row.whole[f"intervention.{strength}"])

    ends = sorted({min(map(place, rows)), max(map(place, rows))})
    for base in dict.fromkeys(_base(row, table) for row in rows):
        of_base = [row for row in rows if _base(row, table) == base]
        for name in dict.fromkeys(map(_drawn, of_base)):
            line = sorted((row for row in of_base if _drawn(row) == name), key=place)
            yield _series(_label(base, name, clean), [*map(place, line)], line, table.metrics[0])
        yield _series(_label(base, UNCHANGED, clean), ends, [clean[base]] * len(ends), table.metrics[0])


def _drawn(row: Row) -> str:
    """What is one line: an intervention, and the seed of what it draws where that is not the usual one."""
    seed = row.whole.get("intervention.seed", "0")
    return f"{_name(row)}" + ("" if seed in ("0", "null") else f", intervention.seed {seed}")


def _bars(rows: Sequence[Row], clean: dict[tuple[str, ...], Row], table: Table) -> Iterator[Series]:
    for base in dict.fromkeys(_base(row, table) for row in rows):
        bars = [clean[base], *(row for row in rows if _base(row, table) == base)]
        names = [UNCHANGED, *map(_drawn, bars[1:])]
        yield _series(", ".join(base) or table.metrics[0], names, bars, table.metrics[0])


def _label(base: tuple[str, ...], name: str, clean: dict[tuple[str, ...], Row]) -> str:
    return ", ".join([*base, name]) if len(clean) > 1 else name


def _series(name: str, x: Sequence[float] | Sequence[str], rows: Sequence[Row], metric: str) -> Series:
    numbers = [row.numbers[metric] for row in rows]
    ends = [over_seeds(number, len(row.runs)) for number, row in zip(numbers, rows, strict=True)]
    known = any(low is not None for low, _ in ends)
    return Series(
        name=name,
        x=x,
        y=[number.mean for number in numbers],
        low=[low for low, _ in ends] if known else (),
        high=[high for _, high in ends] if known else (),
    )
