"""The script that runs again what the numbers of a pack come from."""

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affect.config import ConfigError
from affect.config.roles import OF_MULTIRUNS, ROOTS, leaves
from affect.data.escaping import one_line
from affect.reports.paper.methods import code
from affect.reports.paper.names import unique
from affect.reports.settings import Run, describes, some
from affect.runs.jobs import read_note
from affect.runs.run_summary import RunSummary, read
from affect.runs.sweep_points import quoted

NOT_AGAIN = (*ROOTS, *OF_MULTIRUNS, "output_root", "sweep", "launcher", "dry_run", "resume", "hydra")
"""Words that say where a run lies, or how its multirun was started; the script says that itself."""

OUT = "$OUT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A run, as the script runs it again."""

    name: str
    folder: Path
    environment: Mapping[str, Any]
    words: list[str]
    """Quoted for a shell."""


def script(runs: Mapping[int, Run], named: Mapping[int, str]) -> tuple[str, list[str]]:
    """The script, and a sentence for everything in it that may not come out as it did, or cannot be run at all. `runs`
    are by number, `named` their names."""
    known = {run.folder.resolve(): named[n] for n, run in runs.items()}
    steps: dict[Path, Step] = {}
    problems: list[str] = []
    for run in sorted(runs.values(), key=lambda run: str(run.summary.status.get("started"))):
        _add(run.summary, known, steps, problems)
    problems += _differences(list(steps.values()))
    return _written(list(steps.values()), problems), problems


def _add(summary: RunSummary, known: dict[Path, str], steps: dict[Path, Step], problems: list[str]) -> str | None:
    """Adds the step of a run, after those of the runs that it goes on from; gives its name, None where it cannot be run
    again."""
    folder = summary.folder.resolve()
    if folder in steps:
        return steps[folder].name
    if folder not in known:
        [known[folder]] = unique([folder.name], taken=list(known.values()))
    name = known[folder]
    words, environment = words_of(folder), _environment(folder)
    if words is None or "program" not in environment:
        problems.append(f"{summary.folder} cannot be run again: its command is not known")
        return None
    trained: str | None = None
    if summary.config["run"] is not None:
        try:
            before = read(_there(Path(summary.config["run"]), folder))
        except ConfigError:
            problems.append(f"{summary.folder} cannot be run again: {summary.config['run']}, its model, is not there")
            return None
        if (trained := _add(before, known, steps, problems)) is None:
            problems.append(f"{summary.folder} cannot be run again: neither can {before.folder}, its model")
            return None
    again = list(_again(words, summary.config, trained))
    steps[folder] = Step(name=name, folder=summary.folder, environment=environment, words=again)
    return name


def words_of(folder: Path) -> list[str] | None:
    """The words of the command line that made a run; of a job of a multirun, those of that job. None where they are not
    known."""
    if (folder / "job.json").is_file():
        return read_note(folder / "job.json").get("words")
    command = _environment(folder).get("command")
    if not command:
        return None
    _, *words = command
    return words if all("=" in word or word.startswith("~") for word in words) else None


def _environment(folder: Path) -> dict[str, Any]:
    path = folder / "environment.json"
    return read_note(path) if path.is_file() else {}


def _there(run: Path, evaluation: Path) -> Path:
    """A run that an evaluation names; it may have been moved together with it."""
    return run if (run / "config.yaml").is_file() else evaluation.parent / run.name


def _again(words: Sequence[str], config: Mapping[str, Any], trained: str | None) -> Iterator[str]:
    values = dict(leaves(config))
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if re.split(r"[./@]", key)[0] in NOT_AGAIN:
            continue
        value = values.get(key)
        if key == "run" and trained is not None:
            yield f"\"run='{OUT}/{trained}'\""
        elif isinstance(value, str) and os.path.isabs(value):  # a path may have been relative to another folder
            yield _place(key, value)
        else:
            yield shlex.quote(word)
    if describes(config) and not any(word.startswith("knowledge.make=") for word in words):
        yield "knowledge.make=true"
    for root in ROOTS:
        yield _place(root, config[root])


def _place(key: str, path: str) -> str:
    plain = re.fullmatch(r"[A-Za-z0-9_./-]+", path)
    return shlex.quote(f"{key}={path if plain else quoted(path)}")


def _differences(steps: Sequence[Step]) -> Iterator[str]:
    describers = [step.name for step in steps if any(word.startswith("knowledge.mllm_run=") for word in step.words)]
    if describers:
        yield f"the run that generated the descriptions (knowledge.mllm_run) is not run again: {some(describers)}"
    changed = [step.name for step in steps if step.environment.get("dirty")]
    if changed:
        yield f"made with changes of the code that are in no commit, so that it does not tell all: {some(changed)}"
    nowhere = [step.name for step in steps if not step.environment.get("commit")]
    if nowhere:
        yield f"made by an installed affect without a commit, so that only a hash tells its code: {some(nowhere)}"
    for what, count in (
        ("states of the code", len({step.environment.get("code_sha256") for step in steps})),
        ("sets of versions of libraries", len({str(step.environment.get("versions")) for step in steps})),
        ("machines", len({step.environment.get("platform") for step in steps})),
    ):
        if count > 1:
            yield f"the runs were made with {count} {what}, and the script runs all of them with one"


def constraints(environments: Iterable[Mapping[str, Any]]) -> str:
    """The commonest versions of libraries in some environment.json, for pip's --constraint."""
    counts: dict[str, Counter[str]] = {}
    for environment in environments:
        for name, version in {"Python": environment.get("python"), **(environment.get("versions") or {})}.items():
            if version is not None:
                counts.setdefault(name, Counter())[version] += 1
    commonest = {name: versions.most_common(1)[0][0] for name, versions in counts.items()}
    python = commonest.pop("Python", "of an unknown version")
    lines = [f"# Python {python}", *(f"{name}=={version}" for name, version in commonest.items())]
    return "".join(f"{one_line(line)}\n" for line in lines)


HEAD = """#!/usr/bin/env bash
# Runs again what the numbers of this pack come from, and compares them with numbers.csv.
#
#   bash reproduce.sh                                    new runs go to ./reproduced
#   OUT=/big/disk DATA_ROOT=/data CACHE_ROOT=/cache PYTHON=python3.11 bash reproduce.sh
#
# Started again, it goes on where it stopped. The code, and the versions of libraries (constraints.txt):
{code}
# What may not come out the same:
{problems}
set -euo pipefail
HERE=$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)
OUT=${{OUT:-$PWD/reproduced}}
PYTHON=${{PYTHON:-python}}
CODE=$("$PYTHON" -c 'from affect.runs.run_environment import code_sha256; print(code_sha256())')

# again NAME HASH_OF_THE_CODE PROGRAM WORD...
again() {{
  local name=$1 code=$2 program=$3
  shift 3
  [ "$CODE" = "$code" ] || echo "$name was made by other code than this ($code), and its numbers may differ" >&2
  set -- "$@" "output_root='$OUT'" "hydra.sweep.dir='$OUT'" "hydra.sweep.subdir='$name'"
  if [ -n "${{DATA_ROOT:-}}" ]; then set -- "$@" "data_root='$DATA_ROOT'"; fi
  if [ -n "${{CACHE_ROOT:-}}" ]; then set -- "$@" "cache_root='$CACHE_ROOT'"; fi
  "$PYTHON" -m affect "$program" -m "$@"
}}
"""

TAIL = """
"$PYTHON" -m affect paper "$OUT" --folder "$OUT/paper_$(date +%Y-%m-%d_%H-%M-%S)" --expect "$HERE/numbers.csv"
"""


def _written(steps: Sequence[Step], problems: Sequence[str]) -> str:
    codes = dict.fromkeys(_install(step.environment) for step in steps)
    rounding = "last digits, on another processor or GPU"
    head = HEAD.format(
        code="\n".join(f"#   {one_line(line)}" for line in codes),
        problems="\n".join(f"#   - {one_line(line)}" for line in [*problems, rounding]),
    )
    blocks = [head]
    for step in steps:
        code_and_program = (str(step.environment.get("code_sha256")), str(step.environment["program"]))
        blocks.append(" \\\n  ".join([f"again {step.name} {shlex.join(code_and_program)}", *step.words]) + "\n")
    return "\n".join(blocks) + TAIL


def _install(environment: Mapping[str, Any]) -> str:
    install = "pip install --constraint constraints.txt"
    if environment.get("commit"):
        return f"git checkout {environment['commit']} && {install} .   # affect {code(environment)}"
    return f"affect {code(environment)}, installed with {install}"
