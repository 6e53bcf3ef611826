"""What a language model that judges descriptions is asked (judge.yaml), and how its answer is read. Pure but for that
file.

The judge is told the description, what it describes, the transcript and the measurements in words. It is not told the
label, what a model predicted, or the id of the clip, which may name the label. All of it is quoted as JSON, so that no
text can end its quotation; a text may still talk the judge over.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import yaml

from affect.knowledge.protocol import request_hash
from affect.prompting import thoughts

CRITERIA = ("faithful", "specific", "supported", "descriptive")
"""What is rated from 1, the worst, to 5: agreement with what was measured; details of this clip; no claim about what
sound and picture cannot show; no verdict about emotion and the like, which may be the label."""

CONTRADICTS = 2
"""Up to this `faithful` says that the description contradicts the measurements."""

MAX_QUOTED = 200
"""Characters of an answer that a reason repeats."""


@cache
def instructions() -> Mapping[str, Mapping]:
    """The content of judge.yaml, by language."""
    return yaml.safe_load((files("affect.knowledge.quality") / "judge.yaml").read_text(encoding="utf-8"))


def language_of(language: str) -> str:
    """The language in which descriptions in `language` are judged: English where there are no instructions in it."""
    return language if language in instructions() else "en"


@cache
def instructions_hash(language: str) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the instructions in a language."""
    return request_hash(instructions()[language])[:16]


def question(description: str, modality: str, transcript: str, measured: str, language: str) -> str:
    """The text of the one message that asks for ratings, in a language of `instructions`.

    >>> print(question("Loud.", "audio", 'She said "no".', "Very loud.", "en").splitlines()[-2])
    {"description_of": "the sound of the clip", "transcript": "She said \\"no\\".", "measured": "Very loud.", \
"description": "Loud."}
    """
    wording = instructions()[language]
    data = {
        "description_of": wording["of"][modality],
        "transcript": transcript,
        "measured": measured,
        "description": description,
    }
    return f"{wording['request']}\n\n{json.dumps(data, ensure_ascii=False)}\n{wording['answer']}"


def read(answer: str) -> dict[str, int] | str:
    """The ratings by criterion, or the reason why an answer has none. Apart from thoughts and a fence around it, the
    answer has to be one JSON object of the four criteria, each once, with whole numbers from 1 to 5.

    >>> read('{"faithful": 4, "specific": 2, "supported": 5, "descriptive": 5}')["specific"]
    2
    >>> read('{"faithful": 4, "specific": 2, "supported": 5, "descriptive": 6}')[:40]
    'descriptive is no whole number from 1 to'
    """
    text = thoughts.without(answer)
    if text is None:
        return "it ends within the judge's thoughts: choose a judge that answers without thinking"
    if not text:
        return "it is empty"
    fenced = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", text, re.DOTALL)
    try:
        # Tuples of pairs, not dictionaries: of a criterion that is rated twice, the last rating would count.
        pairs = json.loads(fenced[1] if fenced else text, object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        pairs = None
    if not isinstance(pairs, tuple):
        return f"it is no JSON object: {text[:MAX_QUOTED]}"
    if sorted(name for name, _ in pairs) != sorted(CRITERIA):
        return f"it does not rate {', '.join(CRITERIA)}, each once: {text[:MAX_QUOTED]}"
    for name, value in pairs:
        if type(value) is not int or not 1 <= value <= 5:
            return f"{name} is no whole number from 1 to 5: {text[:MAX_QUOTED]}"
    return {name: dict(pairs)[name] for name in CRITERIA}
