"""Tables for the terminal: what is trained, and what came out, with what it stands on beside every number."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from affect.adapters import TowerCount
from affect.alignment import Aligned
from affect.run import RunSummary

HEADINGS = (
    "run",
    "task",
    "modalities",
    "readout",
    "expected",
    "used",
    "scored",
    "readable",
    "metric",
    "lenient",
    "exact",
    "majority",
)


def print_towers(counts: Sequence[TowerCount]) -> None:
    """What is trained of each tower."""
    table = Table(title="Trained parameters")
    for heading in ("tower", "how", "parameters", "trained", "LoRA modules"):
        table.add_column(heading, justify="left" if heading in ("tower", "how") else "right")
    for count in counts:
        table.add_row(count.tower, count.mode, f"{count.parameters:,}", f"{count.trained:,}", f"{count.lora_modules:,}")
    Console().print(table)


def print_alignment(aligned: Sequence[Aligned]) -> None:
    """What the alignment of new towers came to, on the validation split."""
    for item in aligned:
        if item.accuracy is None:
            print(f"{item.modality} aligned; no clip of the validation split has one of the training answers")
            continue
        print(
            f"{item.modality} aligned: on the validation split the nearest answer is right for {item.accuracy:.1%},"
            f" loss {item.loss:.3f} nats"
        )


def rows(runs: Sequence[RunSummary]) -> list[dict[str, str]]:
    """One row a run and task. A run without numbers gets a row that says in what state it is."""
    made = []
    for number, run in enumerate(runs, 1):
        common = {"run": f"{number}", "modalities": run.config["modalities"]}
        if run.metrics is None:
            made.append(dict.fromkeys(HEADINGS, "") | common | {"task": run.status["state"]})
            continue
        trained = run.config["run"] is not None or (run.folder / "checkpoints").exists()
        common["run"] += " fine-tuned" if trained else " zero-shot"
        for name, numbers in run.metrics["tasks"].items():
            scored = numbers["n_scored"]
            metric = numbers["headline"]
            made.append(
                common
                | {
                    "task": name,
                    "readout": run.metrics["readout" if "labels" in numbers else "intensity_readout"],
                    "expected": f"{numbers['expected']:,}",
                    "used": f"{numbers['used']:,}",
                    "scored": f"{scored:,}",
                    "readable": f"{numbers['n_readable_lenient'] / scored:.1%}" if scored else "",
                    "metric": metric,
                    **{kind: _number(numbers[kind][metric]) for kind in ("lenient", "exact", "majority")},
                }
            )
    return made


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def print_results(runs: Sequence[RunSummary]) -> None:
    """The table of results. expected: rows of the annotations; used: after subset and exclusions; scored: with a label;
    readable: share the lenient reader could read. lenient and exact: the metric by reader; majority: by always
    answering what is most frequent."""
    table = Table(title="Results")
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading in HEADINGS[4:8] + HEADINGS[9:] else "left")
    for row in rows(runs):
        table.add_row(*(row[heading] for heading in HEADINGS))
    # Where there is no terminal, rich assumes 80 columns and would break every number in two.
    console = Console() if Console().is_terminal else Console(width=140)
    console.print(table)
    for number, run in enumerate(runs, 1):
        console.print(f"{number} {run.config['model']['name']}, {run.folder}", highlight=False, soft_wrap=True)
