"""What all runs have in common: the tables, the runs by number, the notes."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from affect.reports.formats import Report
from affect.reports.sections import heading
from affect.reports.settings import Run


def overview(report: Report, runs: Sequence[Run], refused: Sequence[str]) -> dict[str, Any]:
    """The value of the block `overview`. `refused` are sentences on what has no table, or could not be read."""
    return {
        "tables": [
            {**asdict(table), "headings": {key: heading(key) for key in table.settings}} for table in report.tables
        ],
        "runs": [
            {
                "number": number,
                "model": run.summary.model,
                "folder": str(run.folder),
                "state": run.state,
                "tuning": run.tuning,
                "seed": run.seed,
            }
            for number, run in enumerate(runs, 1)
        ],
        "notes": report.notes,
        "refused": list(refused),
    }
