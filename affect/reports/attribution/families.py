"""Which runs belong together: those of one model, or one way of training, with every subset of the modalities.

Two kinds of families must not be mixed: one model that was trained on all modalities (or not at all) and is evaluated
on subsets, and a model trained for each subset. In the first a modality is missed by a model that has learnt to rely on
it; in the second the other modalities could learn to stand in for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from affect.config import MODALITIES
from affect.config.intervention import Intervention, InterventionConfig, as_group
from affect.evaluation.attribution import subsets
from affect.reports.aggregate import newest
from affect.reports.sections import numbered
from affect.reports.settings import Run, idle, settings, signature
from affect.runs.run_environment import program_of

Numbered = tuple[int, Run]
"""A run with its number in the report."""


class Flavour(str, Enum):
    zero_shot = "zero-shot, one model evaluated on every subset"
    evaluated = "one trained model evaluated on every subset"
    trained = "a model trained on every subset"


@dataclass(slots=True, kw_only=True)
class Family:
    flavour: Flavour
    modalities: str
    """All of them."""
    runs: dict[str, dict[int, Numbered]]
    """By subset and seed."""
    changed: dict[str, dict[int, Numbered]] = field(default_factory=dict)
    """Runs with all modalities and an intervention, by its name and by seed."""
    notes: list[str] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        """Those that every subset has."""
        return sorted(set.intersection(*(set(self.runs.get(subset, ())) for subset in self.wanted)))

    @property
    def wanted(self) -> list[str]:
        return subsets(self.modalities)[1:]

    @property
    def missing(self) -> list[str]:
        """Subsets without a run."""
        return [subset for subset in self.wanted if not self.runs.get(subset)]

    @property
    def anchor(self) -> Numbered:
        """A run with all modalities, or the nearest to it."""
        nearest = max((subset for subset, runs in self.runs.items() if runs), key=lambda name: (len(name), name))
        return self.runs[nearest][min(self.runs[nearest])]


def letters(config: Mapping[str, Any]) -> str:
    """The modalities of a configuration in the order of MODALITIES."""
    return "".join(letter for letter in MODALITIES if letter in config["modalities"])


def intervention(config: Mapping[str, Any]) -> str:
    """What was changed in the clips, with its strengths; empty where nothing was."""
    group = as_group(dict(config))["intervention"]
    if group["name"] not in Intervention.__members__:
        return str(group["name"])  # of a newer version
    changed = InterventionConfig(**group | {"name": Intervention(group["name"])})
    return "" if changed.name is Intervention.none else str(changed)


def families(runs: Sequence[Run], task: str) -> list[Family]:
    """The families of a task, complete or not; of each subset and seed the newest run. A run with two modalities or
    more is in at least one."""
    of_task = [
        (number, run)
        for number, run in enumerate(runs, 1)
        if run.counts and run.summary.metrics["tasks"].get(task, {}).get("n_scored")
    ]
    plain = [(number, run) for number, run in of_task if not intervention(run.summary.config)]
    result = []
    for group in _alike(plain, task):
        result += _zero_shot(group, task) + _evaluated(group, task) + _trained(group, task)
    for family in result:
        _add_changed(family, of_task, task)
    return result


DECIDED = ("modalities", "prompting.descriptions")
"""Keys of `settings` that a family differs in: the second are the descriptions shown, which follow from the first."""


def _alike(entries: Sequence[Numbered], task: str) -> list[list[Numbered]]:
    """Runs that differ in seed, modalities and what the modalities decide alone."""
    groups: list[tuple[_Setting, list[Numbered]]] = []
    # The widest come first, since all keys that any run of a group has a use for are in effect there.
    for entry in sorted(entries, key=lambda entry: -len(entry[1].summary.config["modalities"])):
        own = _Setting(entry[1], task)
        fitting = next((group for setting, group in groups if own.is_like(setting)), None)
        if fitting is None:
            groups.append((own, [entry]))
        else:
            fitting.append(entry)
    return [group for _, group in groups]


class _Setting:
    """What a run's numbers depend on beside seed, modalities and intervention."""

    def __init__(self, run: Run, task: str) -> None:
        without_effect = idle(run)
        self.tuning = run.tuning
        self.descriptions = run.summary.config["prompting"].get("descriptions", [])
        self.values = {}
        for key, value in (settings(run, task) | signature(run, task, headline=True)).items():
            plain = key.removeprefix("training.")
            if plain not in DECIDED and not plain.startswith("intervention") and not without_effect(key):
                self.values[key] = value

    def is_like(self, other: "_Setting") -> bool:
        # What only one side has a use for (the control of descriptions that the other does not show) parts nothing.
        shared = self.values.keys() & other.values.keys()
        return (
            self.tuning == other.tuning
            and self.descriptions == other.descriptions
            and all(self.values[key] == other.values[key] for key in shared)
        )


def alike(one: Run, other: Run, task: str) -> bool:
    """Whether the numbers of two runs differ in modalities, intervention and seed alone."""
    return _Setting(one, task).is_like(_Setting(other, task))


def trained_in(run: Run) -> Path:
    """The folder of the training that made the model of a run."""
    if program_of(run.folder) == "train":
        return run.folder.resolve()
    named = Path(run.summary.config["run"])
    beside = run.folder.parent / named.name  # both may have been moved
    return (named if named.is_dir() or not beside.is_dir() else beside).resolve()


def _by_subset(entries: Sequence[Numbered], task: str, notes: list[str]) -> dict[str, dict[int, Numbered]]:
    grouped: dict[str, list[Numbered]] = {}
    for number, run in entries:
        grouped.setdefault(letters(run.summary.config), []).append((number, run))
    return {subset: {entry[1].seed: entry for entry in newest(group, task, notes)} for subset, group in grouped.items()}


def _widest(runs: Mapping[str, object]) -> str:
    found = {letter for subset in runs for letter in subset}
    return "".join(letter for letter in MODALITIES if letter in found)


def _zero_shot(group: Sequence[Numbered], task: str) -> list[Family]:
    notes: list[str] = []
    runs = _by_subset([entry for entry in group if entry[1].training is None], task, notes)
    whole = _widest(runs)
    return [Family(flavour=Flavour.zero_shot, modalities=whole, runs=runs, notes=notes)] if len(whole) > 1 else []


def _trained(group: Sequence[Numbered], task: str) -> list[Family]:
    notes: list[str] = []
    own = [
        entry
        for entry in group
        if entry[1].training is not None and letters(entry[1].training) == letters(entry[1].summary.config)
    ]
    runs = _by_subset(own, task, notes)
    whole = _widest(runs)
    # A training on all modalities alone is the beginning of the other kind of family.
    if len(whole) < 2 or (list(runs) == [whole] and own[0][1].tuning != "trained"):
        return []
    return [Family(flavour=Flavour.trained, modalities=whole, runs=runs, notes=notes)]


def _evaluated(group: Sequence[Numbered], task: str) -> list[Family]:
    """A family for each set of modalities that models were trained on. What is of one training is never mixed with what
    is of another, though it has the same configuration and seed."""
    by_training: dict[Path, list[Numbered]] = {}
    for entry in group:
        if entry[1].training is not None and set(letters(entry[1].summary.config)) <= set(letters(entry[1].training)):
            by_training.setdefault(trained_in(entry[1]), []).append(entry)
    result: dict[str, Family] = {}
    several = {letters(run.training) for _, run in group if run.training is not None}
    for training in sorted(by_training.values(), key=len, reverse=True):
        first = training[0][1]
        assert first.training is not None
        whole, seed = letters(first.training), first.seed
        subsets_there = {letters(run.summary.config) for _, run in training}
        if len(whole) < 2 or (subsets_there == {whole} and (len(several) > 1 or first.tuning == "trained")):
            continue  # one of a model for each subset
        family = result.setdefault(whole, Family(flavour=Flavour.evaluated, modalities=whole, runs={}))
        if any(seed in of_subset for of_subset in family.runs.values()):
            family.notes.append(
                f"{numbered([number for number, _ in training])}: not mixed with the other runs of {task}, since they"
                f" are of another training of the same configuration and seed {seed}"
            )
            continue
        for subset, of_seed in _by_subset(training, task, family.notes).items():
            family.runs.setdefault(subset, {}).update(of_seed)
    return list(result.values())


def _add_changed(family: Family, entries: Sequence[Numbered], task: str) -> None:
    whole = family.runs.get(family.modalities, {})
    for number, run in entries:
        name = intervention(run.summary.config)
        beside = whole.get(run.seed)
        if not name or beside is None or letters(run.summary.config) != family.modalities:
            continue
        same_model = (
            run.training is None
            if beside[1].training is None
            else run.training is not None and trained_in(run) == trained_in(beside[1])
        )
        if same_model and alike(run, beside[1], task):
            family.changed.setdefault(name, {})[run.seed] = (number, run)
