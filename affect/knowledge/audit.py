"""Two files of a run folder about its descriptions:

knowledge.json   which generators made them, and what they cost, by split and dataset
leak.json        how far they give the labels away, by task (leak_audit.py)
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from affect.config import Config
from affect.config.logs import LOG, is_first
from affect.data.files import write_json
from affect.data.part import Part
from affect.knowledge import leak_audit
from affect.knowledge.attach import Attached
from affect.prompting.messages import Example

Count = Callable[[list[dict]], int]
"""The number of text tokens of chat messages."""


def write(
    folder: Path,
    attached: Attached,
    parts: Sequence[Part],
    examples: Mapping[str, Sequence[Example]],
    count: Count,
    cfg: Config,
) -> None:
    """Writes both files and logs what the leak audit found; nothing where no description is shown.

    parts: audited. examples: the prompts by split.
    """
    if not attached.modalities or not is_first():
        return
    leaks = leak_audit.audit(parts, cfg)
    for sentence in leak_audit.in_words(leaks):
        LOG.info(sentence)
    costs = {split: cost_by_dataset(prompts, count, attached.seconds) for split, prompts in examples.items()}
    write_json(folder / "leak.json", leaks)
    write_json(folder / "knowledge.json", attached.summary() | {"cost": costs})


def cost_by_dataset(
    examples: Sequence[Example], count: Count, seconds: Mapping[str, float]
) -> dict[str, dict[str, float | int | None]]:
    """`cost` for the prompts of each dataset, by its name."""
    names = dict.fromkeys(example.record.dataset for example in examples)
    return {name: cost([e for e in examples if e.record.dataset == name], count, seconds) for name in names}


def cost(examples: Sequence[Example], count: Count, seconds: Mapping[str, float]) -> dict[str, float | int | None]:
    """Token cost, prompt length with the clip's descriptions minus without (those of few-shot examples stay), and
    generation time.

    seconds: generation time of a clip's descriptions by record id, of those found in the store too. seconds_per_clip is
    the mean over the clips in it; None where none is.
    """
    tokens, shares = [], []
    for example in examples:
        with_descriptions = count(example.messages)
        text = "".join(text for slot, text in example.shown.items() if not slot.endswith(" description"))
        *media, _ = example.messages[-1]["content"]
        user = {"role": "user", "content": [*media, {"type": "text", "text": text}]}
        tokens.append(with_descriptions - count([*example.messages[:-1], user]))
        shares.append(tokens[-1] / with_descriptions)
    timed = sorted({example.record.id for example in examples} & set(seconds))
    return {
        "prompts": len(examples),
        "tokens_per_prompt": float(np.mean(tokens)) if tokens else None,
        "most_tokens": max(tokens, default=None),
        "share_of_text_tokens": float(np.mean(shares)) if shares else None,
        "clips_with_seconds": len(timed),
        "seconds_per_clip": float(np.mean([seconds[record_id] for record_id in timed])) if timed else None,
    }
