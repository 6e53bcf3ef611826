"""Words for the measurements of affect/data/cues, in English and Chinese (cue_words.yaml).

A cue that is told by its place in a population has five phrases, from lowest to highest. Cues that are counted are told
as they are: the share of frames with a face, the number of cuts.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from affect.config import near

LEVELS = 5

SHARES = {"faces": (0.0, 0.3, 0.7), "smile": (0.0, 0.3, 0.7)}
"""Cues told as a share of frames, with the upper bounds of their first phrases; the last two are below 1, and 1."""

SILENCE = {"en": "silence", "zh": "无声"}
"""The whole description of a clip without sound."""

UNSAID = {"en": "nothing could be measured", "zh": "无法测量"}
"""The description where the chosen cues give no phrase."""

COMMA = {"en": ", ", "zh": "、"}
STOP = {"en": ".", "zh": "。"}


@cache
def _table() -> Mapping[str, Any]:
    return yaml.safe_load((files("affect.knowledge.sources") / "cue_words.yaml").read_text(encoding="utf-8"))


@cache
def phrases(modality: str, language: str) -> Mapping[str, Sequence[str]]:
    """The phrases of each cue of a modality, in the order in which they are told."""
    return {cue: text.split(" | ") for cue, text in _table()[modality][language].items()}


def nothing(language: str) -> Mapping[str, str]:
    """By cue, the phrase where there is nothing to measure."""
    return _table()["nothing"][language]


def problems(chosen: Mapping[str, Sequence[str]], languages: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each mistake. chosen: cues by modality. languages: those of the datasets by name."""
    for modality, cues in chosen.items():
        known = list(phrases(modality, "en"))
        for cue in cues:
            if cue not in known:
                yield (
                    f"knowledge.cues_{modality} names '{cue}', which is not measured{near(cue, known)} Choose from"
                    f" {', '.join(known)}, or give [] for all"
                )
    for dataset, language in languages.items():
        if language not in STOP:
            yield (
                f"dataset={dataset} is in language '{language}', but knowledge=cues has words in {' and '.join(STOP)}"
                " only: choose another source of knowledge, or add words to affect/knowledge/sources/cue_words.yaml"
            )


def is_counted(cue: str) -> bool:
    """Whether a cue is told as it is, and not by its place in a population."""
    return cue in SHARES or cue == "cuts"


def level_of_count(cue: str, value: float) -> int:
    """The index of the phrase of a counted cue."""
    if cue == "cuts":
        return min(int(value), 2)
    if value == 1:
        return len(SHARES[cue]) + 1
    return sum(value > bound for bound in SHARES[cue])


@cache
def names(modality: str, language: str) -> Sequence[str]:
    """What the cues of a modality are called, in the order in which they are told."""
    return _table()["names"][language][modality].split(" | ")


def tell_levels(modality: str, language: str, levels: Mapping[str, int | None], cues: Sequence[str]) -> str:
    """The description of a clip by names and levels from 1; a cue that was not measured has 0. Arguments as of `tell`.

    >>> levels = dict.fromkeys(phrases("audio", "en"), 4) | {"pauses": None, "loudness": 1}
    >>> tell_levels("audio", "en", levels, ["pitch", "loudness", "pauses"])
    'Pitch 5/5, loudness 2/5, pauses 0/5.'
    """
    if modality == "audio" and levels["loudness"] is None:
        return SILENCE[language].capitalize() + STOP[language]
    told = [
        f"{name} {0 if levels[cue] is None else levels[cue] + 1}/{len(of_cue)}"
        for name, (cue, of_cue) in zip(names(modality, language), phrases(modality, language).items(), strict=True)
        if cue in cues
    ]
    return COMMA[language].join(told).capitalize() + STOP[language]


def tell(modality: str, language: str, levels: Mapping[str, int | None], cues: Sequence[str]) -> str:
    """The description of a clip. levels: index of the phrase of every cue of the modality, None where nothing was
    measured. cues: those to be told.

    >>> levels = dict.fromkeys(phrases("audio", "en"), 4) | {"pauses": None}
    >>> tell("audio", "en", levels, ["pitch", "loudness", "pauses"])
    'Very high pitch, very loud, no pauses.'
    """
    unmeasured = nothing(language)
    told: list[str] = []
    for cue, of_cue in phrases(modality, language).items():
        level = levels[cue]
        if cue in cues and (level is not None or cue in unmeasured):
            told.append(unmeasured[cue] if level is None else of_cue[level])
    if modality == "audio" and levels["loudness"] is None:
        told = [SILENCE[language]]
    text = COMMA[language].join(dict.fromkeys(told)) or UNSAID[language]
    return text[0].upper() + text[1:] + STOP[language]
