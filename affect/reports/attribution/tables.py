"""Attributions as tables, CSV, JSON, and data of charts."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from affect.config import MODALITIES
from affect.data.escaping import one_line
from affect.evaluation.significance import LEVEL
from affect.reports.attribution.rows import Attributed, Contribution
from affect.reports.charts import Chart, Series
from affect.reports.console import print_notes, print_section
from affect.reports.formats import WithRuns, joined_markdown, markdown_section, markdown_style, rows_as_csv
from affect.reports.sections import Column, Section, Style, aligned, ends, numbered, p_value

INTERVAL = f"{LEVEL:.0%} interval"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionReport(WithRuns):
    """Attributions, and what is printed beside them."""

    found: list[Attributed]
    per_class: bool
    """Whether tables have the values of every class; CSV and JSON always do."""


def print_tables(report: AttributionReport, console: Console) -> None:
    """The tables, the folders by number and the notes."""
    for section in sections(report, Style(numbers=aligned, escape=one_line)):
        print_section(section, console)
    console.print()
    print_notes(report.runs, report.notes, console)


def markdown(report: AttributionReport) -> str:
    blocks = [block for section in sections(report, markdown_style()) for block in markdown_section(section)]
    return joined_markdown(blocks, report.runs, report.notes)


def comma_separated(report: AttributionReport) -> str:
    """All numbers in one table, for other programs: `block` says what a row is of. Notes are not in it."""
    rows = [row for found in report.found for row in _rows(found)]
    return rows_as_csv(rows, list(dict.fromkeys(key for row in rows for key in row)))


def as_json(report: AttributionReport) -> str:
    """All that is known but the values of single clips: affect.reports.attribution.rows says what it is."""
    attributions = [asdict(found) for found in report.found]
    for each in attributions:
        del each["clips"]
        for reach in each["reach"]:
            del reach["probe"]["by_clip"]
    return report.json("attributions", attributions)


FORMATS = {"markdown": markdown, "csv": comma_separated, "json": as_json}


def clips_csv(report: AttributionReport) -> str:
    """A row for every clip of every attribution."""
    rows: list[dict[str, Any]] = []
    for found in report.found:
        for clip in found.clips:
            gold = "|".join(clip.gold) if isinstance(clip.gold, tuple) else clip.gold
            row = {**_about(found), "metric": found.clip_metric, "id": clip.id, "group": clip.group, "gold": gold}
            row |= {MODALITIES[letter]: value for letter, value in clip.contributions.items()}
            row |= {f"shift_{removed}": value for removed, value in clip.shifts.items()}
            rows.append(row | {"conflict": clip.conflict})
    return rows_as_csv(rows, list(dict.fromkeys(key for row in rows for key in row)))


def sections(report: AttributionReport, style: Style) -> Iterator[Section]:
    for found in report.found:
        about = (
            f"{found.metric}{'' if found.higher_is_better else ' (lower is better)'}; {found.model}, {found.flavour}"
        )
        yield _contributions(f"{found.task}, contribution of modalities (Shapley): {about}", found, style)
        if found.differences:
            yield _section(
                f"{found.task}, contribution of one modality minus that of another: {about}",
                _values("modalities", found.differences, style),
                [numbered(_all_runs(found))] * len(found.differences),
            )
        yield _subsets(found, about, style)
        if report.per_class and found.classes:
            yield _classes(found, about, style)
        if found.reach:
            yield _reach(found, style)
        if found.conflicts:
            yield _conflicts(found, about, style)


def _section(title: str, columns: list[Column], runs: list[str]) -> Section:
    return Section(title=title, columns=columns, runs=Column(heading="runs", cells=runs, kind="word"))


def _values(heading: str, values: Sequence[Contribution], style: Style) -> list[Column]:
    means = ["undefined" if one.value.mean is None else style.signed(one.value.mean) for one in values]
    return [
        Column(heading=heading, cells=[style.escape(one.of) for one in values], kind="word"),
        Column(heading="value", cells=means, kind="number"),
        Column(heading=style.escape(INTERVAL), cells=[ends(one.value, style) for one in values], kind="number"),
        Column(heading="p (Holm)", cells=[style.escape(p_value(one.holm)) for one in values], kind="number"),
        Column(heading="clips", cells=[f"{one.value.clips:,}" for one in values], kind="count"),
        Column(heading="groups", cells=[f"{one.value.groups:,}" for one in values], kind="count"),
        Column(heading="seeds", cells=[f"{one.value.seeds:,}" for one in values], kind="count"),
    ]


def _all_runs(found: Attributed) -> list[int]:
    return [number for numbers in found.runs.values() for number in numbers]


def _contributions(title: str, found: Attributed, style: Style) -> Section:
    runs = [numbered(_all_runs(found))] * len(found.contributions)
    return _section(title, _values("modality", found.contributions, style), runs)


def _subsets(found: Attributed, about: str, style: Style) -> Section:
    named = sorted(found.values, key=lambda subset: (-len(subset), *map("tav".index, subset)))
    columns = [
        Column(heading="modalities", cells=[_in_words(subset) for subset in named], kind="word"),
        Column(
            heading=style.escape(found.metric),
            cells=style.numbers([found.values[subset] for subset in named]),
            kind="number",
        ),
    ]
    runs = [numbered(found.runs[subset]) if subset else "-" for subset in named]
    return _section(f"{found.task}, metric by modalities: {about}", columns, runs)


def _in_words(subset: str) -> str:
    return " + ".join(MODALITIES[letter] for letter in subset) or "none"


def _classes(found: Attributed, about: str, style: Style) -> Section:
    rows = [(of_class, one) for of_class in found.classes for one in of_class.contributions]
    columns = [
        Column(heading="class", cells=[style.escape(of_class.label) for of_class, _ in rows], kind="word"),
        *_values("modality", [one for _, one in rows], style),
    ]
    title = f"{found.task}, contribution of modalities to the recall of each class: {about.partition('; ')[2]}"
    return _section(title, columns, [numbered(_all_runs(found))] * len(rows))


def _reach(found: Attributed, style: Style) -> Section:
    probes = [each.probe for each in found.reach]

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.4f}"

    columns = [
        Column(
            heading="change",
            cells=[
                f"without {each.removed}" if each.removed in MODALITIES.values() else style.escape(each.removed)
                for each in found.reach
            ],
            kind="word",
        ),
        Column(heading="clips moved", cells=[style.escape(f"{each.moved:.1%}") for each in probes], kind="count"),
        Column(heading="other answer", cells=[style.escape(f"{each.changed:.1%}") for each in probes], kind="count"),
        Column(heading="median shift", cells=[number(each.median) for each in probes], kind="number"),
        Column(heading="unit", cells=[each.unit or "-" for each in probes], kind="word"),
        Column(
            heading="towards gold",
            cells=[
                "-" if each.gain is None or each.gain.mean is None else style.signed(each.gain.mean) for each in probes
            ],
            kind="number",
        ),
        Column(
            heading=style.escape(INTERVAL),
            cells=["-" if each.gain is None else ends(each.gain, style) for each in probes],
            kind="number",
        ),
        Column(heading="clips", cells=[f"{each.clips:,}" for each in probes], kind="count"),
    ]
    title = f"{found.task}, how far answers move when clips are changed: {found.model}"
    return _section(title, columns, [numbered(_all_runs(found))] * len(probes))


def _conflicts(found: Attributed, about: str, style: Style) -> Section:
    rows = found.conflicts
    columns = [
        Column(heading="modalities", cells=[_in_words(one.modalities) for one in rows], kind="word"),
        Column(heading="in conflict", cells=[f"{one.conflict:,}" for one in rows], kind="count"),
        Column(
            heading=style.escape(found.metric), cells=style.numbers([one.on_conflict for one in rows]), kind="number"
        ),
        Column(heading="rest", cells=[f"{one.rest:,}" for one in rows], kind="count"),
        Column(heading="on the rest", cells=style.numbers([one.on_rest for one in rows]), kind="number"),
        Column(
            heading="difference",
            cells=["undefined" if one.difference.mean is None else style.signed(one.difference.mean) for one in rows],
            kind="number",
        ),
        Column(heading=style.escape(INTERVAL), cells=[ends(one.difference, style) for one in rows], kind="number"),
    ]
    title = f"{found.task}, clips on which single modalities disagree, beside the rest: {about}"
    return _section(title, columns, [numbered(found.runs[one.modalities]) for one in rows])


def _about(found: Attributed) -> dict[str, Any]:
    return {"task": found.task, "model": found.model, "kind": found.flavour, "all": found.modalities}


def _rows(found: Attributed) -> Iterator[dict[str, Any]]:
    """Rows for CSV."""
    head = {**_about(found), "metric": found.metric, "seeds": " ".join(map(str, found.seeds))}

    def of(block: str, one: Contribution, label: str = "") -> dict[str, Any]:
        value = one.value
        return {
            **head,
            "block": block,
            "of": one.of,
            "class": label,
            "value": value.mean,
            "low": value.low,
            "high": value.high,
            "p": value.p,
            "holm": one.holm,
            "clips": value.clips,
            "groups": value.groups,
        }

    yield from (of("contribution", one) for one in found.contributions)
    yield from (of("difference", one) for one in found.differences)
    yield from (of("class", one, each.label) for each in found.classes for one in each.contributions)
    for subset, number in found.values.items():
        yield {**head, "block": "subset", "of": subset or "none", "value": number.mean, "sd": number.sd}
    for reach in found.reach:
        probe = reach.probe
        gain = {} if probe.gain is None else {"value": probe.gain.mean, "low": probe.gain.low, "high": probe.gain.high}
        numbers = {"moved": probe.moved, "changed": probe.changed, "median_shift": probe.median, "unit": probe.unit}
        yield {**head, "block": "reach", "of": reach.removed, **gain, "clips": probe.clips, **numbers}
    for one in found.conflicts:
        difference = one.difference
        yield {
            **head,
            "block": "conflict",
            "of": one.modalities,
            "value": difference.mean,
            "low": difference.low,
            "high": difference.high,
            "p": difference.p,
            "clips": difference.clips,
            "groups": difference.groups,
            "conflict_clips": one.conflict,
            "on_conflict": one.on_conflict.mean,
            "rest_clips": one.rest,
            "on_rest": one.on_rest.mean,
        }


def charts(found: Sequence[Attributed]) -> list[Chart]:
    """Modality dominance: a chart for each task and metric, with bars for every model; and one by class for each."""
    result = []
    for task, metric in dict.fromkeys((each.task, each.metric) for each in found):
        own = [each for each in found if (each.task, each.metric) == (task, metric)]
        series = [_series(f"{each.model}, {each.flavour}", each.contributions[:-1]) for each in own]
        result.append(_chart(f"{task}: contribution of modalities", "modality", metric, series))
    for each in found:
        if each.classes:
            by_modality = [
                Series(
                    name=MODALITIES[letter],
                    x=[of_class.label for of_class in each.classes],
                    y=[of_class.contributions[place].value.mean for of_class in each.classes],
                    low=[of_class.contributions[place].value.low for of_class in each.classes],
                    high=[of_class.contributions[place].value.high for of_class in each.classes],
                )
                for place, letter in enumerate(each.modalities)
            ]
            title = f"{each.task}: contribution of modalities by class, {each.model}"
            result.append(_chart(title, "class", "recall", by_modality))
    return result


def _series(name: str, values: Sequence[Contribution]) -> Series:
    return Series(
        name=name,
        x=[one.of for one in values],
        y=[one.value.mean for one in values],
        low=[one.value.low for one in values],
        high=[one.value.high for one in values],
    )


def _chart(title: str, x_label: str, metric: str, series: Sequence[Series]) -> Chart:
    return Chart(title=title, x_label=x_label, y_label=f"contribution to {metric}", kind="bar", series=series)
