"""English words with a sentiment, from a published lexicon.

VADER (Hutto and Gilbert, VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text, ICWSM
2014) rates 7,500 words from -4 (extremely negative) to 4 (extremely positive). It is read out of the package
vaderSentiment (MIT); nothing is downloaded.

There is no Chinese lexicon. Those in packages (HowNet, DUTIR) rate words such as 没有 (none), 很多 (many) and 停顿
(pause), so most descriptions would name a sentiment. The emotion words of synonyms.yaml are used instead.
"""

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files

import snowballstemmer

SOURCE = "VADER (Hutto and Gilbert, ICWSM 2014)"

LEAST = 1.5
"""Words rated closer to 0 are left out: many have a sentiment in some contexts only (certain, play, increase). Weak
emotion words are in synonyms.yaml."""

# What a description tells of audio and video without naming a sentiment.
_PERCEIVED = """
low clear bright brightness lively strong weak gentle energetic energy huge harsh sharp warm natural dynamic vibrant
tense tension tired smile laugh laughter giggle giggly chuckle grin cry cries weep wept sob scream yell shout frown stop
fresh clean dirty dull dead die empty alone heavy block cover fine shake shaky tremble trembly tears sunny
hand heart kiss hug applause applaud attack crash stress strain clarity focused choke fit broke broken damage
distraction
"""

_COMMON = """
like well pretty please care careful best better true kind play certain interest want matter important share chance
number create active support feeling secure improve unite agree ok okay yes no sure top original value alert demand
charge fire fight leave left loose miss pay lack lost solid free freedom easy ease special super win rich fun hope
hopefully protect party opportunity advantage attract increase grant honest war kill suspend trust interrupt
ready help friend problem hero wish won promise holiday dear treat definite definitely save accept award medal gift
prize engage smart convince emergency crime prison illegal
"""

NOT_A_SENTIMENT = (*_PERCEIVED.split(), *_COMMON.split())
"""Words of the lexicon, with their forms, that descriptions of clips use in another sense."""

DEGREES = frozenset(("greatly", "awfully", "terribly", "incredibly", "amazingly", "fabulously"))
"""Adverbs of degree."""


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The stem of an English word in lower case, by the Snowball stemmer for English (Porter 2)."""
    return snowballstemmer.stemmer("english").stemWord(word)


@cache
def english() -> Mapping[str, float]:
    """Mean rating by word, without emoticons, words rated closer to 0 than LEAST, NOT_A_SENTIMENT and DEGREES."""
    lines = (files("vaderSentiment") / "vader_lexicon.txt").read_text(encoding="utf-8").splitlines()
    other = {stem(word) for word in NOT_A_SENTIMENT}
    ratings = {}
    for line in lines:
        word, rating, *_ = line.split("\t")
        if (
            re.fullmatch("[a-z]{3,}", word)
            and abs(float(rating)) >= LEAST
            and stem(word) not in other
            and word not in DEGREES
        ):
            ratings[word] = float(rating)
    return ratings
