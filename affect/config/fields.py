"""What each field of the configuration is for, and which values it takes, said where the field is declared:

    log_every: int = field(5, role="logging", least=1)

A field that says nothing may change a number (role `result`) and takes any value of its type.
"""

import dataclasses
import math
import operator
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, NamedTuple, get_args, get_type_hints


class Role(str, Enum):
    result = "result"
    """May change a number."""
    location = "location"
    """Where files are on this machine."""
    data_location = "data_location"
    """Where data or descriptions are: that they lie there changes no number, but it says which are meant."""
    program = "program"
    """What a program is asked to do."""
    runtime = "runtime"
    """Time, memory, and how often progress is saved and shown. No digit of a number changes, and no row of a log."""
    rounding = "rounding"
    """How a computation is divided into batches or cached: only rounding may differ."""
    logging = "logging"
    """What is logged, and where."""
    server = "server"
    """Where a server is, and how patiently it is asked."""
    check = "check"
    """What is refused, or what is made and when: a run that is not refused has the same numbers with any value."""
    name = "name"
    """What something is called. The values that a name stands for are keys of their own."""


class Phase(str, Enum):
    """For whom a value is set; a group says it for all its keys, and a key may say otherwise."""

    model = "model"
    """A trained model and every evaluation of it: what it was trained with stays with it."""
    training = "training"
    """The training alone."""
    evaluation = "evaluation"
    """Each run anew: an evaluation may differ from the training of its model."""


class Method(str, Enum):
    """Kinds of methods, of which some have no use for a key."""

    language = "language"
    """A language model."""
    network = "network"
    """A network on features, trained by gradients."""
    vectors = "vectors"
    """A linear model on features."""
    counts = "counts"
    """Labels or words, counted."""


EVERY_METHOD = tuple(method.value for method in Method)


class Tag(str, Enum):
    """What else may be said of a field."""

    younger = "younger"
    """Came when there were runs: these are as with its default, and their hashes do not have it."""
    weights = "weights"
    """Names weights: a folder, a name on the hub, or one of affect's own."""
    selects = "selects"
    """Chooses among the records of a dataset, and changes none."""


def field(
    default: Any = MISSING,
    *,
    default_factory: Any = MISSING,
    role: str = "result",
    phase: str | None = None,
    programs: tuple[str, ...] = (),
    elsewhere: str = "leave it out here",
    used_by: tuple[str, ...] = (),
    methods: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
    describes: bool = True,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> Any:
    """A field of a dataclass with its metadata.

    role, phase: names of a Role and a Phase.
    programs: the commands that have this key, where not all have it.
    elsewhere: what the others are told to do instead of giving it.
    used_by: the sources, readouts, options or interventions that use this key, where its group has others that do not.
    methods: values of Method that have a use for this key, or for a group whose keys say nothing else; empty is all.
    tags: names of Tags.
    describes: whether this key has a say in the descriptions of clips.
    least, above, most, below: the range of a number; `least` and `most` belong to it, `above` and `below` do not.
    """
    limits = {"least": least, "above": above, "most": most, "below": below}
    metadata = {
        "role": Role(role),
        "phase": None if phase is None else Phase(phase),
        "programs": programs,
        "elsewhere": elsewhere,
        "used_by": used_by,
        "methods": methods,
        "tags": tuple(map(Tag, tags)),
        "describes": describes,
        "limits": {name: limit for name, limit in limits.items() if limit is not None},
    }
    if default_factory is not MISSING:
        return dataclasses.field(default_factory=default_factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def tagged(schema: Any, tag: Tag) -> list[str]:
    """Names of the fields of a dataclass, or of an instance of one, with this tag."""
    return [each.name for each in fields(schema) if tag in each.metadata.get("tags", ())]


type_hints = cache(get_type_hints)


class Key(NamedTuple):
    name: str
    """With dots. The names of a dictionary's entries are `*`."""
    field: dataclasses.Field
    phase: Phase
    methods: tuple[str, ...]

    def says(self, fact: str, value: Any = ()) -> Any:
        """What the field says of itself; `value` where it says nothing."""
        return self.field.metadata.get(fact, value)


def walk(
    schema: type,
    variants: Mapping[type, tuple[type, ...]],
    prefix: str = "",
    phase: Phase = Phase.evaluation,
    methods: tuple[str, ...] = (),
) -> Iterator[Key]:
    """Every key below a schema.

    variants: for a schema that others extend, those others; their keys count as its own.
    phase, methods: those of fields that have none of their own, nor has the group they are in.
    """
    for one in (schema, *variants.get(schema, ())):
        hints = type_hints(one)
        for each in fields(one):
            key, kind = f"{prefix}{each.name}", hints[each.name]
            entry = get_args(kind)[-1] if get_args(kind) else None
            here = each.metadata.get("phase") or phase, each.metadata.get("methods") or methods
            if is_dataclass(kind):
                yield from walk(kind, variants, f"{key}.", *here)
            elif is_dataclass(entry) and getattr(kind, "__origin__", None) is dict:
                yield from walk(entry, variants, f"{key}.*.", *here)
            else:
                yield Key(key, each, *here)


def values(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, dataclasses.Field | None, bool]]:
    """Every number, text and switch of a typed configuration: its key, the value, its field (None for an entry of a
    dictionary) and whether it may be null."""
    for each in fields(config):
        value, key = getattr(config, each.name), f"{prefix}{each.name}"
        if is_dataclass(value):
            yield from values(value, f"{key}.")
        elif isinstance(value, dict):
            yield from _entries(value, key)
        elif not isinstance(value, list):
            yield key, value, each, type(None) in get_args(type_hints(type(config))[each.name])


def _entries(mapping: Mapping[str, Any], key: str) -> Iterator[tuple[str, Any, dataclasses.Field | None, bool]]:
    for name, value in mapping.items():
        if is_dataclass(value):
            yield from values(value, f"{key}.{name}.")
        elif isinstance(value, dict):
            yield from _entries(value, f"{key}.{name}")
        elif not isinstance(value, list):
            yield f"{key}.{name}", value, None, False


def out_of_range(key: str, value: float, limits: Mapping[str, float], optional: bool) -> str | None:
    """The sentence that refuses a number outside `limits` (see `field`), None for all others.

    >>> out_of_range("trainer.max_epochs", 0, {"least": 1}, optional=False)
    'trainer.max_epochs=0 has to be at least 1'
    >>> out_of_range("trainer.max_batches", 0, {"least": 1}, optional=True)
    'trainer.max_batches=0 has to be at least 1, or null'
    >>> out_of_range("finetuning.dropout", 1.0, {"least": 0, "below": 1}, optional=False)
    'finetuning.dropout=1.0 has to be below 1'
    """
    if not math.isfinite(value):
        return f"{key}={value} has to be a finite number"
    for name, limit in limits.items():
        holds, words = LIMITS[name]
        if not holds(value, limit):
            words = "must not be below 0" if (name, limit) == ("least", 0) else f"has to be {words} {limit}"
            return f"{key}={value} {words}{', or null' if optional else ''}"
    return None


LIMITS = {
    "least": (operator.ge, "at least"),
    "above": (operator.gt, "above"),
    "most": (operator.le, "at most"),
    "below": (operator.lt, "below"),
}
