"""The command that makes the runs which a family lacks."""

import json
import re
import shlex
from collections.abc import Sequence

from affect.config.roles import OF_MULTIRUNS
from affect.reports.attribution.families import Family, Flavour, trained_in
from affect.reports.settings import Run
from affect.runs.jobs import read_note
from affect.runs.sweep_points import quoted

OWN = ("modalities", "seed", "sweep", "run", "dry_run", "resume", *OF_MULTIRUNS)
"""Keys that a new command gives by itself, or does without."""


def command(family: Family) -> str:
    """The command line by which the missing runs of a family are made; with a family of several seeds, those of all of
    them."""
    _, run = family.anchor
    subsets = ",".join(family.missing or _lacking_a_seed(family))
    seeds = sorted({seed for runs in family.runs.values() for seed in runs})
    words = [word for word in _words(run) if _key(word) not in OWN and not _key(word).startswith("hydra.")]
    if family.flavour is Flavour.evaluated:
        trainings = dict.fromkeys(str(trained_in(each)) for runs in family.runs.values() for _, each in runs.values())
        of_evaluation = words if run.training is not run.summary.config else []
        return _line(
            "evaluate.py", [f"run={','.join(map(_as_value, trainings))}", f"modalities={subsets}", *of_evaluation]
        )
    program = "train.py" if family.flavour is Flavour.trained else "evaluate.py"
    return _line(program, [*words, f"modalities={subsets}", f"seed={','.join(map(str, seeds))}"])


def _lacking_a_seed(family: Family) -> list[str]:
    seeds = {seed for runs in family.runs.values() for seed in runs}
    return [subset for subset in family.wanted if seeds - set(family.runs[subset])]


def _line(program: str, words: Sequence[str]) -> str:
    return " ".join(["python", program, "-m", *map(shlex.quote, words)])


def _key(word: str) -> str:
    return word.lstrip("+~").split("=", 1)[0]


def _as_value(path: str) -> str:
    """A path as one value of Hydra's grammar, quoted only where it has to be."""
    return path if re.fullmatch(r"[\w./-]+", path, re.ASCII) else quoted(path)


def _words(run: Run) -> list[str]:
    """The words of the command that made a run: those of its job in a multirun, or of its own command line."""
    job = run.folder / "job.json"
    if job.is_file():
        return list(read_note(job)["words"])
    command = json.loads((run.folder / "environment.json").read_text(encoding="utf-8"))["command"]
    return [word for word in command[1:] if "=" in word]
