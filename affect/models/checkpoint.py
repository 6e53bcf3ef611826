"""Loads what a run has trained into a model."""

import pickle
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from affect.config import ConfigError, FinetuningConfig, Target, Task
from affect.models import adapters, heads
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
"""What loading a file that is no checkpoint, or half of one, and looking into it raises."""

BEST = Path("checkpoints") / "best.ckpt"


def restore(
    model: nn.Module, finetuning: FinetuningConfig, run: Path, tasks: Iterable[Task] = ()
) -> list[adapters.TowerCount]:
    """Turns a model as it was loaded into the one that a run has trained: heads, adapters, best checkpoint.

    `finetuning` is the run's, and `tasks` are those that it was trained on: needed only where it trained heads. Gives
    the trained parameters by tower. Raises ConfigError as `load_best` does.
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
    adapters.load_trained_state(model, checkpoint["state_dict"], source)


def load_best(load: Callable[[Mapping[str, Any], str], None], run: Path) -> dict[str, Any] | None:
    """Gives the best checkpoint of a run to `load`, with the name that errors call it by. Returns the validation it was
    chosen by, see affect.evaluation.metrics.summary.brief; None for a checkpoint of an older version.

    Raises ConfigError where there is none, where it is damaged, and where it does not fit.
    """
    path = run / BEST
    if not path.is_file():
        raise ConfigError(f"run={run} has no {BEST}: its training did not get as far as a validation; name another run")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint["state_dict"]  # raises where this is a file of another kind
    except UNREADABLE as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"{path} cannot be read ({why}): it is damaged; train again or name another run") from error
    load(checkpoint, str(path))
    return checkpoint.get("validation")
