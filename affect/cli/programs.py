"""The commands that take a configuration, and what distinguishes them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    command: str
    """How it is called."""
    makes_runs: bool = False
    """It makes run folders, on one device or several; a repeated multirun skips those that are done."""
    shows_prompts: bool = False
    """It builds the prompts of a model."""
    looks_at_clips: bool = True
    """It needs what `modalities` names."""


PROGRAMS = {
    "train": Program(command="python train.py", makes_runs=True, shows_prompts=True),
    "evaluate": Program(command="python evaluate.py", makes_runs=True, shows_prompts=True),
    "show": Program(command="affect show", shows_prompts=True),
    "score": Program(command="affect score", looks_at_clips=False),
    "doctor": Program(command="affect doctor"),
    "knowledge": Program(command="affect knowledge"),
    "quality": Program(command="affect knowledge quality"),
    "transcribe": Program(command="affect transcribe", looks_at_clips=False),
    "export": Program(command="affect export"),
}

TRANSFERS = ("transfer", "leave_one_out")
"""Files of conf/sweep that stand for several multiruns of both programs (affect/cli/transfer.py)."""
