"""Chat messages to token ids, for all families. Prompt and answer are tokenised separately, so that a label has the
same ids after every prompt."""

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
"""Most prompts whose ids an encoder remembers, at four bytes a token."""


def remembered(make: Callable[..., list[int]]) -> Callable[..., list[int]]:
    """Caches an encoder's method that turns messages, or other arguments that JSON can write, into ids. The same
    prompts come again in every epoch, and rendering them takes longer than reading a clip's encoder outputs."""

    @wraps(make)
    def cached(encoder: Any, *arguments: Any) -> list[int]:
        cache: dict[bytes, array] = encoder.__dict__.setdefault(f"_{make.__name__}_remembered", {})
        key = hashlib.blake2b(json.dumps(arguments).encode(), digest_size=16).digest()
        if (ids := cache.get(key)) is None:
            ids = array("i", make(encoder, *arguments))
            if len(cache) < REMEMBERED:
                cache[key] = ids
        return ids.tolist()

    return cached


JOINERS = frozenset("\u200c\u200d\u00ad")
"""Zero-width non-joiner and joiner, soft hyphen."""


_LIKE_A_TOKEN = re.compile(
    # <|im_end|>, </s>, <end_of_turn>, <<SYS>> and the like, but not tags that format text in HTML.
    r"[<\uff1c](?=[|\uff5c])"
    r"|[<\uff1c](?!/?(?:[abipqu]|em|strong|br|h[1-6]|hr|sub|sup|small|big|code|pre|span|div|font|li|ul|ol)\s?/?>)"
    r"(?=/?[^\W\d][^<>\s]{0,60}[>\uff1e])"
    r"|\[(?=/?[A-Z][A-Z_]{1,30}\])"  # [INST], [/INST], [AUDIO]
    r"|[\[\]](?=~!?\w|\w~\[)"  # ]~b] and [e~[
)
"""The beginning of a string that is a special token in some vocabulary."""


def neutralise(text: str, special: list[str] | None) -> str:
    """`text` with its special tokens broken by a space, so that it cannot open or close a turn, and with spaces for
    control characters. Characters that join or part letters (ZWJ, ZWNJ, soft hyphen) stay: Persian, Hindi and emoji are
    written with them.

    Transcripts and descriptions come from outside, and a tokenizer reads `<|im_end|>` in them as the end of the turn.
    `special` is None for the unknown vocabulary of a server: everything that looks like a special token is broken.

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
    """The text of generated tokens without special ones, except the marks of thoughts, which are special tokens in some
    vocabularies and tell thoughts and answer apart."""
    tokens = tokenizer.convert_ids_to_tokens(ids)
    if not any(thoughts.is_mark(token) for token in tokens):
        return tokenizer.decode(ids, skip_special_tokens=True)
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    kept = [i for i, token in zip(ids, tokens, strict=True) if i not in special or thoughts.is_mark(token)]
    return tokenizer.decode(kept, skip_special_tokens=False)


def end_of_turn(templater: Any, tokenizer: Any, text_content: bool, **options: Any) -> int:
    """The token that ends the assistant's turn in this chat template, found by rendering a turn.

    `text_content`: the template wants a plain string as the content of a message, not a list of parts. `options`: the
    template's other arguments. Raises ValueError where prompt and answer are not the beginning of a conversation.
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


class ChatEncoder:
    """The part of `affect.models.Encoder` that concerns text alone, for encoders that have their tokenizer here."""

    tokens_known = True

    def __init__(self, tokenizer: Any, end: int, special: list[str]) -> None:
        """`end` is the token that ends a turn; `special` are the strings that text from outside must not contain."""
        self.tokenizer, self.end, self.special = tokenizer, end, special
        self.pad = end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self.stops = frozenset({end, self.pad, tokenizer.eos_token_id} - {None})

    def tokenize(self, text: str) -> list[int]:
        """Ids of a text in which special tokens are written out; none are added."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    @remembered
    def answer_ids(self, answer: str) -> list[int]:
        """The tokens of an answer, end of turn included."""
        return [*self.tokenize(neutralise(answer, self.special)), self.end]

    def decode(self, ids: list[int]) -> str:
        """The text of generated tokens, without special ones."""
        return answer_text(self.tokenizer, ids)

    def text_batch(self, prompts: list[list[int]], answers: list[str | None]) -> dict[str, Any]:
        """The keys every batch has, from the ids of prompts and their answers; all have one or none has."""
        assert len({answer is None for answer in answers}) == 1, (
            "some conversations of the batch have an answer and some do not"
        )
        return pad_left(prompts, None if answers[0] is None else [*map(self.answer_ids, answers)], self.pad)
