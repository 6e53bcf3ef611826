"""Reads the files in conf/study/."""

import re
from collections.abc import Iterator, Sequence

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from affect.config import Analysis, ConfigError, StudyConfig, StudyProgram, groups, near
from affect.config.hydra_errors import explain


def names() -> list[str]:
    """The studies there are."""
    return groups.choices("study")


def read(name: str, words: Sequence[str] = ()) -> StudyConfig:
    """A study by the name of its file, with the values of `words`, KEY=VALUE, in place of the file's, and without the
    keys of ~KEY.

    Raises ConfigError where there is none, and where file or words are wrong.
    """
    if name not in names():
        raise ConfigError(f"there is no study '{name}'{near(name, names())} Studies: {', '.join(names())}")
    file = f"conf/study/{name}.yaml"
    try:
        text = (groups.CONF / "study" / f"{name}.yaml").read_text(encoding="utf-8")
        # A word may hold ${…}, which is about the configuration of a job, and not about this file.
        content = OmegaConf.create(text.replace("${", r"\${"))
        of_file = OmegaConf.merge(OmegaConf.structured(StudyConfig), content)
    except (OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"{file}: {explain(error, None)}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file} cannot be read ({str(error).splitlines()[0]}): restore it") from error
    for word in (word for word in words if word.startswith("~")):
        parent, _, last = word[1:].rpartition(".")
        node = OmegaConf.select(of_file, parent) if parent == "multiruns" else {}
        if last not in node:
            raise ConfigError(
                f"~study.{word[1:]}: {file} has no such multirun; it has {', '.join(of_file.multiruns)}, which are left"
                " out with ~study.multiruns.NAME"
            )
        del node[last]
    words = [word for word in words if not word.startswith("~")]
    try:
        study = OmegaConf.to_object(OmegaConf.merge(of_file, OmegaConf.from_dotlist(words)))
    except (OmegaConfBaseException, YAMLError) as error:
        where = f"{' '.join(f'study.{word}' for word in words)}" if words else file
        raise ConfigError(f"{where}: {explain(error, None)}") from error
    assert isinstance(study, StudyConfig)
    if problems := [f"{file}: {problem}" for problem in _problems(study)]:
        raise ConfigError("\n".join(problems))
    return study


def _problems(study: StudyConfig) -> Iterator[str]:
    if not study.multiruns:
        yield "it has no multiruns, so there is nothing to run: name one"
    if study.analysis is Analysis.settings and not study.x:
        yield "analysis=settings draws charts: x has to have the key along the horizontal axis of each"
    if study.analysis is Analysis.learning_curves and not (study.series and study.against):
        yield "analysis=learning_curves compares curves: series has to name their keys, and against the reference"
    trainings: list[str] = []
    for name, multirun in study.multiruns.items():
        if not re.fullmatch(r"\w+", name):
            yield f"multiruns: '{name}' would be the name of a folder: use letters, digits and _"
        if multirun.evaluates is not None and multirun.program is not StudyProgram.evaluate:
            yield f"multiruns.{name}.program is {multirun.program.value}, and evaluates is for evaluate alone"
        if multirun.evaluates not in (None, *trainings):
            yield (
                f"multiruns.{name}.evaluates={multirun.evaluates} is no multirun of trainings before it"
                f"{near(str(multirun.evaluates), trainings)} There are: {', '.join(trainings) or 'none'}"
            )
        yield from (f"multiruns.{name}.words: '{word}' is not KEY=VALUE" for word in multirun.words if "=" not in word)
        if multirun.program is StudyProgram.train:
            trainings.append(name)
