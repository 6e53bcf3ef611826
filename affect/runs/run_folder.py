"""The run folder: its name, its files, and reading it back.

A folder explains itself:

    config.yaml        the resolved configuration; `evaluate.py run=…` composes from it
    config.json        a copy of it that is read faster
    status.json        running (with a heartbeat), finished, stopped or failed, and the reason
    environment.json   command, commit and whether the tree was clean, versions, machine
    data.json          per dataset and split: expected, excluded, used, hash of the ids
    clips.json.gz      of a training: ids, windows and hashes of its clips, which later runs compare theirs with
    priors.json        number of training examples of each class by task; in an evaluation, those used for adjustment
    exclusions.csv     every record that was left out, with the reason
    log/metrics.csv    what was logged during training
    log/run.log        messages, warnings and the stack trace of a failure
    checkpoints/       best.ckpt and last.ckpt: trained weights, buffers and optimiser
    predictions.jsonl  one prediction a line; every number can be computed again from it
    content_free.json  with evaluation.calibration=contextual, the answers to prompts without content
    metrics.json       the results, with the number of rows behind each
    transcripts.json   if a speech recogniser made transcripts: which one, and of how many clips
    knowledge.json     if prompts show descriptions: who generated them, and their cost
    leak.json          likewise: what they reveal about the label
"""

import contextlib
import csv
import hashlib
import io
import itertools
import json
import os
import platform
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import Enum
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf

from affect import __version__
from affect.config import Config, ConfigError, DataError, NothingAnswered, read_yaml, to_json, to_yaml
from affect.config.logs import FOLLOWED, LOG, is_first
from affect.config.roles import differences, kept
from affect.data import Prediction, clip_rows
from affect.data.annotations import Annotations
from affect.data.files import write_atomic, write_json
from affect.data.overlap import Contents
from affect.data.part import Part
from affect.data.tables import for_spreadsheets
from affect.data.trained_on import trained_models
from affect.runs import ledger
from affect.runs.identity import configuration_sha256
from affect.runs.lifecycle import now, state

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


OUTPUTS = (
    *("metrics.json", "predictions.jsonl", "data.json", "exclusions.csv", "priors.json", "content_free.json"),
    *("transcripts.json", "knowledge.json", "leak.json", "log/metrics.csv", "log/run.log"),
)
"""Outputs of a run beside config.yaml, environment.json, status.json and checkpoints."""

NAMED = 4
"""Number of keys that a message about two configurations names."""


def create(cfg: Config, program: str, job_folder: str | None) -> Path:
    """Makes the folder of a new run and writes config.yaml and environment.json.

    With resume=… it is that folder: environment.json gets an entry, and config.yaml the places and the settings without
    effect on results that are given now. A process that follows another one gets that one's folder and writes nothing.
    `job_folder` is the folder of this job of a multirun (`check_unused` says when it is refused). Otherwise the name
    has time, program, data and model, and a number where that name is taken; making the folder decides between two runs
    of the same second.
    """
    if not is_first():
        return Path(os.environ[FOLLOWED])
    if cfg.resume is not None:
        folder = Path(cfg.resume)
        environment_then = _read_json(folder / "environment.json")
        again = {"time": now(), **environment(program)}
        write_json(folder / "environment.json", environment_then | {"resumed": [*environment_then["resumed"], again]})
        _write_config(folder, cfg)
        return folder
    if job_folder is not None:
        folder = Path(job_folder)
        check_unused(folder, cfg)
        folder.mkdir(parents=True, exist_ok=True)
        for name in OUTPUTS:  # of a run of the same configuration that ended before it had saved anything
            (folder / name).unlink(missing_ok=True)
    else:
        subject = f"{'+'.join(cfg.datasets)}_{cfg.model.name}_{cfg.modalities}_s{cfg.seed}"
        stem = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{program}_{subject}"
        folder = _make_new(Path(cfg.output_root), stem)
    ours = {**environment(program), "configuration_sha256": configuration_sha256(kept(cfg))}
    write_json(folder / "environment.json", ours)
    _write_config(folder, cfg)  # last: what has one is a run folder
    return folder


def _write_config(folder: Path, cfg: Config) -> None:
    text = to_yaml(kept(cfg))
    write_atomic(folder / "config.json", to_json(kept(cfg), text))
    write_atomic(folder / "config.yaml", text)


class Beginning(Enum):
    """How a job goes on in its folder."""

    anew = "anew"
    """Nothing is there, or nothing that was saved."""
    resumed = "resumed"
    """From the checkpoint of a training that was stopped, killed or failed."""
    done = "done"
    """Not at all: it has its numbers."""
    done_by_other_code = "done_by_other_code"
    running = "running"
    """Not here: another process runs it."""


def beginning(folder: Path, cfg: Config) -> Beginning:
    """How a job with this configuration goes on in `folder`. Raises ConfigError where it cannot, because the folder is
    that of another configuration, or damaged."""
    if not (folder / "config.yaml").is_file():
        return Beginning.anew
    environment_then = _read_json(folder / "environment.json")
    # Reading config.yaml takes 50 times as long. Labels that annotations declare are not yet in the job's own hash.
    known = [environment_then.get("configuration_sha256")]
    if (folder / "job.json").is_file():
        known.append(_read_json(folder / "job.json").get("configuration_sha256"))
    if configuration_sha256(cfg) not in known:
        _check_same_configuration(folder, cfg)
    now = status_of(folder)["state"]
    if now == "running":
        return Beginning.running
    if now == "finished":
        if not (folder / "metrics.json").is_file():
            raise ConfigError(
                f"{folder} is the folder of a finished run, but its metrics.json is lost: restore the file, or delete"
                " the folder to run it again"
            )
        return Beginning.done_by_other_code if check_same_code(folder) else Beginning.done
    if environment_then["program"] == "train" and any((folder / "checkpoints").glob("*.ckpt")):
        return Beginning.resumed
    return Beginning.anew


def check_unused(folder: Path, cfg: Config) -> None:
    """Raises ConfigError where `folder` belongs to a run that a new run of `cfg` must not replace: one with another
    configuration, a finished or running one, and one with checkpoints."""
    found = beginning(folder, cfg)
    if found is Beginning.anew:
        return
    remedy = "choose another folder (hydra.sweep.dir), or delete this one"
    if found is Beginning.resumed:
        raise ConfigError(
            f"{folder} is the folder of a run of this configuration that was {status_of(folder)['state']} and has saved"
            f" its training: continue it, python train.py resume={folder}, or delete the folder to begin anew"
        )
    if found is Beginning.running:
        raise ConfigError(f"{folder} is the folder of a run that is still running: wait for it, or stop it first")
    changed = "; ".join(check_same_code(folder))
    by = f", made by other code or libraries ({changed})" if changed else ""
    raise ConfigError(f"{folder} is the folder of a finished run of this configuration{by}: {remedy}")


def _check_same_configuration(folder: Path, cfg: Config) -> None:
    different = [f"{key}={then}, and not {key}={now}" for key, (then, now) in _differences(folder, cfg).items()]
    if different:
        more = f"; and so in {len(different) - NAMED} more keys" if len(different) > NAMED else ""
        raise ConfigError(
            f"{folder} is the folder of a run with {'; with '.join(different[:NAMED])}, as this job has{more}. A run"
            " folder belongs to one configuration: choose another folder (hydra.sweep.dir), or delete this one"
        )


def _differences(folder: Path, cfg: Config) -> dict[str, tuple[Any, Any]]:
    ours = OmegaConf.to_container(OmegaConf.structured(cfg), enum_to_str=True)
    assert isinstance(ours, dict)
    different = differences(read_yaml(folder / "config.yaml"), ours)
    # A task that declares no labels has those of its training rows, once these are read.
    return {key: pair for key, pair in different.items() if not (key.endswith(".labels") and pair[1] == [])}


def was_resumed(folder: Path) -> bool:
    """Whether the run of `folder` is continued by resume=…: only then are its checkpoints used."""
    return bool(_read_json(folder / "environment.json")["resumed"])


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


def environment(program: str) -> dict[str, Any]:
    """Program, versions, commit and machine: what results depend on beside the configuration."""
    return {
        "program": program,
        "affect": __version__,
        "code_sha256": code_sha256(),
        "command": sys.argv,
        **_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "gpus": _gpus(),
        "versions": _versions(),
        "resumed": [],
    }


def start_note(words: Sequence[str]) -> dict[str, Any]:
    """What sweep.json keeps of one start of a multirun."""
    return {
        "time": now(),
        "words": list(words),
        "folder": os.getcwd(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "affect": __version__,
        "code_sha256": code_sha256(),
        **_commit(),
    }


@cache
def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


@cache
def _gpus() -> list[str]:
    """Names of the machine's NVIDIA GPUs; torch, which knows them too, takes seconds to import."""
    words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []


@cache
def _commit() -> dict[str, Any]:
    def git(*words: str) -> str:
        root = Path(__file__).resolve().parent
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}  # installed from a package, or without git: there is no commit to name


@cache
def code_sha256() -> str:
    """Hash of affect's source when first called. It tells whether two runs had the same code, also without git and with
    a modified tree."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


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


def write_data(folder: Path, parts: list[Part], lost: dict[str, str]) -> None:
    """Writes what a run's numbers stand on: counts, and hashes of the ids used, of every split."""
    write_json(folder / "data.json", {"parts": [part.account() for part in parts], "lost_during_the_run": lost})


def write_clips(folder: Path, cfg: Config, parts: list[Part], contents: Contents) -> None:
    """Keeps what identifies the clips of a training, and those that its checkpoint was trained on before. `contents`
    are what is known of their files."""
    rows = clip_rows.rows([record for part in parts for record in part.records], contents)
    earlier = [
        {"readers": dict(model.readers), "rows": clip_rows.rows(model.records, model.contents)}
        for model in trained_models(cfg)
    ]
    clip_rows.write(folder, rows, {name: dataset.reader for name, dataset in cfg.datasets.items()}, earlier)


def check_same_data(folder: Path, parts: list[Part], contents: Contents) -> None:
    """Raises ConfigError where `parts` are not what the run in `folder` was begun with: other clips, or clips whose
    transcript, labels, window or file has changed. A run that was killed before it knew has nothing to compare.

    `contents` are what is known of the clips' files.
    """
    if not (folder / "data.json").is_file():
        return
    parts_then = {(part["dataset"], part["split"]): part for part in _read_json(folder / "data.json")["parts"]}
    clips_then = clip_rows.read(folder)
    problems = []
    for part in parts:
        now, then = part.account(), parts_then[part.dataset, part.split]
        where = f"{part.dataset}, split '{part.split}', is not what run={folder} was begun with"
        remedy = "restore the data, or train anew"
        if now["ids_sha256"] != then["ids_sha256"]:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in now["reasons"].items()) or "none"
            problems.append(
                f"{where}: {then['used']:,} clips"
                f" were used then, {now['used']:,} can be now (left out: {reasons}): {remedy}"
            )
            continue
        if clips_then is None:
            continue
        before = [row for row in clips_then["rows"] if (row["dataset"], row["split"]) == (part.dataset, part.split)]
        rows = clip_rows.rows(part.records, contents)
        sources = {record.id: record.source for record in part.records}
        changed = [
            f"{key} ({sources[key]}: {', '.join(words)})" if sources[key] else f"{key} ({', '.join(words)})"
            for key, words in clip_rows.changes(before, rows)
        ]
        if changed:
            more = f" and {len(changed) - SHOWN:,} more" if len(changed) > SHOWN else ""
            problems.append(
                f"{where}: of {len(rows):,} clips these have changed: {', '.join(changed[:SHOWN])}{more}: {remedy}"
            )
        elif [row["id"] for row in before] != [row["id"] for row in rows]:
            problems.append(f"{where}: the {len(rows):,} clips are in another order: {remedy}")
    if problems:
        raise ConfigError("\n".join(problems))
    if clips_then is None:
        LOG.info(
            f"run={folder} was begun by a version of affect that kept no {clip_rows.FILE}: only the ids of its clips"
            " were compared, and changes of transcripts, labels, windows or files cannot be seen"
        )


def changed_annotations(folder: Path, read: Callable[[str], Annotations]) -> list[str]:
    """A phrase for each split whose annotations are not those of the run in `folder`. `read` gives those of a dataset,
    by its name. Files of clips are not looked at, nor runs of versions that kept no hash."""
    path = folder / "data.json"
    return [
        f"{part['dataset']}, split '{part['split']}'"
        for part in (_read_json(path)["parts"] if path.is_file() else [])
        if part.get("annotations_sha256") not in (None, read(part["dataset"]).sha256(part["split"]))
    ]


SHOWN = 3
"""Number of changed clips that a message names."""


def program_of(folder: Path) -> str:
    """train or evaluate: the program that made the run folder."""
    return _read_json(folder / "environment.json")["program"]


def check_same_code(folder: Path) -> list[str]:
    """A phrase for each difference in code and libraries since the run of `folder` began."""
    then = _read_json(folder / "environment.json")
    now = environment(then["program"])
    changed = []
    if then["code_sha256"] != now["code_sha256"]:
        changed.append(f"affect's code (begun with version {code_in_words(then)}, and this is {code_in_words(now)})")
    changed += [
        f"{name} ({then['versions'][name]} then, {now['versions'][name]} now)"
        for name in LIBRARIES
        if then["versions"][name] != now["versions"][name]
    ]
    return changed


def code_in_words(environment: dict[str, Any]) -> str:
    """Version and commit, and the first digits of the hash, by which two states of a modified tree are told apart."""
    commit = f", commit {environment['commit'][:12]}" if environment["commit"] else ""
    return f"{environment['affect']}{commit}, code {environment['code_sha256'][:8]}"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The contents of a run folder that tables need."""

    folder: Path
    config: dict[str, Any]
    status: dict[str, Any]
    metrics: dict[str, Any] | None

    @property
    def model(self) -> str:
        """The name of the model, for a server with the name of the served model."""
        model = self.config["model"]
        return f"{model['name']} {model['served']}" if "served" in model else model["name"]


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
    metrics, status = folder / "metrics.json", status_of(folder)
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
        status=status,
        metrics=_read_json(metrics) if metrics.is_file() else None,
    )


def status_of(folder: Path) -> dict[str, Any]:
    """status.json with the present state. Raises ConfigError where it is damaged."""
    path = folder / "status.json"
    stated = _read_json(path) if path.is_file() else {"state": "not begun"}  # killed in its first moments
    return stated | {"state": state(stated)}


KEYS = frozenset(field.name for field in fields(Config) if field.default is MISSING)
"""Keys that the configuration of every run has: the groups. Older runs have the default of a newer key."""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("it has no keys and values")
        return value
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}): restore the file, or delete {path.parent} and run again"
        ) from error


def _runs_in(folder: Path) -> list[str]:
    """The newest run folders in `folder`."""
    return sorted((p.parent.name for p in folder.glob("*/config.yaml")), reverse=True)[:3]
