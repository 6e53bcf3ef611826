"""What a description claims about measured cues, and whether the measurements bear it out. Pure but for the lexicon,
claims.yaml.

A word is judged and not a sentence, so the lexicon is small and its words are plain; what it does not have is not
judged. Measurements err too: a contradiction says that text and measurement differ.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

OF_MODALITY = {
    "audio": ("loudness", "pitch", "pace"),
    "video": ("smile", "faces"),
    "audio_video": ("loudness", "pitch", "pace", "smile", "faces"),
}
"""Cues that the words of a description are held against."""

VERDICTS = ("agrees", "unclear", "contradicted", "not there", "not measured")
"""Of one claim.

agrees         low where the cue is in the lowest third of the dataset's clips, high in the highest; a smile in more
               than half of the frames with a face; a face in any frame; no smile or face where none is found
unclear        in the middle third; a smile in some frames; both low and high are claimed
contradicted   low in the highest third, high in the lowest; a smile where there are faces and none of them smiles; no
               smile or face where there is one in more than half of the frames
not there      a smile or a feature of a face where no face is found; a loud or high voice where no voice is found
not measured   the clip could not be decoded
"""

BEFORE = 3
"""English words before a claim among which a denial denies it."""


@cache
def lexicon() -> Mapping[str, Any]:
    """The content of claims.yaml."""
    return yaml.safe_load((files("affect.knowledge.quality") / "claims.yaml").read_text(encoding="utf-8"))


def claims(text: str, modality: str) -> dict[str, str]:
    """By cue, what a description of a modality claims: `low`, `high`, `there`, `absent`, or `mixed` where it claims two
    of them.

    >>> claims("Very loud, high pitch. No smile is seen on the face.", "audio_video")
    {'loudness': 'high', 'pitch': 'high', 'smile': 'absent', 'faces': 'there'}
    >>> claims("Medium loud, not fast", "audio"), claims("语速较快、没有笑容", "audio_video")
    ({}, {'pace': 'high', 'smile': 'absent'})
    """
    found: dict[str, set[str]] = {}
    folded = text.casefold().replace("\u2019", "'")
    for language, words in lexicon().items():
        for match in _pattern(language).finditer(folded):
            cue, says = _words(language).get(match[0], ("", ""))
            if cue not in OF_MODALITY[modality]:
                continue
            if _denied(folded[: match.start()], words["denials"], language):
                if says != "there":
                    continue  # what is not loud need not be soft
                says = "absent"
            found.setdefault(cue, set()).add(says)
    return {cue: next(iter(says)) if len(says) == 1 else "mixed" for cue, says in found.items()}


def judged(
    cue: str, says: str, cues: Mapping[str, float | None] | None, bounds: Mapping[str, tuple[float, float]]
) -> str:
    """The verdict on one claim, one of VERDICTS. cues: the measurements of the clip; None where it could not be
    decoded. bounds: the ends of the middle third by cue, where the dataset's clips have any."""
    if cues is None:
        return "not measured"
    value = cues[cue]
    if cue in ("smile", "faces"):
        return _seen(cue, says, value, cues["faces"])
    if value is None:
        return "not there"
    if says == "mixed" or cue not in bounds:
        return "unclear"
    low, high = bounds[cue]
    third = "low" if value <= low else "high" if value > high else ""
    return "unclear" if not third else "agrees" if third == says else "contradicted"


def _seen(cue: str, says: str, share: float | None, faces: float | None) -> str:
    if says == "mixed":
        return "unclear"
    if says == "absent":
        return "agrees" if not share else "contradicted" if share > 0.5 else "unclear"
    if not faces:
        return "not there"
    # A smile is measured in the frames with a face; a face in one frame is a face.
    assert share is not None
    return "agrees" if share > 0.5 or cue == "faces" else "contradicted" if share == 0 else "unclear"


def empty_characters(text: str) -> int:
    """How many characters of a text belong to phrases that say nothing about a clip."""
    folded = text.casefold()
    return sum(len(match[0]) for language in lexicon() for match in _empty(language).finditer(folded))


@cache
def _words(language: str) -> dict[str, tuple[str, str]]:
    """Cue and claim by word."""
    of_cues = lexicon()[language]["claims"]
    return {
        word: (cue, says) for cue, by_claim in of_cues.items() for says, words in by_claim.items() for word in words
    }


@cache
def _pattern(language: str) -> re.Pattern[str]:
    return _either([*_words(language), *lexicon()[language]["neither"]], language)


@cache
def _empty(language: str) -> re.Pattern[str]:
    return _either(lexicon()[language]["empty"], language)


def _either(words: list[str], language: str) -> re.Pattern[str]:
    # Longest first, so that a phrase is found before a word of it.
    joined = "|".join(map(re.escape, sorted(words, key=lambda word: (-len(word), word))))
    return re.compile(rf"(?<![\w-])(?:{joined})(?![\w-])" if language == "en" else joined)


def _denied(before: str, denials: list[str], language: str) -> bool:
    """Whether the end of a text denies what follows it in the same clause."""
    clause = re.split(r"[.,;:!?\n\u3002\uff0c\uff1b\uff1a\u3001\uff01\uff1f]|\bbut\b", before)[-1]
    if language != "en":
        return clause.rstrip().endswith(tuple(denials))
    near = " ".join(clause.split()[-BEFORE:])
    return any(re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", near) for word in denials)
