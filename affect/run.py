"""The run folder: what it is called, what is in it, and reading it back.

A folder explains itself:

    config.yaml        the resolved configuration; `evaluate.py run=…` composes from it
    status.json        running, finished or failed, and why
    environment.json   command, commit and whether the tree was clean, versions, machine
    data.json          per dataset and split: expected, excluded, used, hash of the ids
    exclusions.csv     every record that was left out, with the reason
    log/metrics.csv    what was logged during training
    checkpoints/       best.ckpt and last.ckpt: trained weights, buffers and optimiser
    predictions.jsonl  one prediction a line; every number can be computed again from it
    metrics.json       the numbers, with how many rows they stand on
"""

import contextlib
import csv
import io
import itertools
import json
import os
import platform
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from affect import __version__
from affect.config import Config, ConfigError, read_yaml, to_yaml
from affect.record import DataError, Prediction
from affect.splits import Part

LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "lightning",
    "torchmetrics",
    "hydra-core",
    "omegaconf",
    "av",
    "numpy",
    "wandb",
)


def write_atomic(path: Path, text: str) -> None:
    """Writes a text file so that a reader, or a kill in the middle, meets the old one or the new one, never half of
    one."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def create(cfg: Config, program: str, job_folder: str | None) -> Path:
    """Makes the folder of a new run and writes what is known at its start.

    `job_folder` is the one a multirun gave this job; otherwise the name says when, what and on what, and a number is
    added where that name is taken: making the folder is what decides between two runs of the same second.
    """
    if job_folder is not None:
        folder = Path(job_folder)
        folder.mkdir(parents=True, exist_ok=True)
    else:
        what = f"{'+'.join(cfg.datasets)}_{cfg.model.name}_{cfg.modalities}_s{cfg.seed}"
        stem = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{program}_{what}"
        folder = _make_new(Path(cfg.output_root), stem)
    write_atomic(folder / "config.yaml", to_yaml(cfg))
    write_json(folder / "environment.json", environment())
    return folder


def _make_new(root: Path, stem: str) -> Path:
    try:
        root.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            folder = root / (stem if number == 1 else f"{stem}_{number}")
            with contextlib.suppress(FileExistsError):  # the name is taken; the next number may not be
                folder.mkdir()
                return folder
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"output_root={root} cannot be written ({reason}): set output_root to a folder that can"
        ) from error
    raise AssertionError("itertools.count does not end")


def environment() -> dict[str, Any]:
    """What a number depends on beside the configuration."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "affect": __version__,
        "command": sys.argv,
        **_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "versions": versions,
    }


def _commit() -> dict[str, Any]:
    def git(*words: str) -> str:
        root = Path(__file__).resolve().parent
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}  # installed from a package, or without git: there is no commit to name


@contextlib.contextmanager
def running(folder: Path) -> Iterator[None]:
    """Keeps status.json true while the block runs: running, then finished or failed with the reason."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    status: dict[str, Any] = {"state": "running", "pid": os.getpid(), "started": started}
    write_json(folder / "status.json", status)
    try:
        yield
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        status |= {
            "state": "failed",
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "error": f"{type(error).__name__}: {error}",
            "where": f"{Path(last.filename).name}:{last.lineno}",
        }
        write_json(folder / "status.json", status)
        raise
    write_json(
        folder / "status.json", status | {"state": "finished", "ended": datetime.now(UTC).isoformat(timespec="seconds")}
    )


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
) -> None:
    """Writes what a run found: predictions, numbers, and what they stand on.

    `summary` is that of affect.metrics.summary, to which every task gets the counts of its dataset's evaluated split.
    `lost` has the reason by id for clips that became unreadable after they were checked.
    """
    write_predictions(folder, predictions)
    accounts = {part.dataset: part.account() for part in parts if part.split == cfg.evaluation.split}
    for name, numbers in summary["tasks"].items():
        account = accounts[name.split(".")[0]]
        numbers |= {key: account[key] for key in ("expected", "outside_subset", "excluded", "used")}
    write_json(
        folder / "metrics.json",
        {
            "split": cfg.evaluation.split,
            "readout": cfg.evaluation.readout.value,
            "intensity_readout": cfg.evaluation.intensity_readout.value,
            **summary,
        },
    )
    write_json(folder / "data.json", {"parts": [part.account() for part in parts], "lost_during_the_run": lost})
    rows = [
        {"id": e.id, "split": e.split, "reason": e.reason, "source": e.source, "count": e.count}
        for part in parts
        for e in part.excluded
    ]
    rows += [
        {"id": i, "split": "", "reason": "lost during the run", "source": why, "count": 1} for i, why in lost.items()
    ]
    write_exclusions(folder, rows)


def write_exclusions(folder: Path, rows: list[dict[str, Any]]) -> None:
    """`rows` have the keys id, split, reason, source, count."""
    out = io.StringIO()
    writer = csv.DictWriter(out, ["id", "split", "reason", "source", "count"])
    writer.writeheader()
    writer.writerows(rows)
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
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        try:
            predictions.append(Prediction(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{path}, line {number} is not a prediction ({error}): restore the file, or evaluate again"
            ) from error
    return predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What tables need of a run folder."""

    folder: Path
    config: dict[str, Any]
    status: dict[str, Any]
    metrics: dict[str, Any] | None


def read(folder: Path) -> RunSummary:
    """A run folder, finished or not. Raises ConfigError when it is none."""
    config = folder / "config.yaml"
    if not config.is_file():
        hint = (
            f"{folder.parent} has {', '.join(_runs_in(folder.parent)) or 'none'}"
            if folder.parent.is_dir()
            else "it does not exist"
        )
        raise ConfigError(f"{folder} is not a run folder, it has no config.yaml: name one that has ({hint})")
    metrics, status = folder / "metrics.json", folder / "status.json"
    plain = read_yaml(config)
    lacking = sorted(KEYS - plain.keys())
    if lacking:
        raise ConfigError(
            f"{config} is not the configuration of a run of affect, it has no {', '.join(lacking)}: name a folder that"
            " train.py or evaluate.py made"
        )
    return RunSummary(
        folder=folder,
        config=plain,
        # A run that was killed in its first moments has none.
        status=_read_json(status) if status.is_file() else {"state": "not begun"},
        metrics=_read_json(metrics) if metrics.is_file() else None,
    )


KEYS = frozenset(field.name for field in fields(Config))
"""What the configuration of every run has."""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(
            f"{path} cannot be read ({error}): restore the file, or delete {path.parent} and run again"
        ) from error


def _runs_in(folder: Path) -> list[str]:
    """The newest run folders in `folder`."""
    return sorted((p.parent.name for p in folder.glob("*/config.yaml")), reverse=True)[:3]
