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
import itertools
import os
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from affect.config import Config, ConfigError, read_yaml, to_json, to_yaml
from affect.config.logs import FOLLOWED, is_first
from affect.config.roles import differences, kept
from affect.data.files import write_atomic, write_json
from affect.runs.identity import configuration_sha256
from affect.runs.lifecycle import now
from affect.runs.run_environment import check_same_code, environment
from affect.runs.run_summary import read_json, status_of

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
        environment_then = read_json(folder / "environment.json")
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
    environment_then = read_json(folder / "environment.json")
    # Reading config.yaml takes 50 times as long. Labels that annotations declare are not yet in the job's own hash.
    known = [environment_then.get("configuration_sha256")]
    if (folder / "job.json").is_file():
        known.append(read_json(folder / "job.json").get("configuration_sha256"))
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
    return bool(read_json(folder / "environment.json")["resumed"])


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
