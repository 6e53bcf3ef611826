"""The results of a run: predictions, metrics and exclusions, written and read."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from affect.config import Config, DataError, NothingAnswered
from affect.config.roles import kept
from affect.data import Prediction
from affect.data.files import write_atomic, write_json
from affect.data.part import Part
from affect.data.tables import for_spreadsheets
from affect.runs import ledger
from affect.runs.identity import configuration_sha256
from affect.runs.run_data import write_data
from affect.runs.run_environment import program_of


def expected(parts: list[Part], split: str) -> dict[str, int]:
    """Number of rows in the annotations of a split, by dataset."""
    return {part.dataset: part.expected for part in parts if part.split == split}


def write_predictions(folder: Path, predictions: Iterable[Prediction]) -> None:
    write_atomic(
        folder / "predictions.jsonl", "".join(json.dumps(asdict(p), ensure_ascii=False) + "\n" for p in predictions)
    )


def write_results(
    folder: Path,
    cfg: Config,
    parts: list[Part],
    predictions: list[Prediction],
    summary: dict[str, Any],
    lost: dict[str, str],
    validation: dict[str, Any] | None = None,
) -> None:
    """Writes the results of a run: predictions, metrics, and the counts behind them. An evaluation of the test split is
    noted in the ledger of the output root before there are numbers.

    `summary` is that of affect.evaluation.metrics.summary, to which every task gets the counts of its dataset's
    evaluated split (`bad_rows` where rows of the annotations are wrong and left out). `validation` is what a training
    chose its checkpoint by: the only numbers that a setting may be chosen by as well. `lost` has the reason by id for
    clips that became unreadable after they were checked."""
    write_predictions(folder, predictions)
    accounts = {part.dataset: part.account() for part in parts if part.split == cfg.evaluation.split}
    if cfg.evaluation.split == ledger.SPLIT:
        predicted = folder / "predictions.jsonl"
        configuration = configuration_sha256(kept(cfg))
        lines = ledger.openings(folder, program_of(folder), configuration, accounts.values(), predicted)
        ledger.append(Path(cfg.output_root), lines)
    for name, numbers in summary["tasks"].items():
        account = accounts[name.split(".")[0]]
        numbers |= {key: account[key] for key in ("expected", "outside_subset", "excluded", "used")}
        if account["bad_rows"]:
            numbers["bad_rows"] = account["bad_rows"]
    write_json(
        folder / "metrics.json",
        {
            "split": cfg.evaluation.split,
            "readout": cfg.evaluation.readout.value,
            "intensity_readout": cfg.evaluation.intensity_readout.value,
            "logit_adjustment": cfg.evaluation.logit_adjustment,
            **({} if validation is None else {"validation": validation}),
            **summary,
        },
    )
    write_data(folder, parts, lost)
    rows = [
        {"id": e.id, "split": e.split, "reason": e.reason, "source": e.source, "count": e.count}
        for part in parts
        for e in part.excluded
    ]
    rows += [
        {"id": i, "split": "", "reason": "lost during the run", "source": why, "count": 1} for i, why in lost.items()
    ]
    write_exclusions(folder, rows)


def check_answered(folder: Path, predictions: Sequence[Prediction]) -> None:
    """Raises NothingAnswered where every prediction is an error: a run without a single answer has failed, though its
    files say how. To be called when they are written."""
    if predictions and all(prediction.outcome == "error" for prediction in predictions):
        reasons = Counter(str(prediction.error) for prediction in predictions)
        [(reason, count)] = reasons.most_common(1)
        others = f" ({count:,} of them; there are {len(reasons) - 1} other reasons)" if len(reasons) > 1 else ""
        raise NothingAnswered(
            f"None of the {len(predictions):,} predictions of {folder} has an answer, so the run has failed:"
            f" {reason}{others}. All of them are kept in its predictions.jsonl."
        )


def write_exclusions(folder: Path, rows: list[dict[str, Any]]) -> None:
    """`rows` have the keys id, split, reason, source, count."""
    out = io.StringIO()
    writer = csv.DictWriter(out, ["id", "split", "reason", "source", "count"])
    writer.writeheader()
    writer.writerows({key: for_spreadsheets(value) for key, value in row.items()} for row in rows)
    write_atomic(folder / "exclusions.csv", out.getvalue())


def read_predictions(folder: Path) -> list[Prediction]:
    """The predictions of a run. Raises DataError, naming the line, where the file is not what `write_predictions`
    wrote."""
    path = folder / "predictions.jsonl"
    predictions = []
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}): is {folder} the folder of a finished run?"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error}): restore the file, or evaluate again") from error
    # Not splitlines(): a generated text may hold one of the other characters that it takes for the end of a line.
    lines = text.removesuffix("\n").split("\n") if text else []
    try:
        # All at once takes half the time that line by line does, which tells the line of a mistake.
        rows = json.loads(f"[{','.join(lines)}]")
        if len(rows) == len(lines):
            return [Prediction(**row) for row in rows]
    except (ValueError, TypeError, RecursionError):
        pass  # told below
    for number, line in enumerate(lines, 1):
        try:
            predictions.append(Prediction(**json.loads(line)))
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(
                f"{path}, line {number} is not a prediction ({error}): restore the file, or evaluate again"
            ) from error
    return predictions
