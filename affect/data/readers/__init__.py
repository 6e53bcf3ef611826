"""Readers of datasets, one module each. Its name is the `reader` of the dataset's YAML, and it has

    records(root, *, …) -> Iterator[Record | Excluded]

which yields the records of all splits, and whose keyword-only parameters are the `options` of the YAML; and constants:

    PUBLISHED       counts of the published set (facts.Published), or a function that gives them for all of the options
    LICENCE         a reminder in one sentence; the dataset's own terms hold
    KNOWN_ISSUES    defects that every copy has (facts.Issue)
    SAME_CLIPS_AS   readers whose published sets share clips with this one under equal ids; one of two may say it

It may also have

    IDS             how long ids identify a clip (facts.Ids); `dataset` by default
    CUT_FROM        the programme that its clips are cut from
    prepare(root)   makes the dataset, and is called when its root does not exist
    audit(root, records by split) -> Iterator[Finding], checks of this dataset alone

If the folder of clips exists, every record names its clip, also an absent or damaged one, which the clip check
excludes by id; without the folder no record does, for work with text alone. `records` raises RowErrors for single rows,
SplitErrors for splits that cannot be read, and DataError if nothing can be read. Modules without `records` are shared
by readers.
"""

from collections.abc import Mapping
from importlib import import_module
from inspect import Parameter, signature
from pkgutil import iter_modules
from types import ModuleType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from affect.config import NO_VALUE, ConfigError, DatasetConfig
from affect.data.facts import Published
from affect.data.problems import did_you_mean
from affect.data.subsets import is_share_or_count


def module(reader: str) -> ModuleType | None:
    """The module of a reader; None where there is none."""
    if reader not in (each.name for each in iter_modules(__path__)):
        return None
    imported = import_module(f"{__name__}.{reader}")
    return imported if hasattr(imported, "records") else None


def constant(reader: str, name: str, default: Any) -> Any:
    """A constant of a reader's module; `default` where there is no such constant or reader, as in an old run folder."""
    return getattr(module(reader), name, default)


def published(config: DatasetConfig) -> list[Published]:
    """Published counts for these options; empty for datasets without any, such as a manifest."""
    options = all_options(config)
    counts = constant(config.reader, "PUBLISHED", ())
    if callable(counts):
        return list(counts(options))
    return [each for each in counts if all(options[name] == value for name, value in each.options.items())]


def all_options(config: DatasetConfig) -> dict[str, Any]:
    """The options of the reader, with its defaults for those that are not set."""
    return {name: parameter.default for name, parameter in _parameters(check_options(config)).items()} | config.options


def check_options(config: DatasetConfig) -> ModuleType:
    """The reader's module. Raises ConfigError where `config.options` do not fit its `records`, and where `fraction` is
    no share or number of clips, or contradicts `subset`."""
    reader = module(config.reader)
    if reader is None:
        readers = [each.name for each in iter_modules(__path__) if module(each.name) is not None]
        raise ConfigError(
            f"reader={config.reader} is not a reader in affect/data/readers{did_you_mean(config.reader, readers)}:"
            f" choose from {', '.join(sorted(readers))}"
        )
    kinds = get_type_hints(reader.records)
    parameters = _parameters(reader)
    wrong = []
    for option, value in config.options.items():
        if option not in parameters:
            wrong.append(
                f"options.{option} is not an option of the reader '{config.reader}'{did_you_mean(option, parameters)}:"
                f" choose from {', '.join(parameters) or 'none, it has no options'}"
            )
        elif parameters[option].default is None and isinstance(value, str) and NO_VALUE.fullmatch(value):
            wrong.append(
                f"options.{option}={value} is a text: what is not there is written null, options.{option}=null"
            )
        elif not _fits(value, kinds[option]):
            kind = str(kinds[option]) if get_args(kinds[option]) else kinds[option].__name__
            wrong.append(
                f"options.{option}={value!r} of the reader '{config.reader}' has to be of type"
                f" {kind.replace('typing.', '')}: correct the value"
            )
    for option, parameter in parameters.items():
        if parameter.default is Parameter.empty and option not in config.options:
            wrong.append(f"options.{option} of the reader '{config.reader}' is not set: give it a value")
    if config.fraction is not None and not is_share_or_count(config.fraction):
        wrong.append(
            f"fraction={config.fraction:g} is neither a share of the training clips, above 0 and up to 1, nor a number"
            " of them, 2 or more: give one of these, or null for all"
        )
    if config.fraction is not None and config.subset.train is not None:
        wrong.append(
            f"fraction={config.fraction:g} and subset.train={config.subset.train} both say how many training clips are"
            " used: set one of them to null"
        )
    if wrong:
        raise ConfigError("\n".join(wrong))
    return reader


def _parameters(reader: ModuleType) -> Mapping[str, Parameter]:
    return {p.name: p for p in signature(reader.records).parameters.values() if p.kind is Parameter.KEYWORD_ONLY}


def _fits(value: Any, kind: Any) -> bool:
    """Whether a plain YAML value is of the annotated type, for the types that options have."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(k, arguments[0]) and _fits(v, arguments[1]) for k, v in value.items()
        )
    if isinstance(value, bool):  # a bool is an int to isinstance, but context=true is a mistake
        return kind is bool
    if kind is float:
        return isinstance(value, (int, float))
    return isinstance(value, NoneType if kind is None else kind)
