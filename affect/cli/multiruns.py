"""Multiruns of train.py and evaluate.py, one after another in one process, for commands that need several."""

import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from affect.config.roles import OF_MULTIRUNS, ROOTS
from affect.runs.sweep_points import quoted

OF_EVERY_JOB = (*ROOTS, "output_root", *OF_MULTIRUNS, "launcher", "hydra")
"""Words that an evaluation of runs is given too; all others come with the run that it evaluates."""


def run(program: str, words: Sequence[str], folder: Path) -> str | None:
    """Runs a multirun in `folder`, in this process. Gives what it says where a job did not finish; raises SystemExit
    where the user stopped it."""
    before = sys.argv
    sys.argv = [f"{program}.py", "-m", *words, f"hydra.sweep.dir={quoted(str(folder))}"]
    try:
        import_module(f"affect.cli.{program}").main()
    except SystemExit as end:
        if isinstance(end.code, int) and end.code:
            raise
        return str(end.code) if end.code else None
    finally:
        sys.argv = before
    return None


def evaluate(trained: Path, words: Sequence[str], folder: Path) -> str | None:
    """Evaluates every run with numbers in the folder of a multirun of trainings, as a multirun in `folder`; nothing
    where there is none. Gives and raises what `run` does."""
    runs = [inside for inside in sorted(trained.glob("*/")) if (inside / "metrics.json").is_file()]
    if not runs:
        return None
    named = f"run={','.join(quoted(str(run)) for run in runs)}"
    return run("evaluate", [named, *words, "hydra.sweep.subdir=run_${affect.configuration:}"], folder)


def of_every_job(words: Sequence[str]) -> list[str]:
    """Those of the words of a training that an evaluation of it is given too."""
    return [word for word in words if re.split("[.=/]", word.lstrip("+~"))[0] in OF_EVERY_JOB]
