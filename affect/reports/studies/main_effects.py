"""How much a metric depends on each key of a grid of settings."""

from collections.abc import Iterator

from affect.config import StudyConfig
from affect.evaluation.main_effects import MainEffects, main_effects
from affect.reports.aggregate import numbers
from affect.reports.charts import Chart, Series
from affect.reports.gather import Gathered
from affect.reports.rows import Table
from affect.reports.sections import heading
from affect.reports.studies.findings import Finding, file_name, interval, number


def findings(gathered: Gathered, study: StudyConfig) -> Iterator[Finding]:
    """For each task the spread over settings, the main effect of each value, and what share each key has."""
    for table in gathered.report.tables:
        if not table.metrics:
            continue
        title = f"{table.task}, main effects on {table.metrics[0]}"
        try:
            effects = _effects(table, gathered)
        except ValueError as error:
            yield Finding(name=file_name(table.task), title=title, notes=[f"no main effects, since {error}"])
            continue
        yield _finding(table, title, effects)


def _effects(table: Table, gathered: Gathered) -> MainEffects:
    values = []
    for row in table.rows:
        of_runs = [numbers(gathered.runs[n - 1], table.task)[table.metrics[0]] for n in row.runs]
        values.append([float("nan") if value is None else value for value in of_runs])
    settings = [{key: row.setting[key] or "-" for key in table.settings} for row in table.rows]
    return main_effects(settings, values)


def _finding(table: Table, title: str, effects: MainEffects) -> Finding:
    shares = ", ".join(f"{heading(name)} {share:.0%}" for name, share in effects.shares.items())
    within = "unknown, with one seed" if effects.within is None else f"{effects.within:.4f}"
    series: dict[str, list[int]] = {}
    for place, effect in enumerate(effects.effects):
        series.setdefault(effect.factor, []).append(place)
    return Finding(
        name=file_name(table.task),
        title=title,
        headings=["key", "value", "effect", "interval"],
        lines=[
            [heading(each.factor), each.level, number(each.mean, signed=True), interval(each.low, each.high)]
            for each in effects.effects
        ],
        notes=[
            f"settings: {len(table.rows)}, mean {effects.mean:.4f}, from {effects.low:.4f} to {effects.high:.4f};"
            f" standard deviation between settings {effects.between:.4f}, between seeds of one setting {within}",
            f"share of the variation between settings, noise between seeds included: {shares or 'there is none'}",
            "An effect is the mean over all settings with this value minus the mean over all settings.",
        ],
        chart=Chart(
            title=title,
            x_label="value",
            y_label="effect",
            kind="bar",
            series=[
                Series(
                    name=heading(factor),
                    x=[f"{heading(factor).rpartition('.')[2]} {effects.effects[place].level}" for place in places],
                    y=[effects.effects[place].mean for place in places],
                    low=[effects.effects[place].low for place in places],
                    high=[effects.effects[place].high for place in places],
                )
                for factor, places in series.items()
            ],
        ),
    )
