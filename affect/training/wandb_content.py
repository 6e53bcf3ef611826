"""The content of a W&B run: tags, numbers, confusion matrices and a table of samples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from affect.config import Config, Value
from affect.data import Prediction, Record
from affect.evaluation.metrics import READERS
from affect.training.samples import VIDEO, described

COLUMNS = ["id", "task", "transcript", "gold", "predicted", "answer", "outcome", "clip"]
DATA_COUNTS = ("expected", "outside_subset", "excluded", "bad_rows", "used")
"""Counts of a task's data, which affect.runs.run_results adds to its numbers."""


def tags(cfg: Config, sweep: str | None = None) -> list[str]:
    """The choices by which runs are filtered, as on the command line, and the name of the sweep, cut to the 64
    characters that W&B takes."""
    tasks = [f"{name}.{task}" for name, dataset in cfg.datasets.items() for task in dataset.tasks]
    words = [
        f"model={cfg.model.name}",
        *(f"dataset={name}" for name in cfg.datasets),
        *(f"task={task}" for task in tasks),
        f"prompting={cfg.prompting.name}",
        f"modalities={cfg.modalities}",
        f"seed={cfg.seed}",
        *([] if sweep is None else [f"sweep={sweep}"]),
    ]
    return list(dict.fromkeys(word[:64] for word in words))


def flatten(summary: Mapping[str, Any], split: str) -> dict[str, Any]:
    """The numbers of affect.evaluation.metrics.summary that compare runs, one key each.

    `test/meld.emotion/weighted_f1` comes from the headline's reader, `…/exact/weighted_f1` or `…/lenient/…` from the
    other one, `…/majority/…` from the majority answer, `…/meld.accuracy` from a dialect. Counts begin with n_;
    undefined numbers are None. `…/signature/weighted_f1` is the signature of a number of the headline's reader.
    metrics.json has the rest.
    """
    flat: dict[str, Any] = {f"{split}/selection": summary["selection"]}
    reader = summary["reader"]
    for name, numbers in summary["tasks"].items():
        values = dict(numbers[reader])
        for dialect, of_dialect in numbers["dialects"][reader].items():
            values |= {f"{dialect}.{metric}": value for metric, value in of_dialect.items()}
        for other in ({*READERS} - {reader}) | {"majority"}:
            values |= {f"{other}/{metric}": value for metric, value in numbers[other].items()}
        values |= {key: value for key, value in numbers.items() if key.startswith("n_") and key != "n_per_class"}
        values |= {f"n_{outcome}": count for outcome, count in numbers["outcomes"].items()}
        values |= {f"n_{key}": numbers[key] for key in DATA_COUNTS if key in numbers}
        values |= {f"signature/{metric}": text for metric, text in numbers["signatures"][reader].items()}
        for group in ("recall_per_class", "calibration"):
            values |= {f"{group}/{key}": value for key, value in numbers.get(group, {}).items()}
        flat |= {f"{split}/{name}/{key}": value for key, value in values.items()}
    return flat


def confusions(summary: Mapping[str, Any], split: str) -> dict[str, Any]:
    """A confusion matrix for every classification with scored clips: gold labels by labels read leniently."""
    import wandb

    charts = {}
    for name, numbers in summary["tasks"].items():
        if "confusion" not in numbers or not numbers["n_scored"]:
            continue
        names = [*numbers["labels"], "unreadable"]
        cells = [
            (i, j) for i, row in enumerate(numbers["confusion"]) for j, count in enumerate(row) for _ in range(count)
        ]
        if all(j < len(names) - 1 for _, j in cells):
            names.pop()
        charts[f"{split}/{name}/confusion"] = wandb.plot.confusion_matrix(
            y_true=[i for i, _ in cells], preds=[j for _, j in cells], class_names=names, title=f"{name}, {split}"
        )
    return charts


def _cell(value: Value | None) -> str | float | None:
    return (", ".join(value) or "none of them") if isinstance(value, tuple) else value


def samples_table(rows: Sequence[tuple[Prediction, str, Record, Path | None]], reader: str) -> Any:
    """A wandb.Table of predictions with their verdict, record and the file to play."""
    import wandb

    table = wandb.Table(columns=COLUMNS, allow_mixed_types=True)  # labels and numbers, video and audio
    for prediction, verdict, record, clip in rows:
        media = None if clip is None else (wandb.Video if clip.suffix.lower() in VIDEO else wandb.Audio)(str(clip))
        name = f"{prediction.dataset}.{prediction.task}"
        gold, predicted = _cell(prediction.target), _cell(getattr(prediction, reader))
        table.add_data(prediction.id, name, record.text, gold, predicted, described(prediction), verdict, media)
    return table
