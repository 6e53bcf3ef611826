"""What a field of the configuration is for. Each says so once, where it is declared:

    log_every: int = field(default=5, metadata=role("runtime"))

Fields that say nothing may change a number (`result`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, get_args, get_type_hints


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
    """How fast a run is, how much it keeps, and how it is watched. The same sums in other portions are the same
    number."""
    server = "server"
    """Where a server is asked, and how patiently."""
    check = "check"
    """Only refuses, or only says what is made and when: a run that was not refused has the same numbers with any
    value."""
    name = "name"
    """What something is called. The values that a name stands for are keys of their own."""


def role(name: str = "result", *, describes: bool = True) -> dict[str, Any]:
    """The metadata of a field with this role. describes: whether it has a say in the descriptions of clips."""
    return {"role": Role(name), "describes": describes}


def not_describing(schema: type, prefix: str = "") -> Iterator[str]:
    """Every key below a schema, written with dots, that has no say in the descriptions of clips. Of a group that has
    none, the group alone."""
    hints = get_type_hints(schema)
    for field in fields(schema):
        if not field.metadata.get("describes", True):
            yield f"{prefix}{field.name}"
        elif is_dataclass(hints[field.name]):
            yield from not_describing(hints[field.name], f"{prefix}{field.name}.")


def roles_of(schema: type, variants: Mapping[type, tuple[type, ...]], prefix: str = "") -> Iterator[tuple[str, Role]]:
    """Every key below a schema, written with dots, with its role. The names of a dictionary's entries are `*`.

    variants: for a schema that others extend, those others; their keys count as its own.
    """
    for one in (schema, *variants.get(schema, ())):
        hints = get_type_hints(one)
        for field in fields(one):
            key, kind = f"{prefix}{field.name}", hints[field.name]
            entry = get_args(kind)[-1] if get_args(kind) else None
            if is_dataclass(kind):
                yield from roles_of(kind, variants, f"{key}.")
            elif is_dataclass(entry) and _is_mapping(kind):
                yield from roles_of(entry, variants, f"{key}.*.")
            else:
                yield key, field.metadata.get("role", Role.result)


def _is_mapping(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is dict
