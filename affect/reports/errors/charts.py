"""Charts of an error analysis."""

from collections.abc import Iterator

from affect.reports.charts import Chart, Series
from affect.reports.errors.results import ErrorAnalysis

MOST_BARS = 20
"""Slices of a chart: those that differ most."""


def charts(analysis: ErrorAnalysis) -> Iterator[tuple[str, Chart]]:
    """Each chart with a name for its file."""
    title = f"{analysis.task}, {analysis.model}"
    shown = analysis.confusion
    yield (
        "confusion",
        Chart(
            title=f"{title}: share of answers by gold label",
            x_label="answer",
            y_label="gold",
            kind="heat map",
            series=[
                Series(name=name, x=shown.columns, y=rates) for name, rates in zip(shown.rows, shown.rates, strict=True)
            ],
        ),
    )
    if analysis.calibration is not None:
        curve = analysis.calibration.curve
        yield (
            "calibration",
            Chart(
                title=f"{title}: calibration (ECE {analysis.calibration.ece:.3f})",
                x_label="confidence",
                y_label="accuracy",
                kind="line",
                series=[
                    Series(name="answers", x=[each.confidence for each in curve], y=[each.accuracy for each in curve]),
                    Series(name="perfectly calibrated", x=[0.0, 1.0], y=[0.0, 1.0]),
                ],
            ),
        )
    known = [each for each in analysis.slices if each.low is not None and each.difference is not None]
    if known:
        largest = sorted(known, key=lambda each: -abs(each.difference or 0))[:MOST_BARS]
        yield (
            "slices",
            Chart(
                title=f"{title}: {analysis.metric} of slices minus that of other clips",
                x_label="slice",
                y_label=f"difference of {analysis.metric}",
                kind="bar",
                series=[
                    Series(
                        name="difference",
                        x=[f"{each.by}: {each.value}" for each in largest],
                        y=[each.difference for each in largest],
                        low=[each.low for each in largest],
                        high=[each.high for each in largest],
                    )
                ],
            ),
        )
