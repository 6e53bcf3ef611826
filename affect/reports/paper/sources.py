"""What the numbers of a pack stand on: datasets with their counts, and how often test sets were opened."""

from collections.abc import Mapping, Sequence

from affect.config import ConfigError, DatasetConfig
from affect.data import readers
from affect.data.record import SPLITS
from affect.reports.sections import NOT_APPLICABLE, Column, Section, Style, numbered
from affect.reports.settings import Run
from affect.runs import ledger
from affect.runs.jobs import read_note


def datasets(runs: Mapping[int, Run], style: Style) -> Section:
    """The counts of every split that the runs have read, a line for every set of clips. `runs` are by number."""
    read: dict[tuple[str, ...], list[int]] = {}
    for n, run in runs.items():
        for part in read_note(run.folder / "data.json")["parts"]:
            counts = (_count(part.get(key)) for key in ("expected", "outside_subset", "excluded", "used"))
            read.setdefault((part["dataset"], part["split"], *counts, part["ids_sha256"][:8]), []).append(n)
    lines = {}
    for (dataset, split, *counts), numbers in read.items():
        config = runs[numbers[0]].summary.config["datasets"][dataset]
        lines[dataset, split, published(config, split), *counts] = numbers
    order = sorted(lines, key=lambda line: (line[0], SPLITS.index(line[1]) if line[1] in SPLITS else len(SPLITS)))
    return _section(
        "Datasets: clips published, found in the annotations, left out and used",
        {
            "dataset": "word",
            "split": "word",
            **dict.fromkeys(("published", "found", "outside subset", "excluded", "used"), "count"),
            "ids": "word",
        },
        order,
        [numbered(lines[line]) for line in order],
        style,
    )


def _count(value: int | None) -> str:
    return NOT_APPLICABLE if value is None else f"{value:,}"  # which older versions did not count


def _section(
    title: str, kinds: Mapping[str, str], lines: Sequence[Sequence[str]], runs: Sequence[str], style: Style
) -> Section:
    """`kinds` are those of the columns by heading, `lines` their cells, `runs` the runs of each line."""
    columns = [
        Column(heading=heading, cells=[style.escape(line[place]) for line in lines], kind=kind)
        for place, (heading, kind) in enumerate(kinds.items())
    ]
    return Section(title=title, columns=columns, runs=Column(heading="runs", cells=list(runs), kind="word"))


def published(config: Mapping[str, object], split: str) -> str:
    """The published number of clips of a split, `about` where the sources are not exact; `-` where none is known of
    this split alone."""
    if readers.module(str(config["reader"])) is None:
        return NOT_APPLICABLE
    try:
        known = readers.published(DatasetConfig(reader=config["reader"], options=config.get("options", {})))
    except ConfigError:
        return NOT_APPLICABLE  # options of another version, to which today's counts need not apply
    counts = [each for each in known if each.splits == (split,)]
    return f"{'' if counts[0].exact else 'about '}{counts[0].count:,}" if counts else NOT_APPLICABLE


def exclusions(runs: Mapping[int, Run]) -> list[str]:
    """A sentence for every reason for which clips were left out."""
    reasons: dict[tuple[str, str, str, int], list[int]] = {}
    for n, run in runs.items():
        for part in read_note(run.folder / "data.json")["parts"]:
            for reason, count in part.get("reasons", {}).items():
                reasons.setdefault((part["dataset"], part["split"], reason, count), []).append(n)
    return [
        f"{dataset}, split {split}: {count:,} left out as: {reason} (runs {numbered(numbers)})"
        for (dataset, split, reason, count), numbers in reasons.items()
    ]


def licences(runs: Mapping[int, Run]) -> dict[str, str]:
    """What the readers say about the licences of the datasets, by dataset."""
    by_dataset = {
        name: each["reader"] for run in runs.values() for name, each in run.summary.config["datasets"].items()
    }
    found = {name: readers.constant(reader, "LICENCE", None) for name, reader in by_dataset.items()}
    return {name: licence for name, licence in found.items() if licence}


def openings(runs: Mapping[int, Run], style: Style) -> Section:
    """How often the test sets of the runs were evaluated, as their ledgers have it. Ledgers that are missing or damaged
    are in the notes of the report (affect.reports.openings)."""
    tested = dict.fromkeys(
        (path, dataset, ids)
        for run in runs.values()
        if run.summary.metrics is not None and run.summary.metrics["split"] == ledger.SPLIT
        for path in [ledger.of_run(run.folder, run.summary.config["output_root"])]
        if path is not None
        for dataset, ids in run.clips.items()
    )
    cells = []
    for path, dataset, ids in tested:
        try:
            lines, _ = ledger.read(path)
        except ConfigError:
            continue
        own = [line for line in lines if line.ids_sha256 == ids and line.split == ledger.SPLIT]
        if own:
            configurations = len({line.configuration_sha256 for line in own})
            dates = (own[0].time[:10], own[-1].time[:10])
            cells.append((dataset, ids[:8], f"{own[0].clips:,}", f"{len(own):,}", f"{configurations:,}", *dates))
    return _section(
        "Test sets: how often each was evaluated, and with how many configurations, seeds included",
        {
            "dataset": "word",
            "ids": "word",
            **dict.fromkeys(("clips", "evaluations", "configurations"), "count"),
            "first": "word",
            "last": "word",
        },
        cells,
        [""] * len(cells),
        style,
    )


def software(environments: Sequence[Mapping[str, object]]) -> dict[str, list[str]]:
    """By library, the versions that the runs had."""
    found: dict[str, dict[str, None]] = {}
    for environment in environments:
        versions = {"python": environment.get("python"), **dict(environment.get("versions") or {})}
        for name, version in versions.items():
            if version is not None:
                found.setdefault(name, {})[str(version)] = None
    return {name: list(versions) for name, versions in found.items()}
