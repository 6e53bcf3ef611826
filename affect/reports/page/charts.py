"""The charts that a report makes by itself: training clips, modalities, robustness, what descriptions gain,
calibration.

A metric against a setting and training curves are drawn by the page from its other blocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

import numpy as np

from affect.config import Analysis, DataError, Kind, StudyConfig
from affect.evaluation.metrics import calibration
from affect.evaluation.significance import LEVEL
from affect.reports.attribution import gather as attribution
from affect.reports.attribution.tables import charts as attribution_charts
from affect.reports.charts import Chart, Series
from affect.reports.comparison import task_of
from affect.reports.formats import Report
from affect.reports.gather import Gathered
from affect.reports.page.robustness import robustness
from affect.reports.rows import Difference, Row, Table
from affect.reports.settings import Run
from affect.reports.studies import learning_curves
from affect.runs.run_results import read_predictions

MOST_COMPARED = 200
"""Runs that are looked through for every subset of the modalities, each beside each."""

MOST_CURVES = 12
"""Settings whose calibration is drawn; more lines cannot be told apart."""


def charts(gathered: Gathered) -> list[dict[str, Any]]:
    """The value of the block `charts`: groups with a `heading`, the sentences `about` them and their `charts`, as
    affect.reports.charts has them. A group without anything to draw is absent."""
    groups = [
        ("Training clips", _sizes(gathered)),
        ("Contribution of modalities", _modalities(gathered)),
        ("Robustness", chain.from_iterable(map(robustness, gathered.report.tables))),
        ("Differences to the reference and to controls", map(_differences, gathered.report.tables)),
        ("Calibration", (_calibration(table, gathered.runs) for table in gathered.report.tables)),
    ]
    result = []
    for heading, parts in groups:
        made = [(chart, sentences) for chart, sentences in parts if chart is not None or sentences]
        drawn = [asdict(chart) for chart, _ in made if chart is not None]
        if drawn:
            sentences = [sentence for _, each in made for sentence in each]
            result.append({"heading": heading, "about": list(dict.fromkeys(sentences)), "charts": drawn})
    return result


def setting(row: Row, table: Table) -> str:
    """A row by the settings that tell rows apart."""
    return ", ".join(row.setting[key] or "-" for key in table.settings)


def _sizes(gathered: Gathered) -> Iterator[tuple[Chart | None, list[str]]]:
    """Curves of the tables whose runs differ in the share of training clips that they have used."""
    study = StudyConfig(analysis=Analysis.learning_curves)
    for table in gathered.report.tables:
        if learning_curves.SIZE.replace("DATASET", table.task.split(".")[0]) not in table.settings:
            continue
        report = Report(tables=[table], runs=gathered.report.runs, notes=[])
        for finding in learning_curves.findings(Gathered(report=report, runs=gathered.runs), study):
            yield finding.chart, list(finding.notes)


def _modalities(gathered: Gathered) -> Iterator[tuple[Chart | None, list[str]]]:
    """Shapley values, where runs have every subset of the modalities."""
    if any("modalities" in table.settings for table in gathered.report.tables) and len(gathered.runs) <= MOST_COMPARED:
        attributions = attribution.gather(gathered.runs)
        for chart in attribution_charts(attributions.found):
            yield chart, [*attributions.notes]


def _differences(table: Table) -> tuple[Chart | None, list[str]]:
    """What every row gains over the reference, and rows with descriptions over their controls."""
    series = []
    against = [(setting(row, table), row.difference) for row in table.rows if row.difference is not None]
    if against:
        series.append(_bars("minus the reference", against))
    for control in dict.fromkeys(control for row in table.rows for control in row.controls):
        pairs = [(setting(row, table), row.controls[control]) for row in table.rows if control in row.controls]
        series.append(_bars(f"minus control {control}", pairs))
    if not series:
        return None, []
    chart = Chart(
        title=f"{table.task}: differences of {table.compared}",
        x_label="setting",
        y_label=f"difference of {table.compared}",
        kind="bar",
        series=series,
    )
    return chart, [f"Intervals are of {LEVEL:.0%}, over groups of clips and seeds; the table of the overview has p."]


def _bars(name: str, differences: Sequence[tuple[str, Difference]]) -> Series:
    return Series(
        name=name,
        x=[label for label, _ in differences],
        y=[one.mean for _, one in differences],
        low=[one.low for _, one in differences],
        high=[one.high for _, one in differences],
    )


def _calibration(table: Table, runs: Sequence[Run]) -> tuple[Chart | None, list[str]]:
    """Reliability curves of the settings whose runs have the score of every label, the seeds of each together."""
    labels = task_of(table, runs, table.metrics[0]).labels if table.metrics else []
    if not labels or task_of(table, runs, table.metrics[0]).kind is not Kind.classification:
        return None, []
    series, sentences = [], []
    for row in table.rows[:MOST_CURVES]:
        try:
            probability, gold = _scores([runs[number - 1] for number in row.runs], table.task, labels)
        except DataError as error:
            sentences.append(str(error))
            continue
        if len(gold):
            curve = calibration.reliability(probability, gold)
            name = f"{setting(row, table)} (ECE {calibration.ece_of(curve):.3f})"
            series.append(Series(name=name, x=[bin.confidence for bin in curve], y=[bin.accuracy for bin in curve]))
    if not series:
        return None, sentences
    if len(table.rows) > MOST_CURVES:
        sentences.append(f"{table.task}: the first {MOST_CURVES} of {len(table.rows):,} settings are drawn.")
    series.append(Series(name="perfectly calibrated", x=[0.0, 1.0], y=[0.0, 1.0]))
    sentences.append(
        "Accuracy by confidence, the greatest of a clip's label probabilities, in bins of as many answers each; ECE is"
        " the mean distance to the diagonal."
    )
    chart = Chart(
        title=f"{table.task}: calibration", x_label="confidence", y_label="accuracy", kind="line", series=series
    )
    return chart, sentences


def _scores(runs: Sequence[Run], task: str, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities float64[N, K] and gold labels int64[N] of the labelled clips that have a score of every label.
    Raises DataError where predictions are damaged."""
    places = {label: place for place, label in enumerate(labels)}
    rows = [
        ([p.scores[label] for label in labels], places[str(p.target)])
        for run in runs
        for p in read_predictions(run.folder)
        if f"{p.dataset}.{p.task}" == task
        and p.scores is not None
        and p.target in places
        and places.keys() <= p.scores.keys()
    ]
    scores = np.array([scores for scores, _ in rows], dtype=np.float64).reshape(-1, len(labels))
    gold = np.array([place for _, place in rows], dtype=np.int64)
    known = np.isfinite(scores).all(axis=1)
    return (calibration.probabilities(scores[known]) if known.any() else scores[:0]), gold[known]
