"""How often a test set had been evaluated before a number of it was."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from affect.config import ConfigError
from affect.reports.rows import Table
from affect.reports.settings import Run
from affect.runs import ledger
from affect.runs.ledger import Opening


def attach(tables: Sequence[Table], runs: Sequence[Run]) -> list[str]:
    """Says of every row of a test split how often its clips had been evaluated before the first of its runs, as the
    ledgers of their output roots have it: `Row.opened`. Returns notes: on lines that are damaged, on runs that are in
    no ledger, and on evaluations of other clips of the same split, which are not counted."""
    notes: dict[str, None] = {}

    @cache
    def lines_of(path: Path) -> list[Opening]:
        try:
            lines, damaged = ledger.read(path)
        except ConfigError as error:
            lines, damaged = [], [str(error)]
        notes.update(dict.fromkeys(damaged))
        return lines

    @cache
    def of_clips(path: Path, clips: str) -> list[Opening]:
        return [line for line in lines_of(path) if line.ids_sha256 == clips and line.split == ledger.SPLIT]

    @cache
    def places(path: Path, clips: str) -> dict[str, int]:
        return {line.folder: place for place, line in enumerate(of_clips(path, clips))}

    @cache
    def of_other_clips(path: Path, clips: str, dataset: str) -> int:
        return sum(line.dataset == dataset and line.ids_sha256 != clips for line in lines_of(path))

    @cache
    def ledger_of(parent: Path, output_root: str) -> Path | None:
        return ledger.of_run(parent / "run", output_root)

    for table in tables:
        if table.about.get("evaluation.split") != ledger.SPLIT:
            continue
        dataset = table.task.split(".")[0]
        lost, others = [], 0
        for row in table.rows:
            counts = []
            for number in row.runs:
                run = runs[number - 1]
                path = ledger_of(run.folder.parent, run.summary.config["output_root"])
                own = None
                if path is not None:
                    clips = run.clips[dataset]
                    own = places(path, clips).get(str(run.folder.absolute()))
                    own = _moved(run.folder, of_clips(path, clips)) if own is None else own
                    others = max(others, of_other_clips(path, clips, dataset))
                if own is None:
                    lost.append(number)
                else:
                    counts.append(own)
            row.opened = min(counts) if len(counts) == len(row.runs) else None
        if any(row.opened is not None for row in table.rows):
            if lost:
                notes[f"{', '.join(map(str, sorted(lost)))}: in no ledger of test splits ({table.task})"] = None
            if others:
                notes[
                    f"{dataset}: the ledger has {others:,} more evaluations of the test split, of other clips than a"
                    " row here has, which `opened before` does not count there"
                ] = None
    return list(notes)


def _moved(folder: Path, lines: Sequence[Opening]) -> int | None:
    """The place of the line of a run whose folder has been moved since: the last with its name and predictions."""
    named = [place for place, line in enumerate(lines) if Path(line.folder).name == folder.name]
    predictions = folder / "predictions.jsonl"
    if not named or not predictions.is_file():
        return None
    digest = hashlib.sha256(predictions.read_bytes()).hexdigest()
    return next((place for place in reversed(named) if lines[place].predictions_sha256 == digest), None)
