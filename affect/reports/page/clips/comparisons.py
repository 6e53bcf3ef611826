"""What runs of one task are called, and which of them differ in their modalities alone, or in their descriptions."""

import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from affect.reports.aggregate import columns
from affect.reports.page.clips.predictions import TaskColumns
from affect.reports.sections import heading
from affect.reports.settings import CONTROL, Run, grouped_by, idle, settings

VARIED = (
    # A modality that is left out takes its description with it.
    re.compile(r"modalities|prompting\.descriptions"),
    re.compile(r"knowledge\..*|prompting\.(name|[a-z_]*description[a-z_]*)(\..*)?"),
)
"""Keys that runs may differ in for what modalities do, and descriptions; with `training.` before them too."""


def compare(task: TaskColumns, runs: Mapping[int, Run]) -> None:
    """Adds to every run of a task: `setting`, what its row of a report would show, by heading; `modalities`,
    `described`; and `alike`, two numbers, equal for runs that differ in nothing but modalities, and descriptions."""
    numbers = [column["run"] for column in task.runs]
    settings_of = [settings(runs[number], task.name) for number in numbers]
    idle_in = [idle(runs[number]) for number in numbers]
    keys = columns(settings_of, idle_in)
    # What one of two runs has no use for does not part them: without sound, how sound is encoded.
    unused: dict[tuple[str, str], set[str]] = {}
    for each, without_effect in zip(settings_of, idle_in, strict=True):
        unused.setdefault(_family(each), set()).update(key for key in each if without_effect(key))
    groups: tuple[dict[Hashable, int], dict[Hashable, int]] = ({}, {})
    several_seeds = len({runs[number].seed for number in numbers}) > 1
    for column, each, without_effect in zip(task.runs, settings_of, idle_in, strict=True):
        run = runs[column["run"]]
        setting = {heading(key): each[key] for key in keys if key in each and not without_effect(key)}
        column["setting"] = setting | ({"seed": str(run.seed)} if several_seeds else {})
        column["modalities"] = run.summary.config["modalities"]
        column["described"] = "" if without_effect("prompting.descriptions") else _described(each)
        column["alike"] = [
            group.setdefault((grouped_by(each, _without(unused[_family(each)], varied)), run.seed), len(group))
            for varied, group in zip(VARIED, groups, strict=True)
        ]


def _family(of_run: Mapping[str, str]) -> tuple[str, str]:
    return of_run["model.name"], of_run["tuning"]


def _without(unused: set[str], varied: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda key: key in unused or varied.fullmatch(key.removeprefix("training.")) is not None


def _described(of_run: Mapping[str, Any]) -> str:
    """Which descriptions the prompts of a run show, by whom and after which control; empty for none."""
    names = ", ".join(of_run.get("prompting.descriptions", "[]").strip("[]").split(","))
    if not names:
        return ""
    control = of_run.get(CONTROL, "none")
    return f"{names} by {of_run.get('knowledge.source', '?')}" + ("" if control == "none" else f", {control}")
