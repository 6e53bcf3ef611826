"""Common label spaces, so that datasets with different labels can be trained together and tested on each other.

`label_space=NAME` gives every dataset of a run one task, whose labels are those of the space. A label of the dataset's
own task becomes its image there; a clip whose label has none is excluded. label_maps.yaml declares spaces and maps.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from affect.config.dataset import DatasetConfig, LabelMapConfig
from affect.config.errors import ConfigError, near
from affect.config.tasks import Kind, Task, Value
from affect.config.tasks import problems as task_problems

if TYPE_CHECKING:
    from affect.config.schema import Config

DECLARED = Path(__file__).with_name("label_maps.yaml")

SIGNS = ("negative", "neutral", "positive")
"""What an intensity is made before it is mapped."""


@dataclass(slots=True, kw_only=True)
class LabelMap:
    """One map of the file, whose head explains the keys."""

    to: str = MISSING
    labels: dict[str, str | None] = MISSING
    low: float | None = None
    high: float | None = None
    neutral: list[float] = field(default_factory=list)
    why: str = ""
    source: str = ""

    def is_of(self, task: Task) -> bool:
        """Whether it maps the labels, or the range, of a task."""
        if task.kind is Kind.intensity:
            return (self.low, self.high) == (task.low, task.high)
        return self.low is None and set(self.labels) == set(task.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """The spaces and maps of one or several files, by name."""

    spaces: Mapping[str, Task]
    maps: Mapping[str, LabelMap]

    def spaces_of(self, tasks: Iterable[Task]) -> list[str]:
        """The spaces into which all of these tasks can be mapped."""
        those = list(tasks)
        return [
            name
            for name, space in self.spaces.items()
            if all(self.labels_into(space, task) is not None for task in those)
        ]

    def labels_into(self, space: Task, task: Task) -> tuple[dict[str, str | None], list[float]] | None:
        """The image of every label of a task in a space, and the neutral band of an intensity; None where no map is
        declared. The labels of the space itself need no map."""
        if task.kind is Kind.classification and set(task.labels) == set(space.labels):
            return {label: label for label in task.labels}, []
        for each in self.maps.values():
            if each.to == space.name and each.is_of(task):
                order = SIGNS if task.kind is Kind.intensity else task.labels
                return {label: each.labels[label] for label in order}, list(each.neutral)
        return None

    def nearest(self, space: Task, task: Task) -> str:
        """A clause about the map into a space that has most of a task's labels, but not the same; empty without one."""
        shared = {
            name: len(set(each.labels) & set(task.labels)) for name, each in self.maps.items() if each.to == space.name
        }
        name = max(shared, key=shared.__getitem__, default="")
        if not name or not shared[name]:
            return ""
        lacking = [label for label in task.labels if label not in self.maps[name].labels]
        strange = [label for label in self.maps[name].labels if label not in task.labels]
        differs = [f"lacks {', '.join(lacking)}"] if lacking else []
        differs += [f"has {', '.join(strange)} beside them"] if strange else []
        return f"; the nearest map, {name}, {' and '.join(differs)}"


def declared(own: str | None = None) -> Declared:
    """The spaces and maps that affect ships, and those of a file of the user's, whose maps come first. Raises
    ConfigError where a file cannot be used."""
    shipped = _shipped()
    if own is None:
        return shipped
    path = Path(own).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"label_maps={own} does not exist: name a file in the form of {DECLARED.name}, or leave it out"
        )
    mine = _read(path, shipped)
    return Declared(spaces={**shipped.spaces, **mine.spaces}, maps={**mine.maps, **shipped.maps})


@cache
def _shipped() -> Declared:
    return _read(DECLARED)


def _read(path: Path, shipped: Declared | None = None) -> Declared:
    try:
        content = OmegaConf.to_container(OmegaConf.load(path)) or {}
        unknown = [key for key in content if key not in ("spaces", "maps")] if isinstance(content, dict) else ["a list"]
        if unknown:
            raise ConfigError(f"{path} has {unknown[0]}, which is neither `spaces` nor `maps`")
        spaces = {
            name: _typed(Task, values, f"spaces.{name}") for name, values in (content.get("spaces") or {}).items()
        }
        maps = {name: _typed(LabelMap, values, f"maps.{name}") for name, values in (content.get("maps") or {}).items()}
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path} cannot be read as label maps ({str(error).splitlines()[0]}): correct it") from error
    known = {**({} if shipped is None else shipped.spaces), **spaces}
    problems = [
        f"spaces.{name} is a space that affect declares: give yours another name"
        for name in spaces
        if shipped is not None and name in shipped.spaces
    ]
    for name, space in spaces.items():
        space.name = name
        if space.kind is not Kind.classification:
            problems.append(f"spaces.{name} is of kind {space.kind.value}: a common space is a classification")
        problems += task_problems(space)
    for name, each in maps.items():
        problems += [f"maps.{name}: {problem}" for problem in _map_problems(each, known)]
    if problems:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in problems))
    return Declared(spaces=spaces, maps=maps)


def _typed(schema: type, values: Any, key: str) -> Any:
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), values)
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        return OmegaConf.to_object(merged)
    except (OmegaConfBaseException, ValueError) as error:
        raise ValueError(f"{key}: {str(error).splitlines()[0]}") from error


def _map_problems(each: LabelMap, spaces: Mapping[str, Task]) -> Iterable[str]:
    if each.to not in spaces:
        yield f"to={each.to} is no space{near(each.to, spaces)} Spaces: {', '.join(spaces)}"
        return
    intensity = each.low is not None or each.high is not None
    if intensity and (each.low is None or each.high is None or set(each.labels) != set(SIGNS)):
        yield f"a map of an intensity has low, high and labels for {', '.join(SIGNS)}: complete it"
    yield from image_problems(each.labels, list(SIGNS) if intensity else list(each.labels), spaces[each.to])
    if intensity and each.low is not None and each.high is not None:
        yield from band_problems(each.neutral, each.low, each.high)


def image_problems(images: Mapping[str, str | None], labels: list[str], space: Task) -> Iterable[str]:
    """What is wrong with a map from `labels` into a space: a phrase each, without the name of the map."""
    there = f"label_space={space.name} has {', '.join(space.labels)}"
    lacking = [label for label in labels if label not in images]
    if lacking:
        yield (
            f"it lacks {', '.join(lacking)} of the labels {', '.join(labels)}: give each a label ({there}), or null"
            " where it has no image"
        )
    for label, image in images.items():
        if label not in labels:
            yield f"it maps '{label}', which is not one of the labels {', '.join(labels)}{near(label, labels)}"
        if image is not None and image not in space.labels:
            yield f"it maps '{label}' to '{image}', but {there}{near(image, space.labels)} Use one of these, or null"
    if images and all(image is None for image in images.values()):
        yield f"it gives no label an image, so that no clip would be left: {there}"


def band_problems(neutral: list[float], low: float, high: float) -> Iterable[str]:
    """What is wrong with a neutral band of an intensity."""
    if len(neutral) != 2 or not low <= neutral[0] <= neutral[1] <= high:
        yield f"neutral={neutral} has to be two numbers, [from, to], inside the range from {low:g} to {high:g}"


def settle(cfg: "Config") -> None:
    """Gives every dataset of a run the task of `label_space`, and writes the map of its labels into its `label_map`.

    A dataset that has both already, out of a run's config.yaml, keeps them. Raises ConfigError, for all datasets
    together, where a space or a map is not declared, or a map does not fit the labels on both sides.
    """
    if cfg.label_space is None:
        stray = [name for name, each in cfg.datasets.items() if each.label_map != LabelMapConfig()]
        if stray or cfg.label_maps is not None:
            key = f"datasets.{stray[0]}.label_map" if stray else f"label_maps={cfg.label_maps}"
            raise ConfigError(
                f"{key} is about a common label space, and label_space is not set: give label_space=NAME, or leave it"
                " out"
            )
        return
    name = cfg.label_space
    settled = [each for each in cfg.datasets.values() if each.label_map.task is not None and each.tasks == [name]]
    maps = None
    if len(settled) < len(cfg.datasets):
        maps = declared(cfg.label_maps)
        if name not in maps.spaces:
            raise ConfigError(
                f"label_space={name} is not declared{near(name, maps.spaces)} Label spaces: {', '.join(maps.spaces)};"
                " one of your own is declared in a file, label_maps=FILE"
            )
    problems: list[str] = []
    for dataset, config in cfg.datasets.items():
        if config not in settled:
            assert maps is not None
            problems += _settle(dataset, config, maps.spaces[name], maps)
        elif config.label_map.task in config.task_definitions:
            problems += _fit(dataset, config, config.task_definitions[name])
    if problems:
        raise ConfigError("\n".join(problems))


def _settle(name: str, config: DatasetConfig, space: Task, maps: Declared) -> Iterable[str]:
    """Sets a dataset's label map and task; gives what keeps it from that."""
    if config.label_map.task is not None:
        yield (
            f"label_space={space.name} cannot be given: run=… has the labels of dataset={name} in"
            f" {' and '.join(config.tasks)} already: leave label_space out"
        )
        return
    chosen = config.tasks
    if not chosen or any(task not in config.task_definitions for task in chosen):
        return  # a rule about tasks refuses them
    if len(chosen) > 1:
        yield (
            f"label_space={space.name} asks one question of every dataset, but datasets.{name}.tasks={chosen} are"
            f" {len(chosen)}: choose the one whose labels are mapped, datasets.{name}.tasks=[{chosen[0]}]"
        )
        return
    task = config.task_definitions[chosen[0]]
    if task.name != space.name and space.name in config.task_definitions:
        yield f"dataset={name} has a task '{space.name}' of its own: give the label space another name"
        return
    if task.kind is Kind.multi_label or (task.kind is Kind.classification and not task.labels):
        why = "has several labels at once" if task.kind is Kind.multi_label else "declares no labels"
        yield (
            f"label_space={space.name} maps one label, but task '{task.name}' of dataset={name} {why}: choose another"
            f" task, or declare them, datasets.{name}.task_definitions.{task.name}.labels=[…]"
        )
        return
    found = maps.labels_into(space, task)
    images, band = found or ({}, [])
    if not images and not config.label_map.to:
        labels = ", ".join(task.labels) or f"{task.low:g} to {task.high:g}"
        of_task = maps.spaces_of([task])
        first = (task.labels or list(SIGNS))[0]
        yield (
            f"label_space={space.name} has the labels {', '.join(space.labels)}, and no map to them is declared for"
            f" task '{task.name}' of dataset={name} ({labels}){maps.nearest(space, task)}. Its maps are to"
            f" {', '.join(of_task) or 'no space'}: choose one of these, leave {name} out, or say where every label"
            f" goes, +datasets.{name}.label_map.to={{{first}:{space.labels[0]},…}} (null where it has no image)"
        )
        return
    config.label_map.task = task.name
    config.label_map.to = {**images, **config.label_map.to}
    if task.kind is Kind.intensity and not config.label_map.neutral:
        assert task.low is not None and task.high is not None
        config.label_map.neutral = band or [(task.low + task.high) / 2] * 2
    config.task_definitions[space.name] = OmegaConf.to_object(OmegaConf.structured(space))
    config.tasks = [space.name]
    yield from _fit(name, config, space)


def _fit(name: str, config: DatasetConfig, space: Task) -> Iterable[str]:
    """What is wrong with the map of a dataset."""
    task = config.task_definitions[str(config.label_map.task)]
    labels = list(SIGNS) if task.kind is Kind.intensity else task.labels
    problems = list(image_problems(config.label_map.to, labels, space))
    if task.kind is Kind.intensity and task.low is not None and task.high is not None:
        problems += band_problems(config.label_map.neutral, task.low, task.high)
    yield from (f"datasets.{name}.label_map, of task '{task.name}': {problem}" for problem in problems)


def image(value: Value, task: Task, how: LabelMapConfig) -> str | None:
    """The label of the common space for a gold value of `task`; None where it has none.

    >>> polarity = LabelMapConfig(task="sentiment", to={"negative": "bad", "neutral": None, "positive": "good"})
    >>> polarity.neutral = [-0.1, 0.1]
    >>> [image(value, Task(kind=Kind.intensity, low=-1, high=1), polarity) for value in (-0.2, -0.1, 0.0, 0.11)]
    ['bad', None, None, 'good']
    """
    if task.kind is Kind.intensity:
        assert isinstance(value, int | float) and len(how.neutral) == 2
        low, high = how.neutral
        value = "negative" if value < low else "positive" if value > high else "neutral"
    return how.to[str(value)]
