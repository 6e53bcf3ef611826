"""Masking words of a transcript."""

import hashlib
from dataclasses import replace

import numpy as np

from affect.config import InterventionConfig
from affect.data.interventions.draws import nearest
from affect.data.record import Record
from affect.data.words import MASK, WORD


def masked_words(text: str, share: float, seed: int) -> str:
    """A transcript with a share of its words, to the nearest whole word, replaced by MASK; what is between them stays.
    The words of a share are among those of every larger one.

    >>> masked_words("I am fine", 1, 0), masked_words("好 啊", 1, 0)
    ('___ ___ ___', '___ ___')
    """
    words = list(WORD.finditer(text))
    digest = hashlib.sha256(f"{seed}/{text}".encode(errors="surrogatepass")).digest()
    order = np.random.default_rng(int.from_bytes(digest[:16], "big")).permutation(len(words))
    for place in sorted(order[: nearest(share * len(words))], reverse=True):
        text = text[: words[place].start()] + MASK + text[words[place].end() :]
    return text


def masked(record: Record, config: InterventionConfig) -> Record:
    """The record with the words of its transcript masked that text_masked asks for."""
    return replace(record, text=masked_words(record.text, config.share, config.seed))
