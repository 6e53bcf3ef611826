"""Explains the keys of a configuration group: affect config GROUP

    affect config                 lists the groups
    affect config finetuning      prints each key with its type, range, default and meaning
    affect config model composed  the same for one family of models

Keys marked [runtime], [location] and the like change no number.
"""

import ast
import enum
import inspect
import sys
import textwrap
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from affect.config import FAMILIES, BaselineConfig, Config, ConfigError, DatasetConfig, Task, near
from affect.config.fields import LIMITS, Method, Role

SCHEMAS = {
    "run": Config,
    "model": FAMILIES["composed"],
    "dataset": DatasetConfig,
    "task": Task,
    **{name: kind for name, kind in get_type_hints(Config).items() if is_dataclass(kind) and name != "model"},
}
"""Schema by group. `run` has the keys that belong to no group, `task` those of a task of a dataset."""


def main() -> None:
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    if not arguments:
        print(f"Groups: {', '.join(SCHEMAS)}\nFamilies of models: {', '.join(FAMILIES)}")
        return
    try:
        print(explain(*arguments))
    except ConfigError as error:
        sys.exit(str(error))


def explain(group: str, family: str | None = None, *others: str) -> str:
    """The keys of a group as text, a paragraph each. Raises ConfigError for a group or family that does not exist."""
    if others or (family is not None and group != "model"):
        raise ConfigError("affect config takes one group, or `model` and a family")
    if group not in SCHEMAS:
        raise ConfigError(f"there is no group '{group}'{near(group, SCHEMAS)} Groups: {', '.join(SCHEMAS)}")
    if family is not None and family not in FAMILIES:
        raise ConfigError(f"there is no family '{family}'{near(family, FAMILIES)} Families: {', '.join(FAMILIES)}")
    schema = SCHEMAS[group] if family is None else FAMILIES[family]
    return "\n".join(_lines(schema, "" if group == "run" else f"{group}."))


def _lines(schema: type, prefix: str) -> list[str]:
    lines: list[str] = []
    hints, meanings = get_type_hints(schema), docstrings(schema)
    for field in fields(schema):
        if issubclass(schema, BaselineConfig) and field.metadata.get("methods") == (Method.language,):
            continue  # it has no effect on this model
        kind = hints[field.name]
        if is_dataclass(kind):
            # The groups within the whole configuration are explained by themselves.
            lines += _lines(kind, f"{prefix}{field.name}.") if prefix else []
            continue
        role = field.metadata.get("role", Role.result)
        use = "" if role is Role.result else f"  [{role.value.replace('_', ' ')}]"
        limits = [f"{LIMITS[name][1]} {limit}" for name, limit in field.metadata.get("limits", {}).items()]
        facts = ", ".join([_type(kind), *limits, f"default {_default(field)}"])
        lines.append(f"{prefix}{field.name}  ({facts}){use}")
        lines += textwrap.wrap(meanings.get(field.name, ""), 96, initial_indent="    ", subsequent_indent="    ")
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            for member, meaning in docstrings(kind).items():
                lines += textwrap.wrap(
                    f"{member}: {meaning}", 96, initial_indent="      ", subsequent_indent="        "
                )
    return lines


def docstrings(cls: type) -> dict[str, str]:
    """The docstring under each attribute of a class and its bases."""
    by_name: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        if one.__module__.startswith("affect."):
            [definition] = ast.parse(textwrap.dedent(inspect.getsource(one))).body
            assert isinstance(definition, ast.ClassDef)
            name = None
            for statement in definition.body:
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    name = statement.target.id
                elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                    name = statement.targets[0].id
                elif name is not None and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    by_name[name] = " ".join(str(statement.value.value).split())
                    name = None
    return by_name


def _type(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "|".join(str(member.value) for member in kind)
    if kind is NoneType:
        return "null"
    if isinstance(kind, UnionType):
        return " | ".join(map(_type, get_args(kind)))
    if get_args(kind):
        return f"{get_origin(kind).__name__}[{', '.join(map(_type, get_args(kind)))}]"
    return kind.__name__


def _default(field: Field) -> str:
    if field.default is not MISSING:
        value = field.default
    elif field.default_factory is not MISSING:
        value = field.default_factory()
    else:
        return "required"
    if isinstance(value, enum.Enum):
        return str(value.value)
    if value == "???":
        return "required"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
