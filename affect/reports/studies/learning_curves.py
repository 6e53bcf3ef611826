"""Learning curves of a study, and the clips that a setting saves."""

import json
from collections.abc import Iterator
from pathlib import Path

from affect.config import StudyConfig
from affect.evaluation import learning_curves
from affect.evaluation.learning_curves import Fitted
from affect.evaluation.metrics.registry import lower_is_better
from affect.reports.aggregate import numbers
from affect.reports.charts import Chart, Series
from affect.reports.gather import Gathered
from affect.reports.rows import Row, Table
from affect.reports.sections import numbered
from affect.reports.studies.findings import Finding, file_name, interval, label, number, told_apart

SIZE = "datasets.DATASET.fraction"
"""The key that a learning curve is along."""


def findings(gathered: Gathered, study: StudyConfig) -> Iterator[Finding]:
    """For each task the curve of each setting, by the training clips that its runs have used, and what each saves
    against the setting of `against`."""
    for table in gathered.report.tables:
        if table.metrics:
            yield _finding(table, gathered, study)


def _finding(table: Table, gathered: Gathered, study: StudyConfig) -> Finding:
    metric = table.metrics[0]
    sign = -1.0 if lower_is_better(metric) else 1.0
    keys = told_apart(table.rows, study.series, [SIZE], table)
    arms: dict[str, list[Row]] = {}
    for row in table.rows:
        arms.setdefault(label(row, keys, table), []).append(row)
    reference = next((name for name, rows in arms.items() if all(row.is_reference for row in rows)), None)
    fitted: dict[str, Fitted] = {}
    lines, series, notes = [], [], []
    fewest = float("inf")
    for name, rows in arms.items():
        points = sorted(
            (_clips(gathered.runs[n - 1].folder, table), numbers(gathered.runs[n - 1], table.task)[metric])
            for row in rows
            for n in row.runs
        )
        clips = [float(count) for count, _ in points]
        values = [float("nan") if value is None else sign * value for _, value in points]
        fitted[name] = learning_curves.fit(clips, values)
        fewest = min(fewest, *clips)
        sizes = sorted(set(clips))
        means = [
            _mean([sign * value for count, value in zip(clips, values, strict=True) if count == size]) for size in sizes
        ]
        series.append(Series(name=name, x=sizes, y=means))
        runs = numbered([n for row in rows for n in row.runs])
        curve = fitted[name].curve
        if curve is None:
            notes.append(f"{name} has no curve: {fitted[name].reason}")
            lines.append([name, runs, f"{max(clips):,.0f}", *["-"] * 5])
            continue
        low, high = sorted(sign * end for (end,) in fitted[name].band([curve.most]))
        scale = f"{curve.scale:.4f} · n^-{curve.exponent:.3f}"
        # Nearly a logarithm has no limit.
        limit = None if curve.exponent <= learning_curves.EXPONENTS[0] else sign * (curve.full + curve.scale)
        lines.append([name, runs, f"{curve.most:,.0f}", number(sign * curve.full), interval(low, high, ".4f")])
        lines[-1] += [number(limit), scale, f"{fitted[name].rises:.4f}"]
        below, above = ([sign * end for end in ends] for ends in fitted[name].band(sizes))
        fits = [float(sign * height) for height in curve.at(sizes)]
        ends = list(zip(*(sorted(pair) for pair in zip(below, above, strict=True)), strict=True))
        series.append(Series(name=f"{name}, fitted", x=sizes, y=fits, low=ends[0], high=ends[1]))
    notes += _saved(reference, fitted, fewest, sign)
    notes.append(
        "n is the number of training clips as a share of the greatest. Intervals are of 95 %, over other seeds and"
        " draws of the training clips, on these test clips (residual bootstrap); p is that of a constant (F)."
    )
    return Finding(
        name=file_name(table.task),
        title=f"{table.task}, {metric} = a - b · n^-c",
        headings=["setting", "runs", "clips", "there", "interval", "limit a", "b · n^-c", "p"],
        lines=lines,
        notes=notes,
        chart=Chart(title=table.task, x_label="training clips", y_label=metric, kind="line", series=series),
    )


def _saved(reference: str | None, fitted: dict[str, Fitted], fewest: float, sign: float) -> Iterator[str]:
    """A sentence for every setting but the reference."""
    if reference is None:
        yield "no setting is the reference in all of its rows, so that nothing is saved against one"
        return
    for name, curve in fitted.items():
        if name == reference:
            continue
        saved = learning_curves.saved(fitted[reference], curve, fewest, (reference, name))
        if saved.saved is None or saved.clips is None or saved.level is None:
            yield f"clips that {name} saves against {reference}: none can be told, since {saved.reason}"
            continue
        ends = interval(saved.low, saved.high, "+,.0f")
        sentence = (
            f"clips that {name} saves against {reference}: {saved.saved:+,.0f} {ends}; {sign * saved.level:.4f}, which"
            f" both reach, takes {saved.clips[1]:,.0f} and {saved.clips[0]:,.0f}"
        )
        yield f"{sentence}; {saved.reason}" if saved.reason else sentence


def _clips(folder: Path, table: Table) -> int:
    """The training clips that a run has used."""
    parts = json.loads((folder / "data.json").read_text(encoding="utf-8"))["parts"]
    dataset = table.task.split(".")[0]
    return sum(part["used"] for part in parts if (part["dataset"], part["split"]) == (dataset, "train"))


def _mean(values: list[float]) -> float | None:
    mean = sum(values) / len(values)
    return mean if mean == mean else None
