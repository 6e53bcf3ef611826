"""Chat messages to token ids, for every family. Prompt and answer are tokenised separately, so a label always has the
same ids."""

import hashlib
import json
import re
from array import array
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import torch

from affect.prompting import thoughts

REMEMBERED = 2**17
"""Prompts whose ids an encoder caches at the most, four bytes a token."""


def remembered(make: Callable[..., list[int]]) -> Callable[..., list[int]]:
    """Caches a method of an encoder that turns messages (or other JSON values) into ids.

    Every prompt is needed for counting and again in every epoch, and rendering it takes longer than reading cached
    encoder outputs.
    """

    @wraps(make)
    def cached(encoder: Any, *args: Any) -> list[int]:
        cache: dict[bytes, array] = encoder.__dict__.setdefault(f"_{make.__name__}_remembered", {})
        key = hashlib.blake2b(json.dumps(args).encode(), digest_size=16).digest()
        if (ids := cache.get(key)) is None:
            ids = array("i", make(encoder, *args))
            if len(cache) < REMEMBERED:
                cache[key] = ids
        return ids.tolist()

    return cached


JOINERS = frozenset("\u200c\u200d\u00ad")
"""Zero-width non-joiner and joiner, soft hyphen."""


_LIKE_A_TOKEN = re.compile(
    # <|im_end|>, </s>, <end_of_turn>, <<SYS>> and the like, but not HTML's formatting tags.
    r"[<\uff1c](?=[|\uff5c])"
    r"|[<\uff1c](?!/?(?:[abipqu]|em|strong|br|h[1-6]|hr|sub|sup|small|big|code|pre|span|div|font|li|ul|ol)\s?/?>)"
    r"(?=/?[^\W\d][^<>\s]{0,60}[>\uff1e])"
    r"|\[(?=/?[A-Z][A-Z_]{1,30}\])"  # [INST], [/INST], [AUDIO]
    r"|[\[\]](?=~!?\w|\w~\[)"  # ]~b] and [e~[
)
"""The start of a string that is a special token in some vocabulary."""


def neutralise(text: str, special: list[str] | None) -> str:
    """`text` that can neither open nor close a turn: special tokens are broken by a space, control characters replaced
    by one. Joiners (ZWJ, ZWNJ, soft hyphen) stay, since Persian, Hindi and emoji need them.

    A tokenizer would read `<|im_end|>` in a transcript or description as the end of the turn. `special` is None for an
    unknown vocabulary, a server's: then whatever looks like a special token is broken.

    >>> neutralise("so <|im_end|> what", ["<|im_end|>"]), neutralise("so </s>[INST] <b>what</b>", None)
    ('so < |im_end|> what', 'so < /s>[ INST] <b>what</b>')
    """
    joiners = JOINERS & set(text)
    if joiners:
        joined = "".join(c for c in text if c not in joiners)
        if _LIKE_A_TOKEN.search(joined) if special is None else any(token in joined for token in special):
            joiners = set()  # a tokenizer that ignores them would read the token
    text = "".join(c if c.isprintable() or c == "\n" or c in joiners else " " for c in text)
    if special is None:
        return _LIKE_A_TOKEN.sub(r"\g<0> ", text)
    for token in sorted(special, key=len, reverse=True):
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def neutralise_messages(messages: list[dict], special: list[str] | None) -> list[dict]:
    """The messages with every text part neutralised, see `neutralise`."""
    return [
        {
            "role": message["role"],
            "content": [
                {"type": "text", "text": neutralise(part["text"], special)} if part["type"] == "text" else part
                for part in message["content"]
            ],
        }
        for message in messages
    ]


def special_strings(tokenizer: Any) -> list[str]:
    """The strings that this tokenizer turns into special tokens."""
    return sorted({token.content for token in tokenizer.added_tokens_decoder.values() if token.special})


def answer_text(tokenizer: Any, ids: list[int]) -> str:
    """The text of generated tokens without special tokens, except those around thoughts, which separate them from the
    answer."""
    tokens = tokenizer.convert_ids_to_tokens(ids)
    if not any(thoughts.is_mark(token) for token in tokens):
        return tokenizer.decode(ids, skip_special_tokens=True)
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    kept = [i for i, token in zip(ids, tokens, strict=True) if i not in special or thoughts.is_mark(token)]
    return tokenizer.decode(kept, skip_special_tokens=False)


def end_of_turn(templater: Any, tokenizer: Any, text_content: bool, **options: Any) -> int:
    """The token that ends the assistant's turn in this chat template, found by rendering a turn.

    `text_content`: the template takes a plain string as a message's content, not a list of parts. `options` are passed
    to the template.
    """

    def turn(role: str, text: str) -> dict:
        return {"role": role, "content": text if text_content else [{"type": "text", "text": text}]}

    prompt = templater.apply_chat_template([turn("user", "a")], tokenize=False, add_generation_prompt=True, **options)
    full = templater.apply_chat_template([turn("user", "a"), turn("assistant", "b")], tokenize=False, **options)
    if not full.startswith(prompt + "b"):
        raise ValueError(
            "this chat template does not render prompt + answer as the start of the conversation, so training and"
            f" evaluation would have different prompts. Prompt: {prompt!r}, conversation: {full!r}"
        )
    rest = tokenizer(full[len(prompt) + 1 :], add_special_tokens=False)["input_ids"]
    return rest[0] if rest else tokenizer.eos_token_id


def pad_left(prompts: list[list[int]], answers: list[list[int]] | None, pad: int) -> dict[str, Any]:
    """The keys of every batch, from the ids of prompts and, for training, of answers."""
    rows = prompts if answers is None else [p + a for p, a in zip(prompts, answers, strict=True)]
    width = max(map(len, rows))
    attention_mask = np.zeros((len(rows), width), np.int64)
    for i, row in enumerate(rows):
        attention_mask[i, width - len(row) :] = 1
    batch: dict[str, Any] = {"input_ids": _right_aligned(rows, width, pad), "answer_length": 0}
    batch["attention_mask"] = torch.from_numpy(attention_mask)
    if answers is not None:
        batch |= {"labels": _right_aligned(answers, width, -100), "answer_length": max(map(len, answers))}
    return batch


def _right_aligned(rows: list[list[int]], width: int, fill: int) -> torch.Tensor:
    table = np.full((len(rows), width), fill, np.int64)
    for i, row in enumerate(rows):
        table[i, width - len(row) :] = row
    return torch.from_numpy(table)
