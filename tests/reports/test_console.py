"""Tables on narrow terminals."""

import io

import pytest
from rich.console import Console

from affect.reports.console import print_section
from affect.reports.sections import Column, Section
from affect.reports.studies.findings import Finding, print_finding
from affect.runs.jobs import Job, print_table


def on_terminal(width: int, **options: bool) -> Console:
    return Console(file=io.StringIO(), width=width, color_system=None, **({"force_terminal": True} | options))


def lines(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def wide(runs: list[str] | None) -> Section:
    """Three rows that only `by` and `slice` tell apart, with ten columns of numbers."""
    numbers = [
        Column(heading=f"metric.{n}", cells=[f"0.{n}{row}00" for row in range(3)], kind="number") for n in range(10)
    ]
    words = [
        Column(heading="by", cells=["class", "class", "words"], kind="word"),
        Column(heading="slice", cells=["joy", "up to 9", "up to 9"], kind="word"),
    ]
    named = None if runs is None else Column(heading="runs", cells=runs, kind="word")
    return Section(title="demo.emotion, accuracy", columns=[*words, *numbers], runs=named)


@pytest.mark.parametrize(
    ("runs", "repeated"), [(["1-3", "4-6", "7"], []), (None, ["by", "slice"]), (["1", "1", "1"], ["by", "slice"])]
)
def test_columns_without_room_come_below_and_every_row_keeps_its_name(runs, repeated):
    out = on_terminal(60)
    print_section(wide(runs), out)
    said = lines(out)
    assert max(map(len, said)) <= 60 and sum("demo.emotion, accuracy" in line for line in said) == 1
    headings = [said[place - 1].split() for place, line in enumerate(said) if set(line.strip()) == {"─"}]
    assert len(headings) > 1
    named = [] if runs is None else ["runs"]
    assert all(heading[: len(named) + len(repeated)] == [*named, *repeated] for heading in headings[1:])
    for n in range(10):
        for row in range(3):
            [line] = [line for line in said if f"0.{n}{row}00" in line]  # whole, and once
            assert runs is None or line.split()[0] == runs[row]


def test_where_there_is_room_or_no_terminal_a_table_is_one():
    for out in (on_terminal(200), on_terminal(60, force_terminal=False)):
        print_section(wide(None), out)
        assert sum("─" in line for line in lines(out)) == 1


def test_words_have_the_room_that_a_block_leaves():
    text = Column(heading="transcript", cells=["a sentence of forty letters for one row"], kind="word")
    numbers = [Column(heading=f"m{n}", cells=["0.1234"], kind="number") for n in range(8)]
    out = on_terminal(70)
    print_section(
        Section(title="clips", columns=[Column(heading="clip", cells=["c"], kind="word"), *numbers, text]), out
    )
    assert any(text.cells[0] in line for line in lines(out))


def test_words_of_jobs_are_not_broken(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "70")
    value = {"demo.emotion": {"metric": "weighted_f1", "value": 0.5}}
    jobs = [
        Job(number=n, state="finished", words=[f"modalities={m}", "seed=1"], metrics=value, validation=value)
        for n, m in enumerate(("t", "ta"))
    ]
    print_table(jobs, tmp_path)
    said = capsys.readouterr().out
    assert "modalities=ta" in said and "error" not in said


def test_a_finding_is_a_table_with_its_notes():
    finding = Finding(
        name="x", title="effects\x1b[31m", headings=["key", "effect"], lines=[["rank", "+0.1"]], notes=["n 9"]
    )
    out = on_terminal(60)
    print_finding(finding, out)
    said = "\n".join(lines(out))
    assert "rank" in said and "+0.1" in said and "- n 9" in said and "|" not in said and "\x1b[31m" not in said
