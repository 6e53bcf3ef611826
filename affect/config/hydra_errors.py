"""Errors of Hydra, OmegaConf and the YAML parser as sentences that name the word or file and the remedy."""

import re
from collections.abc import Sequence
from dataclasses import fields

from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from affect import config
from affect.config import groups
from affect.config.errors import ConfigError, DataError, NothingAnswered, WriteError, near
from affect.config.groups import DELTAS, choices
from affect.config.launch import ProcessDied
from affect.config.schema import GROUPS, is_optional

REFUSALS = (
    ConfigError,
    DataError,
    WriteError,
    NothingAnswered,
    ProcessDied,
    HydraException,
    OmegaConfBaseException,
    MarkedYAMLError,
)
"""Errors that are printed as sentences instead of stack traces."""


PLUGINS = {"joblib": "joblib", "ray": "ray", "submitit_local": "slurm", "submitit_slurm": "slurm"}
"""The extra of affect that brings a choice of hydra/launcher."""


def refusal(error: Exception, given: Sequence[str]) -> str:
    """The message for the user: a sentence per problem, with the remedy. `given` are the words of the command line."""
    if isinstance(error, DataError):
        return f"The data cannot be used:\n{error}"
    if isinstance(error, (WriteError, NothingAnswered, ProcessDied)):
        return str(error)
    text = str(error) if isinstance(error, ConfigError) else explain(error, given)
    return "The configuration cannot be run:\n" + "\n".join(f"  - {line}" for line in text.splitlines())


def explain(error: Exception, given: Sequence[str] | None) -> str:
    """An error of Hydra, OmegaConf or the YAML parser as a sentence, which names the file of conf/ with the mistake if
    none of the words `given` has it. `given` is None for a configuration from elsewhere, such as a run folder."""
    if isinstance(error, OverrideParseException):
        return _unreadable_word(error)
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark
        where = f"{mark.name}, line {mark.line + 1}" if mark is not None else "a file of conf"
        return (
            f"{where} is not YAML ({error.problem}): correct it; text with a colon, a bracket or a # has to be quoted"
        )
    text = "\n".join(str(e) for e in (error, error.__cause__) if e is not None)
    if match := re.search(r"Could not (?:find|load) '([^'/]+)/([^']*)'", text):
        group, choice = match.groups()
        options = choices(group)
        if options:
            others = [f"{other}={choice}" for other in (*GROUPS, *DELTAS) if choice in choices(other)]
            hint = f", but {' and '.join(others)} does." if others else near(choice, options)
            return f"{_place(text, choice, given)}{group}={choice} does not exist{hint} Choices: {', '.join(options)}"
    if match := re.search(r"Could not find 'hydra/(launcher|sweeper)/([^']*)'", text):
        kind, choice = match.groups()
        if kind == "launcher" and choice in PLUGINS:
            return f"hydra/launcher={choice} is not installed: pip install 'affect[{PLUGINS[choice]}]'"
        own = choices("launcher") if kind == "launcher" else ["optuna"]
        ways = ", ".join(f"{'launcher' if kind == 'launcher' else 'hydra/sweeper'}={name}" for name in own)
        return f"hydra/{kind}={choice} does not exist, or its plugin is not installed. There are: {ways}"
    no_group = (
        r"Could not override '([^']+)'\.\s+(?:No match in the defaults list|Did you mean)"
        r"|config group '([^']+)' does not exist"
    )
    if match := re.search(no_group, text):
        named = match[1] or match[2]
        group = re.split("[/@]", named)[0]
        return (
            f"{_place(text, named, given)}there is no group '{named}'{near(group, (*GROUPS, *DELTAS))} Groups:"
            f" {', '.join((*GROUPS, *DELTAS))}"
        )
    if match := re.search(r"Multiple values for (\w+)|force-add of config groups is not supported: '\++(\w+)", text):
        group = match[1] or match[2]
        return f"+{group} would add a second {group}: to choose another one leave out the +, {group}=…"
    if "Config group override" in text:
        words = [
            word for word in given or () if word.lstrip("+~").split("=", 1)[0].split("@")[0] in ("", *GROUPS, *DELTAS)
        ]
        return (
            f"{' '.join(words)}: a group is given as GROUP=CHOICE, dataset=demo, as a list of choices,"
            " dataset=[demo,meld], or not at all"
        )
    if "Merge error" in text:
        return "two choices of one group do not go together: give a single one, model=smollm2"
    if match := re.search(r"Ambiguous value for argument '([^'=]+)=(.*)'", text):
        key, value = match.groups()
        return f"{key}={value} is several values: add -m for a run with each of them, or write a list, {key}=[{value}]"
    if isinstance(error, OSError):
        return f"{error.filename} cannot be written ({error.strerror}): set output_root to a folder that can"
    if re.search(r"list is not a subclass of \w+\. value: .*\n\s*full_key: *\n", text):
        return f"{_place(text, '', given)}the file holds a list: write KEY: VALUE lines without the dashes"
    key_line = re.search(r"full_key: (\S+)", text)
    if key_line is None:
        return " ".join(line.strip() for line in text.splitlines() if line.strip())
    key = key_line[1]
    named = re.search(r"(?:Environment variable|Interpolation key) '([^']+)' not found", text)
    place = _place(text, named[1] if named else key.rsplit(".", 1)[-1], given)
    if match := re.search(r"Key '[^']+' (?:not in '(\w+)'|is not in struct)", text):
        beside = next((word for word in given or () if word.startswith(("run=", "resume="))), None)
        if key.startswith("model.") and beside is not None:
            return f"{key} cannot be given beside {beside}: a run brings its own model; leave it out"
        return f"{place}the key '{key}' {_unknown(key, match[1], place)}"
    return place + _unfit_value(key, text)


def _unreadable_word(error: OverrideParseException) -> str:
    """The message for a word that Hydra's grammar cannot parse."""
    word = error.override
    if "=" not in word and not word.startswith("~"):
        return f"'{word}' is not KEY=VALUE: write {word}=…, and where a value has a space, quote the word as a whole"
    key, _, value = word.partition("=")
    if not re.fullmatch(r"[+~]*[\w/@-]+(\.[\w/@-]+)*", key):
        return (
            f"{word} is not KEY=VALUE: the parts of a key are names with single dots between them, trainer.max_epochs=3"
        )
    return (
        f"{word} cannot be read: close every bracket, brace and quote of a list, {key}=[a,b]; text that has any of"
        f" []{{}}(),:='\" or ${{}} in it is quoted twice, the outer quotes being for the shell: '{key}=\"{value}\"'"
    )


def _place(text: str, word: str, given: Sequence[str] | None) -> str:
    """The prefix "conf/<file>: " for a mistake in a file; empty for one on the command line."""
    file = re.search(r"In '([^']+)': ", text)
    if file and file[1] != "config":
        return f"conf/{file[1]}.yaml: "
    mentions = re.compile(rf"(?m)^[^#\n]*(?<!\w){re.escape(word)}(?!\w)")
    # For words of an experiment or a sweep Hydra names conf/config.yaml or no file: search the files for the word.
    if given is None or any(mentions.search(argument) for argument in given):
        return ""
    files = [path for path in sorted(groups.CONF.rglob("*.yaml")) if mentions.search(path.read_text(encoding="utf-8"))]
    return f"{' or '.join(f'conf/{path.relative_to(groups.CONF)}' for path in files)}: " if files else ""


def _unknown(key: str, owner: str | None, place: str) -> str:
    """The end of the message for an unknown key: the schema without it, the nearest key, all keys."""
    parts = key.split(".")
    if key in DELTAS or (key == "dataset" and place):
        return (
            "is not in Config: the file's first line has to be `# @package"
            f" {'datasets.NAME' if key == 'dataset' else '_global_'}`"
        )
    if parts[0] == "hydra":
        if parts[1:2] == ["launcher"]:
            return "is not one of this launcher's: leave it out, or choose the one that has it, launcher=NAME"
        return "is not one of Hydra's: leave it out; a sweep gives its values under hydra.sweeper.params"
    names = [f.name for f in fields(getattr(config, owner))] if owner is not None and hasattr(config, owner) else []
    if owner == "Config":
        group = near(parts[-1], names) == "." and near(parts[-1], (*GROUPS, *DELTAS))
        return f"is not in Config{group or near(parts[-1], names)} Its keys: {', '.join(names)}"
    if names:
        return f"is not in {owner}{near(parts[-1], names)} Its keys: {', '.join(names)}"
    if parts[0] == "datasets" and len(parts) == 2:
        return f"does not exist: a dataset's keys can be set only when the dataset is chosen, dataset={parts[1]}"
    file = groups.CONF / "dataset" / f"{parts[1]}.yaml"
    if parts[0] == "datasets" and len(parts) == 4 and file.is_file():
        entries = list(OmegaConf.to_container(OmegaConf.load(file)).get(parts[2]) or {})
        return (
            f"is not in conf/dataset/{file.name}{near(parts[3], entries)} Its {parts[2]}:"
            f" {', '.join(entries) or 'none'}; what the file does not have is added with a +, +{key}=…"
        )
    return f"does not exist yet: add it with a +, +{key}=…"


def _or_null(key: str) -> str:
    """The suffix of a message about the value of a key that may be null."""
    return f", or null for none, {key}=null" if is_optional(key) else ""


def _unfit_value(key: str, text: str) -> str:
    """The message for a known key with an invalid value."""
    kinds = {"Integer": "a whole number", "Float": "a number"}
    if match := re.search(r"Value '(.*)' of type '\w+' could not be converted to (Integer|Float)", text):
        return f"{key}={match[1]} has to be {kinds[match[2]]}{_or_null(key)}"
    if match := re.search(r"Value '(.*)' is not a valid bool", text):
        return f"{key}={match[1]} has to be true or false"
    if match := re.search(r"Invalid value '([^']*)', expected one of \[([^\]]*)\]", text):
        options = match[2].split(", ")
        return f"{key}={match[1]} is not a choice{near(match[1], options)} Choices: {', '.join(options)}"
    if re.search(r"is not Optional|Incompatible value 'None'|does not support deletion", text):
        return f"{key} has to have a value: null and ~{key} are refused, leave the word out to keep the default"
    if "is not a ListConfig" in text:
        return f"{key} has to be a list, {key}=[…]"
    if "is not a subclass of DatasetConfig" in text:
        return (
            f"there is no dataset '{key}' to take these keys: choose it first, dataset=… (it needs a file"
            f" conf/dataset/{key}.yaml)"
        )
    if "is not a subclass of Task" in text:
        return (
            f"there is no task '{key.split('.')[-1]}' to take these keys, and one cannot be added on the command line:"
            " write it into a file conf/dataset/NAME.yaml, under task_definitions, and choose that dataset"
        )
    if re.search(r"Cannot assign \w+ to Dict|Cannot merge DictConfig|is not a subclass of", text):
        return f"{key} is not a single value: give the keys under it, {key}.KEY=…"
    if "Cannot convert" in text:
        return f"{key} is a text: it has no keys under it"
    if match := re.search(r"Environment variable '([^']+)' not found", text):
        return f"{key} needs the environment variable {match[1]}: set it, or give another value"
    if match := re.search(r"Interpolation key '([^']+)' not found", text):
        return f"{key} refers to ${{{match[1]}}}, and there is no such key: correct the name"
    return f"{key}: {text.splitlines()[0]}"
