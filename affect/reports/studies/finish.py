"""Tables, figures and the summary of a study."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from affect.config import Analysis, ConfigError, StudyConfig
from affect.data.escaping import code_markdown, escape_markdown
from affect.data.files import write_atomic
from affect.reports import transfer
from affect.reports.attribution import gather as attribution
from affect.reports.attribution.tables import AttributionReport, charts, sections
from affect.reports.charts import Chart, Series
from affect.reports.comparison import against
from affect.reports.drawing import draw
from affect.reports.formats import Report, comma_separated
from affect.reports.formats import markdown as report_markdown
from affect.reports.gather import Gathered, Request, gather
from affect.reports.prompt_sensitivity import prompt_sensitivity
from affect.reports.sections import Style, aligned
from affect.reports.studies import learning_curves, main_effects, settings
from affect.reports.studies.findings import Finding, file_name, markdown, placed

FIGURES = (".pdf", ".png")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    report: Report
    findings: list[Finding]
    written: list[Path]
    refused: list[str]
    """Sentences on what has no table, or could not be read."""


def finish(name: str, study: StudyConfig, folder: Path, command: str, missing: Sequence[str]) -> Finished:
    """Makes and writes the tables, figures and summary of the runs in the folder of a study.

    `command` is that of the study, and `missing` has a sentence for each job without numbers. Raises ConfigError where
    there is no run folder.
    """
    gathered = gather(Request(folders=[folder], metrics=study.metrics, per_class=study.per_class))
    refused = [*gathered.refused, *_compare(gathered, study)]
    findings: list[Finding] = []
    try:
        findings += ANALYSES[study.analysis](gathered, study)
    except ConfigError as error:
        refused.append(str(error))
    written = [folder / "table.csv", folder / "summary.md"]
    for finding in findings:
        for suffix in FIGURES if finding.chart is not None else ():
            written.append(folder / f"{finding.name}{suffix}")
            draw(finding.chart, written[-1])
    write_atomic(folder / "table.csv", comma_separated(gathered.report))
    text = _summary(name, study, command, gathered.report, findings, [*missing, *refused])
    write_atomic(folder / "summary.md", text)
    return Finished(report=gathered.report, findings=findings, written=written, refused=refused)


def _compare(gathered: Gathered, study: StudyConfig) -> Iterator[str]:
    """Puts the differences to the reference into each table, since its key may have the name of the table's dataset; a
    sentence for what cannot be compared."""
    for table in gathered.report.tables if study.against else ():
        before = len(table.notes)
        try:
            yield from against([table], gathered.runs, [placed(condition, table) for condition in study.against])
        except ConfigError as error:
            yield f"{table.task} has no differences: {error}"
        gathered.report.notes.extend(table.notes[before:])


def _summary(
    name: str,
    study: StudyConfig,
    command: str,
    report: Report,
    findings: Sequence[Finding],
    missing: Sequence[str],
) -> str:
    blocks = [f"# Study {name}", study.about, f"Made by {code_markdown(command)}."]
    if missing:
        blocks += ["## Missing", "\n".join(f"- {escape_markdown(line)}" for line in missing)]
    blocks.append("## Findings")
    for finding in findings:
        blocks.append(markdown(finding))
        if finding.chart is not None:
            blocks.append(f"![{escape_markdown(finding.title)}]({finding.name}.png)")
    blocks += ["## Results", report_markdown(report)]
    return "\n\n".join(blocks)


def _transfer(gathered: Gathered, study: StudyConfig) -> Iterator[Finding]:
    matrix = transfer.matrix(gathered.runs)
    headings, lines = transfer.cells(matrix)
    yield Finding(
        name="transfer",
        title=f"Transfer: {matrix.title}",
        headings=headings,
        lines=lines,
        notes=matrix.notes,
        chart=Chart(
            title="Transfer",
            x_label="tested on",
            y_label="trained on",
            kind="heat map",
            series=[
                Series(
                    name=row,
                    x=matrix.columns,
                    y=[
                        matrix.cells[row, column].number.mean if (row, column) in matrix.cells else None
                        for column in matrix.columns
                    ],
                )
                for row in matrix.rows
            ],
        ),
    )


def _attribution(gathered: Gathered, study: StudyConfig) -> Iterator[Finding]:
    found = attribution.gather(gathered.runs)
    report = AttributionReport(found=found.found, runs=gathered.report.runs, notes=[], per_class=study.per_class)
    for number, section in enumerate(sections(report, Style(numbers=aligned)), 1):
        columns = [*section.columns, *([] if section.runs is None else [section.runs])]
        yield Finding(
            name=f"attribution_{number}",
            title=section.title,
            headings=[column.heading for column in columns],
            lines=list(zip(*(column.cells for column in columns), strict=True)),
        )
    for number, chart in enumerate(charts(found.found), 1):
        yield Finding(name=f"contributions_{number}", title=chart.title, chart=chart)
    if notes := [*found.notes, *found.refused]:
        yield Finding(name="notes", title="What has to be known beside the contributions", notes=notes)


def _prompts(gathered: Gathered, study: StudyConfig) -> Iterator[Finding]:
    for table in gathered.report.tables:
        for number, part in enumerate(prompt_sensitivity(table, gathered.runs), 1):
            yield Finding(
                name=file_name(f"{table.task}_{number}"),
                title=part.title,
                headings=part.headings,
                lines=part.lines,
                notes=part.notes,
                chart=part.chart,
            )


ANALYSES: Mapping[Analysis, Callable[[Gathered, StudyConfig], Iterator[Finding]]] = {
    Analysis.settings: settings.charts,
    Analysis.ranks: settings.ranks,
    Analysis.learning_curves: learning_curves.findings,
    Analysis.main_effects: main_effects.findings,
    Analysis.transfer: _transfer,
    Analysis.attribution: _attribution,
    Analysis.prompts: _prompts,
}
