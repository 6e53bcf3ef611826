"""Other wordings of the questions that datasets ask, for `prompting.paraphrase`: see paraphrases.yaml."""

from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

FILE = Path(__file__).with_name("paraphrases.yaml")


@cache
def paraphrases() -> dict[str, list[str]]:
    """The wordings of every question by the question itself."""
    entries = OmegaConf.to_container(OmegaConf.load(FILE))
    return {entry["question"]: entry["paraphrases"] for entry in entries}


def paraphrased(question: str, number: int) -> str:
    """The wording of a question: itself for 0, and from 1 on that paraphrase, which has to be there."""
    return paraphrases()[question][number - 1] if number else question
