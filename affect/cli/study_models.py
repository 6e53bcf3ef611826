"""What becomes of a study with methods that are no language models: they have no prompts, know nothing before they are
trained, and take only the modalities that they were trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import OmegaConf

from affect.cli.study_words import key, values
from affect.config import (
    FAMILIES,
    MODALITIES,
    BaselineConfig,
    ConfigError,
    FeatureKind,
    NetworkConfig,
    PriorConfig,
    Source,
    StudyConfig,
    StudyProgram,
    VectorsConfig,
)
from affect.config.intervention import CHANGED
from affect.config.model import spell
from affect.config.roles import unused
from affect.config.study import Analysis
from affect.evaluation.attribution import subsets
from affect.runs.sweep_points import Composer


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A study and its words as they are right for the models."""

    study: StudyConfig
    words: list[str]
    said: list[str]
    """What was changed, and why, a sentence each."""

    def with_words(self, multirun: str, words: list[str] | None, said: str = "") -> "Fitted":
        """Other words of a multirun; None leaves it out."""
        multiruns = dict(self.study.multiruns)
        if words is None:
            del multiruns[multirun]
        else:
            multiruns[multirun] = replace(multiruns[multirun], words=words)
        study = replace(self.study, multiruns=multiruns)
        return replace(self, study=study, said=[*self.said, said] if said else self.said)


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is chosen on the command line."""

    config: dict[str, Any]
    """A plain configuration with it."""

    @property
    def named(self) -> str:
        return f"model={self.config['model']['name']}"

    @property
    def takes(self) -> str:
        return self.config["model"]["modalities"]

    @property
    def reads_feature_files(self) -> bool:
        reads = self.is_a(NetworkConfig) or self.is_a(VectorsConfig)
        return reads and self.config["features"]["kind"] == FeatureKind.mmsa.value

    def is_a(self, schema: type) -> bool:
        return issubclass(FAMILIES.get(self.config["model"]["family"], object), schema)


def fitted(study: StudyConfig, words: Sequence[str]) -> Fitted:
    """The study for the models that `words` choose. Methods that take only the modalities that they were trained on are
    trained on each subset instead of being evaluated on it; what changes a modality that is not there is left out.

    Raises ConfigError where the study is about what a method has not, prompts above all.
    """
    models = _chosen(words)
    _check(study, words, [model for model in models if model.is_a(BaselineConfig)])
    result = _narrowed(Fitted(study=study, words=list(words), said=[]), models)
    stated = {key(word) for word in words}
    for name, multirun in study.multiruns.items():
        keys = {key(word) for word in multirun.words}
        if multirun.evaluates is not None and "modalities" in keys and study.analysis is Analysis.attribution:
            result = _with_subsets(result, name, multirun.evaluates, models)
        elif multirun.evaluates is not None and "intervention" in keys - stated:
            result = _with_interventions(result, name, multirun.evaluates, models)
    return result


def _chosen(words: Sequence[str]) -> list[Model]:
    """The models of a command line; none where it names none, and has the default."""
    choices = [word for word in words if key(word) in ("model", "experiment", "features") and not word.startswith("~")]
    if not choices:
        return []
    composer = Composer(choices)
    return [Model(OmegaConf.to_container(composer.compose(point), enum_to_str=True)) for point in composer.points()]  # type: ignore[arg-type]


def _check(study: StudyConfig, words: Sequence[str], methods: Sequence[Model]) -> None:
    """Raises ConfigError, with a line for each method that the study is not about."""
    # An experiment of the user is put below those of the study, and replaces none.
    replaced = {key(word) for word in words if key(word) != "experiment" or word.startswith("~")}
    multiruns = [each for each in study.multiruns.values() if each.evaluates is None]
    own = {key(word): values(word) for each in multiruns for word in each.words if key(word) not in replaced}
    described = list(filter(_describes, own.pop("experiment", []))) if methods else []
    lines = []
    for model in methods:
        without_effect = unused(model.config)
        idle = [each for each, given in own.items() if len(given) > 1 and without_effect(each)]
        reasons = [f"this study varies {', '.join(idle)}, without effect on {model.named}"] if idle else []
        if described:
            reasons.append(f"experiment={','.join(described)} is about prompts, and {model.named} has none")
        if not reasons and any(each.program is StudyProgram.evaluate for each in multiruns):
            reasons.append(f"this study is about models as they come, and {model.named} has to be trained first")
        if reasons:
            lines.append(f"{'; '.join(reasons)}: {study.other_methods.replace('MODEL', model.named)}")
    if lines:
        raise ConfigError("\n".join(lines))


def _describes(experiment: str) -> bool:
    """Whether it puts descriptions into prompts."""
    return Composer([f"experiment={experiment}"]).whole.knowledge.source is not Source.none


def _narrowed(fit: Fitted, models: Sequence[Model]) -> Fitted:
    """The study with trainings on no more modalities than the models take, where it is the study that names them."""
    if "modalities" in map(key, fit.words):
        return fit
    for name in dict.fromkeys(each.evaluates for each in fit.study.multiruns.values()):
        words = [] if name is None else fit.study.multiruns[name].words
        for place, word in enumerate(words):
            taken = "".join(letter for letter in word.partition("=")[2] if all(letter in each.takes for each in models))
            if key(word) == "modalities" and len(values(word)) == 1 and word != f"modalities={taken}":
                said = f"{name}: modalities={taken}, as {' and '.join(each.named for each in models)} reads no more"
                fit = fit.with_words(str(name), [*words[:place], f"modalities={taken}", *words[place + 1 :]], said)
    return fit


def _modalities(fit: Fitted, training: str) -> str | None:
    """The modalities of a training: those of the command line, or else of the study; None where it has several, or what
    no training could have."""
    words = [word for word in (*fit.study.multiruns[training].words, *fit.words) if key(word) == "modalities"]
    if not words or words[-1].startswith("~") or len(given := values(words[-1])) > 1:
        return None
    return None if set(given[0]) - set(MODALITIES) else given[0]


def _with_subsets(fit: Fitted, name: str, training: str, models: Sequence[Model]) -> Fitted:
    """`name` evaluates the models of `training` on subsets of their modalities."""
    if prior := next((model for model in models if model.is_a(PriorConfig)), None):
        raise ConfigError(f"{prior.named} reads labels alone, so that no modality contributes: choose another model")
    letters = _modalities(fit, training)
    methods = [model for model in models if model.is_a(BaselineConfig)]
    alone = f"{methods[0].named} takes only the modalities that it was trained on" if methods else ""
    if letters is None:
        return fit.with_words(name, None, f"{alone}: without {name}") if methods and methods == models else fit
    if len(letters) < 2:
        told = f"modalities={letters} is {spell(letters)} alone"
        raise ConfigError(f"{told}, and this study divides a metric among two modalities or three: choose others")
    if not methods:
        others = [word for word in fit.study.multiruns[name].words if key(word) != "modalities"]
        return fit.with_words(name, [*others, f"modalities={','.join(subsets(letters)[1:-1])}"])
    if other := next((model for model in models if model not in methods), None):
        raise ConfigError(
            f"{methods[0].named} has to be trained on each subset of the modalities, and {other.named} is evaluated on"
            " it: begin a study for each"
        )
    each = f"modalities={','.join(subsets(letters)[1:])}"
    said = f"{alone}: in place of {name}, which evaluates it on others, {training} trains it on each subset, {each}"
    others = [word for word in fit.study.multiruns[training].words if key(word) != "modalities"]
    words = [word for word in fit.words if key(word) != "modalities"]
    return replace(fit.with_words(name, None, said).with_words(training, [*others, each]), words=words)


def _with_interventions(fit: Fitted, name: str, training: str, models: Sequence[Model]) -> Fitted:
    """`name` evaluates the models of `training` on changed clips."""
    if prior := next((model for model in models if model.is_a(PriorConfig)), None):
        raise ConfigError(f"{prior.named} reads labels alone, and this study changes clips: choose another model")
    if files := next((model for model in models if model.reads_feature_files), None):
        raise ConfigError(
            f"features={files.config['features']['name']} reads no clips, and this study changes them: set"
            " features=computed"
        )
    letters = _modalities(fit, training)
    if letters is None:
        return fit
    words = fit.study.multiruns[name].words
    [given] = [values(word) for word in words if key(word) == "intervention"]
    kept = [each for each in given if CHANGED.get(each, "") in letters]
    if kept == given:
        return fit
    left_out = ", ".join(each for each in given if each not in kept)
    said = f"{name}: without {left_out}, for lack of what is changed, with modalities={letters}"
    if not kept:
        return fit.with_words(name, None, said)
    asked = f"intervention={','.join(kept)}"
    return fit.with_words(name, [asked if key(word) == "intervention" else word for word in words], said)
