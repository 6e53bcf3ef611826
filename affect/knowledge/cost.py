"""Cost of knowledge: tokens added to each prompt, and seconds of generation."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from affect.prompting.messages import Example


def by_dataset(
    examples: Sequence[Example], count: Callable[[list[dict]], int], seconds: Mapping[str, float]
) -> dict[str, dict[str, float | int | None]]:
    """`added` for the prompts of each dataset, by its name."""
    names = dict.fromkeys(example.record.dataset for example in examples)
    return {name: added([e for e in examples if e.record.dataset == name], count, seconds) for name in names}


def added(
    examples: Sequence[Example], count: Callable[[list[dict]], int], seconds: Mapping[str, float]
) -> dict[str, float | int | None]:
    """What the descriptions of the clips add to their prompts; `count` gives the number of text tokens of messages,
    `seconds` by record id how long the descriptions of a clip took to make.

    A prompt counts as what it is shorter without them; those of few-shot examples stay. Descriptions that were found in
    the store took their seconds too, once. seconds_per_clip is over the clips that `seconds` has, and None where it has
    none of them.
    """
    tokens, shares = [], []
    for example in examples:
        whole = count(example.messages)
        without = "".join(text for slot, text in example.shown.items() if not slot.endswith(" description"))
        *media, _ = example.messages[-1]["content"]
        user = {"role": "user", "content": [*media, {"type": "text", "text": without}]}
        tokens.append(whole - count([*example.messages[:-1], user]))
        shares.append(tokens[-1] / whole)
    known = {example.record.id for example in examples} & set(seconds)
    return {
        "prompts": len(examples),
        "tokens_per_prompt": float(np.mean(tokens)) if tokens else None,
        "most_tokens": max(tokens, default=None),
        "share_of_text_tokens": float(np.mean(shares)) if shares else None,
        "clips_with_seconds": len(known),
        "seconds_per_clip": float(np.mean([seconds[id] for id in sorted(known)])) if known else None,
    }
