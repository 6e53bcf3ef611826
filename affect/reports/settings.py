"""Settings that a result depends on: what must agree in a column, and selecting runs by them."""

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from affect.config import (
    FAMILIES,
    BaselineConfig,
    Control,
    ControlSplit,
    EvaluationConfig,
    IntensityReadout,
    PromptingConfig,
    Readout,
    SubsetClasses,
)
from affect.config.fields import Phase, Role
from affect.config.intervention import STRENGTHS, Intervention
from affect.config.roles import NEUTRAL, default_of, is_one_of, keys_of, keys_used_by, keys_with, leaves, unused
from affect.prompting.messages import descriptions_shown
from affect.runs.run_summary import RunSummary

ZERO_SHOT, FINE_TUNED, TRAINED = "zero-shot", "fine-tuned", "trained"
"""What may be said of a run: its model as it came, fine-tuned, or, where it is no language model, trained from nothing.
"""

_GROUPS = dict.fromkeys(key.split(".")[0] for phase in (Phase.model, Phase.training) for key in keys_of(phase))
"""Groups that a model or its training has keys of."""

NAMES = {f"{group}.": f"{group}.name" for group in _GROUPS if f"{group}.name" in keys_with(Role.name)} | {
    "knowledge.": "knowledge.source",
    "training.datasets.": "training.datasets",
}
"""By prefix, the key that stands for the others of its group, wherever it decides them."""

CONTROL = "knowledge.control"
"""Key of the control. Readers take descriptions to be of the clip; where they are not, no other key may hide it."""

LOST = "training.run"
"""Key of a run whose settings are not known, since it is not there: that which made the evaluated model."""

RECOGNISER = "transcription.model"
"""Key of the speech recogniser that made the transcripts."""

PROMPT_FACTORS = tuple(
    f"prompting.{key}" for key in ("paraphrase", "options", "options_order", "options_seed", "system_turn")
)
"""Keys of what may be varied in a prompt without changing what is asked."""

READOUTS = tuple(
    f"evaluation.{each.name}"
    for each in fields(EvaluationConfig)
    if isinstance(each.default, Readout | IntensityReadout)
)
"""How answers are obtained: of a task with labels, and of one with a range. In the heading, or a column."""

SCORED_WITH, GENERATED_WITH = keys_used_by(Readout.score.value), keys_used_by(Readout.generate.value)
"""Keys that one readout alone uses: the others have no value of it that could differ."""

_OF_TRAINING = tuple({f"{key.split('.')[0]}." for key in keys_of(Phase.training)})
"""Prefixes of the groups that have keys for training alone."""

LEADING = ("model.name", "tuning", "modalities")
"""Keys shown first: as leading columns where they vary, in the heading where they do not."""

HEADLINE, ALL = "headline", "all"
"""What `metrics` may be beside names of metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run folder, and the training that its results belong to."""

    summary: RunSummary
    state: str
    """As affect.runs.lifecycle.state says."""
    training: Mapping[str, Any] | None = None
    """The configuration of the training that made the model: the run's own, or that of the run it evaluates. None is
    zero-shot."""
    training_lost: bool = False
    """The run it evaluates is not there any more; `training` is then what the evaluation knows of it."""
    clips: Mapping[str, str] = field(default_factory=dict)
    """By dataset, the hash of the ids that were used of the evaluated split."""
    validated: Mapping[str, str] = field(default_factory=dict)
    """Likewise of the validation split, where the run has read it."""

    @property
    def counts(self) -> bool:
        """Whether it has final results."""
        return self.state == "finished" and self.summary.metrics is not None

    @property
    def tuning(self) -> str:
        if self.training is None:
            return ZERO_SHOT
        schema = FAMILIES.get(self.training["model"]["family"])
        return TRAINED if schema is not None and issubclass(schema, BaselineConfig) else FINE_TUNED

    @property
    def seed(self) -> int:
        """The seed of the training, or of the run itself where there was none."""
        return (self.summary.config if self.training is None else self.training)["seed"]

    @property
    def folder(self) -> Path:
        return self.summary.folder


def text(value: Any) -> str:
    """A value as it is written on the command line.

    >>> text(None), text(True), text(0.5), text(["a", "b"])
    ('null', 'true', '0.5', '[a,b]')
    """
    if type(value) is str:  # as most are
        return value.replace("\n", "\\n")
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(text, value))}]"
    return str(value).replace("\n", "\\n")


def plain_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """`leaves` as text. Where a dataset lies on a machine is no setting, but which table a manifest is, and which file
    descriptions come from: these are told relative to the places that this machine keeps them in."""
    texts = {key: text(value) for key, value in leaves(config)}
    for strength in STRENGTHS:
        if texts.get(key := f"intervention.{strength}") == "null":  # it has no such strength
            del texts[key]
    for name, dataset in config["datasets"].items():
        texts.setdefault(f"datasets.{name}.subset_classes", SubsetClasses.natural.value)  # of before there was a choice
        if dataset["reader"] == "manifest":
            texts[f"datasets.{name}.root"] = _placed(dataset["root"], config)
        else:
            texts.pop(f"datasets.{name}.root")
    if config["knowledge"].get("file_path") is not None:
        texts["knowledge.file_path"] = _placed(config["knowledge"]["file_path"], config)
    return texts


def _placed(path: str, config: Mapping[str, Any]) -> str:
    for place in ("data_root", "cache_root"):
        if Path(path).is_relative_to(config[place]):
            return f"{place}/{Path(path).relative_to(config[place])}"
    return path


# These are asked of every key of every run.
@cache
def _neutral(key: str) -> bool:
    return is_one_of(key, NEUTRAL)


@cache
def _no_matter(key: str) -> bool:
    return _neutral(key) and key not in NAMES.values()


@cache
def _parts_no_rows(key: str) -> bool:
    """Whether a key of an evaluation never is a setting of its own."""
    shared = ("seed", "evaluation.split", "evaluation.reader", "evaluation.selection")
    return _no_matter(key) or learns(key) or key in shared


@cache
def _not_of_training_alone(key: str) -> bool:
    """Whether a key of a training is no setting beside that of its evaluation, which cannot change model and prompting;
    trainings have no intervention."""
    shared = ("model", "prompting", "knowledge", "intervention", "seed")
    return _no_matter(key) or key.partition(".")[0] in shared or key == "evaluation.split"


def idle(run: Run) -> Callable[[str], bool]:
    """Whether a key of `settings` had no effect in a run, since another key switches off what it is about."""
    unused_here = trained = unused(run.summary.config)
    if run.training is not None and run.training is not run.summary.config:
        trained = unused(run.training)
    return lambda key: (trained if learns(key) else unused_here)(key.removeprefix("training."))


def grouped_by(of_run: Mapping[str, str], without_effect: Callable[[str], bool]) -> tuple[tuple[str, str], ...]:
    """Of `settings` what makes runs with other seeds runs of another setting; `without_effect` is `idle` of the run.
    What a choice of a group is called is shown, and decides nothing: its values are settings themselves."""
    return tuple(
        sorted(
            (key, value)
            for key, value in of_run.items()
            if key == LOST or not (_neutral(key.removeprefix("training.")) or without_effect(key))
        )
    )


@cache
def learns(key: str) -> bool:
    """Whether a key says how a model is trained: it then applies to fine-tuned models alone."""
    if key.startswith("training."):
        return True
    return key.startswith(_OF_TRAINING) and not is_one_of(key, keys_of(Phase.evaluation))


def settings(run: Run, task: str) -> dict[str, str]:
    """By key, all that a number of this task depends on, other than the seed and what `signature` has.

    Keys under `training.` are those of the training that made the model, which an evaluation may have changed since:
    modalities, datasets, readout of the validation.
    """
    dataset, name = task.split(".", 1)
    definition = f"datasets.{dataset}.task_definitions."
    split = run.summary.config["evaluation"]["split"]
    shown = _shown(run.summary.config)
    plain = plain_settings(run.summary.config)
    left_out = {*shown, *READOUTS} - {_readout_key(run, task)}
    left_out |= set() if generates(run, task) else {*GENERATED_WITH}
    left_out |= set() if _scores(run, task) else {*SCORED_WITH}
    result = {"tuning": run.tuning}
    for key, value in plain.items():
        if _parts_no_rows(key) or key in left_out or (key.startswith("knowledge.") and shown[CONTROL] is None):
            continue
        if key.startswith("datasets."):
            other_task = key.startswith(definition) and not key.startswith(f"{definition}{name}.")
            other_split = ".subset." in key and not key.endswith(f".subset.{split}")
            # The headline and the dialects say what is reported, and change no number.
            reported = key in (f"{definition}{name}.headline", f"{definition}{name}.dialects")
            if not key.startswith(f"datasets.{dataset}.") or key == f"datasets.{dataset}.tasks":
                continue
            if other_task or other_split or reported:
                continue
        result[key] = value
    for key in PROMPT_FACTORS:
        result.setdefault(key, text(default_of(key)))  # a run of before there were any
    if result["intervention.name"] == Intervention.none.value:
        result = {key: value for key, value in result.items() if not key.startswith("intervention.")}
    recogniser = (run.summary.metrics or {}).get("transcribed", {}).get(dataset)
    if recogniser is None:  # no transcript of these clips was recognised, whatever the configuration would have allowed
        result = {key: value for key, value in result.items() if not _transcribes(key)}
    else:
        result[RECOGNISER] = recogniser  # with the hash of its weights, since a name may stand for several
    result |= {key: value for key, value in shown.items() if value is not None}
    result["model.name"] = run.summary.model
    if run.training is not None:
        trained = {key: value for key, value in _shown(run.training, training=True).items() if value is not None}
        plain = plain if run.training is run.summary.config else plain_settings(run.training)
        result |= _trained(run.training, plain) | {f"training.{key}": value for key, value in trained.items()}
        if run.training_lost:
            result[LOST] = text(run.summary.config["run"])
    return result


def _transcribes(key: str) -> bool:
    """Whether a key says which transcripts are recognised, and by whom."""
    return key.startswith("transcription.") or (key.startswith("datasets.") and key.endswith(".transcribe"))


def describes(config: Mapping[str, Any]) -> list[str]:
    """Which descriptions the prompts of a run show."""
    prompting = config["prompting"]
    if "descriptions" not in prompting:  # a run of before there were any
        return []
    keys = ("descriptions", "descriptions_without_media")
    return descriptions_shown(PromptingConfig(**{key: prompting[key] for key in keys}), config["modalities"])


def _shown(config: Mapping[str, Any], *, training: bool = False) -> dict[str, str | None]:
    """By key, what is said of the descriptions in the prompts and of what was done to them, in place of what the
    configuration has there; None is nothing. With `training`, in the prompts of the training. Without any, nothing of
    knowledge makes a difference."""
    names, control = describes(config), None
    if names:
        untouched = training and config["knowledge"]["control_split"] == ControlSplit.test.value
        control = Control.none.value if untouched else config["knowledge"]["control"]
    return {
        "prompting.descriptions": text(names),
        "prompting.descriptions_without_media": None,
        CONTROL: control,
        "knowledge.control_split": None,
    }


def _trained(config: Mapping[str, Any], plain: Mapping[str, str]) -> dict[str, str]:
    result = {"training.datasets": "+".join(config["datasets"])}
    for key, value in plain.items():
        if _not_of_training_alone(key):
            continue
        if key.startswith("datasets."):
            rest = key.split(".")[1:]
            is_definition = rest[1] == "task_definitions"
            if is_definition and (rest[2] not in config["datasets"][rest[0]]["tasks"] or rest[3] == "dialects"):
                continue
            if rest[1:] == ["subset", "test"]:
                continue
        if key.endswith(".transcribe") and value == "none":
            continue
        result[key if learns(key) else f"training.{key}"] = value
    return result


def signature(run: Run, task: str, *, headline: bool) -> dict[str, str]:
    """By key, what has to be the same for numbers of a task to stand in one column."""
    dataset, name = task.split(".", 1)
    metrics, config = run.summary.metrics, run.summary.config
    assert metrics is not None
    result = {"evaluation.split": metrics["split"]}
    prefix = f"datasets.{dataset}.task_definitions.{name}"
    definition = config["datasets"][dataset]["task_definitions"][name]
    result[f"{prefix}.kind"] = text(definition["kind"])
    if "labels" in metrics["tasks"][task]:
        result[f"{prefix}.labels"] = text(definition["labels"])
    else:
        result |= {f"{prefix}.{end}": text(definition[end]) for end in ("low", "high")}
    if generates(run, task):
        result["evaluation.reader"] = metrics["reader"]
    if headline:
        result[f"{prefix}.headline"] = metrics["tasks"][task]["headline"]
    return result


def _readout_key(run: Run, task: str) -> str:
    assert run.summary.metrics is not None
    return READOUTS[0 if "labels" in run.summary.metrics["tasks"][task] else 1]


def _scores(run: Run, task: str) -> bool:
    """Whether the task is a classification whose labels were scored."""
    metrics = run.summary.metrics
    assert metrics is not None
    return "labels" in metrics["tasks"][task] and metrics["readout"] == "score"


def generates(run: Run, task: str) -> bool:
    """Whether answers are text, which the two readers may read differently."""
    metrics = run.summary.metrics
    assert metrics is not None
    if "readout" in metrics["tasks"][task]:
        return "generate" in metrics["tasks"][task]["readout"].split("+")
    return metrics[_readout_key(run, task).removeprefix("evaluation.")] == "generate"


def mixed(runs: Sequence[Run], task: str, metrics: Sequence[str]) -> str | None:
    """Why numbers of these runs must not be held against each other, as the end of a sentence; None where they may be.
    `metrics` are those asked for."""
    signatures = [signature(run, task, headline=bool({HEADLINE, ALL} & set(metrics))) for run in runs]
    compared = [_comparable(each) for each in signatures]
    keys = list(dict.fromkeys(key for each in signatures for key in each))
    # A key that only one readout has (the reader, say) adds nothing to the difference between the readouts.
    differing = [key for key in keys if len({each[key] for each in compared if key in each}) > 1]
    if not differing:
        return None
    parts = []
    for key in differing:
        values = dict.fromkeys(each[key] for each in signatures if key in each)
        holders = {
            value: some(
                [str(r.folder) for r, each in zip(runs, signatures, strict=True) if key in each and each[key] == value]
            )
            for value in values
        }
        parts.append(f"{key} ({'; '.join(f'{value} in {named}' for value, named in holders.items())})")
    combinations = Counter(tuple(each.get(key) for key in differing) for each in signatures)
    [(commonest, _)] = combinations.most_common(1)
    words = [f"{key}={value}" for key, value in zip(differing, commonest, strict=True) if value is not None]
    remedy = f"choose with {' '.join(f'--where {shlex.quote(word)}' for word in words)} or the like"
    if any(key.endswith(".headline") for key in differing):
        remedy += ", or name metrics that all of them have with --metrics"
    return f"its runs differ in {' and in '.join(parts)}: {remedy}"


def _comparable(signed: dict[str, str]) -> dict[str, str]:
    # The order of the labels changes the question, not what a number means.
    return {
        key: ",".join(sorted(value[1:-1].split(","))) if key.endswith(".labels") else value
        for key, value in signed.items()
    }


def some(names: Sequence[str], most: int = 3) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
