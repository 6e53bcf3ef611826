"""Loads the trained weights of a run into a model."""

import pickle
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from affect.config import ConfigError, FinetuningConfig, Target, Task
from affect.models import adapters, heads, trained_tensors
from affect.models.base_sample import check_base

UNREADABLE = (
    RuntimeError,
    OSError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    pickle.UnpicklingError,
)
"""What torch.load and reading the contents raise for a truncated file or one that is no checkpoint."""

BEST = Path("checkpoints") / "best.ckpt"


def restore(
    model: nn.Module, finetuning: FinetuningConfig, run: Path, tasks: Iterable[Task] = ()
) -> list[adapters.TowerCount]:
    """Turns a freshly loaded model into the trained one of a run: heads, adapters, best checkpoint.

    `finetuning` is the run's, `tasks` are those it was trained on, needed for heads only. Returns the parameter counts
    by tower. Raises ConfigError as `load_best` does.
    """
    if finetuning.target is Target.head:
        heads.attach(model, tasks)
    counts = adapters.apply(model, finetuning, restored=True)
    load_best(partial(load, model), run)
    return counts


def load(model: nn.Module, checkpoint: Mapping[str, Any], source: str) -> None:
    """Puts the trained tensors of a checkpoint into a model to which the same fine-tuning was applied. Raises
    ConfigError, naming `source`, where it is of another base or does not fit."""
    check_base(model, checkpoint.get("base"), source)
    trained_tensors.load_trained_state(model, checkpoint["state_dict"], source)


def load_best(load: Callable[[Mapping[str, Any], str], None], run: Path) -> dict[str, Any] | None:
    """Gives the best checkpoint of a run to `load`, with its path for messages.

    Returns the validation results it was chosen by (affect.evaluation.metrics.summary.brief), None for a checkpoint of
    an older version.

    Raises ConfigError where there is no checkpoint, where it is damaged, and where it does not fit.
    """
    path = run / BEST
    if not path.is_file():
        raise ConfigError(f"run={run} has no {BEST}: its training did not get as far as a validation; name another run")
    try:
        # Mapped: what several processes read is once in the machine's memory.
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        checkpoint["state_dict"]  # raises where this is a file of another kind
    except UNREADABLE as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"{path} cannot be read ({why}): it is damaged; train again or name another run") from error
    load(checkpoint, str(path))
    return checkpoint.get("validation")
