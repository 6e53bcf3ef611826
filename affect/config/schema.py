"""The whole configuration of a run, and registering it with Hydra. Each group has a file of its own beside this one."""

import hashlib
import io
import json
import re
from dataclasses import asdict, dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from affect.config.dataset import DatasetConfig
from affect.config.errors import ConfigError
from affect.config.evaluation import EvaluationConfig
from affect.config.families import FAMILIES
from affect.config.features import FeaturesConfig
from affect.config.fields import field, type_hints
from affect.config.finetuning import FinetuningConfig
from affect.config.intervention import Intervention, InterventionConfig, as_group
from affect.config.knowledge import KnowledgeConfig
from affect.config.logger import LoggerConfig
from affect.config.model import ModelConfig
from affect.config.prompting import PromptingConfig
from affect.config.tasks import Kind, Task
from affect.config.trainer import TrainerConfig
from affect.config.transcription import TranscriptionConfig

MAX_SEED = 2**32 - 1
"""The largest that numpy takes, and so Lightning."""


class ExportAs(str, Enum):
    merged = "merged"
    adapter = "adapter"


@dataclass(slots=True, kw_only=True)
class Config:
    model: ModelConfig = field(MISSING, phase="model")
    datasets: dict[str, DatasetConfig] = field(default_factory=dict)
    """By name; filled by the group `dataset`, of which several can be named: dataset=[meld,demo]."""
    label_space: str | None = field(None, describes=False)
    """Common label space of all datasets, by name (affect/config/label_maps.yaml): its one question is asked of every
    clip, and the labels of the datasets are mapped into it. null: every dataset has its own tasks."""
    label_maps: str | None = field(None, role="location", describes=False)
    """File with label spaces and maps of your own, in the form of affect/config/label_maps.yaml."""
    prompting: PromptingConfig = field(MISSING, phase="model", methods=("language",))
    features: FeaturesConfig = field(
        default_factory=FeaturesConfig, phase="model", methods=("network", "vectors"), describes=False
    )
    """What a method that is no language model reads."""
    transcription: TranscriptionConfig = field(default_factory=TranscriptionConfig)
    """Who writes down what is said in clips without a transcript."""
    finetuning: FinetuningConfig = field(MISSING, phase="training", methods=("language",), describes=False)
    knowledge: KnowledgeConfig = field(MISSING, phase="model", methods=("language",))
    evaluation: EvaluationConfig = field(MISSING, describes=False)
    trainer: TrainerConfig = field(MISSING, describes=False)
    logger: LoggerConfig = field(MISSING, describes=False)
    modalities: str = "tav"
    """Letters of text, audio, video that the model is given."""
    intervention: InterventionConfig = field(default_factory=InterventionConfig, programs=("evaluate",))
    """What is changed in every clip before the model is given it."""
    seed: int = field(1, least=0, most=MAX_SEED, describes=False)
    """Seed of everything random in a run: order of clips, new weights, dropout. From 0 to 2^32 - 1."""
    data_root: str = field("${oc.env:AFFECT_DATA,data}", role="location")
    """Folder that holds a folder per dataset. Only read."""
    cache_root: str = field("${oc.env:AFFECT_CACHE,${oc.env:HOME,.}/.cache/affect}", role="location")
    """Folder for everything that is derived: converted models, the demo corpus, results of checking clips."""
    output_root: str = field("outputs", role="location", describes=False)
    """Folder in which a run makes its own folder."""
    resume: str | None = field(
        None, role="program", programs=("train",), elsewhere="name the run whose model is used, run=…"
    )
    """train.py: the run folder of a training that was stopped or killed, to be continued; everything else comes from
    it."""
    resume_with_other_code: bool = field(False, role="program", programs=("train", "evaluate"))
    """Continue although the code or a library is not the one the run was begun with: its numbers then belong to
    neither. With -m: go on with a multirun whose finished jobs are another code's; they are kept, and listed."""
    run: str | None = field(
        None, role="program", programs=("evaluate", "show", "export", "knowledge", "quality", "score")
    )
    """evaluate.py, affect show and affect export: the run folder whose model is used; null is the model as it comes,
    zero-shot."""
    allow_unknown_overlap: bool = field(False, role="check")
    """Go on although it cannot be found out whether the clips that test a model are among those that it, or the
    generator of its descriptions, was trained on."""
    predictions: str | None = field(None, role="program", programs=("score",))
    """affect score: table of predictions, CSV or JSONL with the columns id and prediction."""
    clip: str | None = field(None, role="program", programs=("show",))
    """affect show: id of the record to show; null is the first."""
    against: str | None = field(None, role="program", programs=("show",), tags=("younger",), describes=False)
    """affect show: another setting that the prompt is compared with, part by part: against=modalities:ta, or
    'against=modalities:ta prompting:cot'."""
    judge: bool = field(False, role="program", programs=("quality",), tags=("younger",))
    """affect knowledge quality: have a model behind a server rate the descriptions, model=server model.url=…
    model.served=…; beside run=… too, whose own model is not asked."""
    strict: bool = field(False, role="program", programs=("doctor",))
    """affect doctor: exit with 1 where a finding is an error."""
    export_as: ExportAs = field(ExportAs.merged, role="program", programs=("export",))
    """affect export: merged writes a whole model, adapter what was trained alone."""
    export_folder: str | None = field(None, role="program", programs=("export",))
    """affect export: the new folder it is written to; null is `export_merged` or `export_adapter` in the run's."""
    retries: int = field(0, role="program", programs=("train", "evaluate"), describes=False, least=0)
    """With -m: how often a job that fails is begun again, from its checkpoint where it has one. What is refused, and
    what does not fit into memory, would fail again and is left."""
    reuse: bool = field(False, role="program", programs=("train", "evaluate"), describes=False)
    """With -m: take the numbers of finished runs below output_root that have the same configuration, code and data,
    instead of making them again."""
    dry_run: bool = field(False, role="program", describes=False)
    """Check the configuration, say what would be run, and stop."""


GROUPS = (
    *("model", "dataset", "features", "prompting", "finetuning", "knowledge", "intervention", "evaluation"),
    *("trainer", "logger"),
)
"""The groups every run has one choice of; experiment and sweep are deltas over them."""


@cache
def register() -> None:
    """Puts the schema where Hydra composes from."""
    from hydra.core.config_store import ConfigStore  # a tenth of a second, which --help does without

    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    hints = type_hints(Config)
    groups = {group: hints[group] for group in GROUPS if group not in ("model", "dataset")}
    for group, node in (FAMILIES | groups).items():
        store.store(group="schema", name=group, node=node)


def is_optional(key: str) -> bool:
    """Whether a key, written with dots, may be null.

    >>> is_optional("trainer.max_batches"), is_optional("datasets.meld.subset.train"), is_optional("seed")
    (True, True, False)
    """
    kinds: list[Any] = [Config]
    for part in key.split("."):
        if any(get_origin(kind) is dict for kind in kinds):
            kinds = [get_args(kind)[1] for kind in kinds if get_origin(kind) is dict]  # `part` is a name in it
        else:
            kinds = [get_type_hints(kind)[part] for kind in kinds if part in getattr(kind, "__dataclass_fields__", ())]
        kinds = [each for kind in kinds for each in (FAMILIES.values() if kind is ModelConfig else [kind])]
    return any(type(None) in get_args(kind) for kind in kinds)


NO_VALUE = re.compile(r"(?i)none|nil|null|undefined|nan|n/a|~|")
"""How one writes in other languages that there is no value; here it is null."""


def text_for_null(key: str, value: Any, optional: bool) -> str | None:
    """The sentence that refuses a text such as None as the value of an optional key, or of a folder; None for all
    other values."""
    if not isinstance(value, str) or not NO_VALUE.fullmatch(value):
        return None
    if optional:
        return f"{key}={value} is a text: what is not there is written null, {key}=null"
    if key in ("data_root", "cache_root", "output_root"):
        return f"{key}={value} would be a folder of that name: leave it out to keep the default"
    return None


def media_of(cfg: Config) -> str | None:
    """How clips are given to the model, a value of `Media`; None where it is given text alone."""
    return cfg.model.media.value if set("av") & set(cfg.modalities) else None


def intervention_of(cfg: Config) -> str | None:
    """The intervention as signatures name it; None where clips are as they were recorded."""
    return None if cfg.intervention.name is Intervention.none else str(cfg.intervention)


def chosen_tasks(cfg: Config) -> list[Task]:
    """The tasks of all datasets of a run. A name that no dataset has is left out: a rule refuses it."""
    return [
        dataset.task_definitions[name]
        for dataset in cfg.datasets.values()
        for name in dataset.tasks
        if name in dataset.task_definitions
    ]


def to_yaml(cfg: Config) -> str:
    """The resolved configuration, as config.yaml of a run folder has it."""
    return OmegaConf.to_yaml(_untyped(cfg))


def to_json(cfg: Config, text: str) -> str:
    """The same values for config.json, which is read in a hundredth of the time. It counts only while it is a copy of
    config.yaml, of whose `text` it has the hash: config.yaml may be edited."""
    plain = OmegaConf.to_container(_untyped(cfg), resolve=True, enum_to_str=True)
    copy = {"config_yaml_sha256": hashlib.sha256(text.encode()).hexdigest(), "config": plain}
    return json.dumps(copy, ensure_ascii=False) + "\n"


def _untyped(cfg: Config) -> DictConfig:
    return OmegaConf.create(asdict(cfg))  # OmegaConf.structured checks all types again, which takes 60 ms


def read_yaml(path: Path) -> dict[str, Any]:
    """A run folder's configuration as plain values, from config.yaml or its copy. Raises ConfigError where the file
    holds none."""
    try:
        content = path.read_bytes()
        copied = _copied(path.with_suffix(".json"), content)
        plain = copied or OmegaConf.to_container(OmegaConf.load(io.StringIO(content.decode())), resolve=True)
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        why = str(error).splitlines()[0]
        raise ConfigError(
            f"{path} cannot be read ({why}): restore the file, or delete {path.parent} and run again"
        ) from error
    if not isinstance(plain, dict):
        raise ConfigError(
            f"{path} holds a list, and a configuration is keys and values: restore it, or"
            f" delete {path.parent} and run again"
        )
    return as_group(plain)


def _copied(path: Path, content: bytes) -> dict[str, Any] | None:
    """The values in config.json; None where it is no copy of `content`."""
    try:
        copy = json.loads(path.read_bytes())
        return copy["config"] if copy["config_yaml_sha256"] == hashlib.sha256(content).hexdigest() else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # an older run has none, and what is damaged there is in config.yaml too


def kinds_of(cfg: Config) -> set[Kind]:
    """Of the tasks that are chosen and there."""
    return {
        dataset.task_definitions[name].kind
        for dataset in cfg.datasets.values()
        for name in dataset.tasks
        if name in dataset.task_definitions
    }
