"""Choice of the labelled training examples in a prompt.

An example never comes from the clip's own group (video, dialogue, speaker), nor from a split that is evaluated.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from affect.config import Config, DataError, ExampleChoice, PromptingConfig, Task
from affect.data import Record
from affect.prompting import messages

if TYPE_CHECKING:
    from affect.data.part import Part


TERM = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
"""A run of kana and Chinese characters, or a word of other letters and digits."""

BATCH = 256
"""Texts compared with the pool at a time: a matrix of 16,000 by 16,000 similarities would take 2 GB."""


def terms(text: str) -> list[str]:
    """The words of a text in lower case. Chinese and kana, which have no spaces, give every character and every pair
    of neighbours.

    >>> terms("Oh no, NOT again"), terms("真高兴 OK")
    (['oh', 'no', 'not', 'again'], ['真', '高', '兴', '真高', '高兴', 'ok'])
    """
    words = []
    for run in TERM.findall(text.casefold()):
        if "\u3040" <= run[0] <= "\u9fff" or "\uf900" <= run[0] <= "\ufaff":
            words += [*run, *(run[i : i + 2] for i in range(len(run) - 1))]
        else:
            words.append(run)
    return words


def similarities(texts: Sequence[str], pool: Sequence[str]) -> Iterator[np.ndarray]:
    """For each text, the cosine of its TF-IDF vector with those of the pool: float64[len(pool)] in [0, 1].

    Vocabulary and document frequencies come from the pool; other terms of a text are ignored.
    """
    # Imported here because it takes a second, and only few-shot prompts need it.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import linear_kernel

    if not any(map(terms, pool)):  # scikit-learn refuses an empty vocabulary
        yield from np.zeros((len(texts), len(pool)))
        return
    vectorizer = TfidfVectorizer(analyzer=terms)
    pool_rows = vectorizer.fit_transform(pool)
    for start in range(0, len(texts), BATCH):
        # Equal similarities may differ in the last bits, by the order in which their terms are added up.
        yield from linear_kernel(vectorizer.transform(texts[start : start + BATCH]), pool_rows).round(12)


def choose(
    records: Sequence[Record], pool: Sequence[Record], task: Task, prompting: PromptingConfig, modalities: str
) -> dict[str, tuple[Record, ...]]:
    """The prompting.fewshot.k examples of each record out of `pool`, by record id, the most similar last.

    All records are of one dataset. Transcripts are compared, or the shown descriptions where `modalities` has no text.
    Equally similar examples are drawn by prompting.fewshot.seed and the record's id, so the choice depends neither on
    the order of the pool nor on other records. Raises DataError where fewer than k examples are of other groups.
    """
    k = prompting.fewshot.k
    if not k:
        return {record.id: () for record in records}
    labelled = sorted((record for record in pool if task.name in record.labels), key=lambda record: record.id)
    group_codes = {group: code for code, group in enumerate({record.group for record in (*labelled, *records)})}
    groups = np.array([group_codes[record.group] for record in labelled], dtype=int)
    by_similarity = prompting.fewshot.choice is ExampleChoice.similar
    texts, pool_texts = (
        [_compared_text(record, prompting, modalities) if by_similarity else "" for record in some]
        for some in (records, labelled)
    )
    all_scores = similarities(texts, pool_texts) if by_similarity else [None] * len(records)
    chosen = {}
    for record, scores in zip(records, all_scores, strict=True):
        others = np.flatnonzero(groups != group_codes[record.group])
        if len(others) < k:
            raise DataError(
                f"{record.source or record.id}: {record.id} has {len(others)} training examples of"
                f" '{record.dataset}.{task.name}' outside its own group '{record.group}', fewer than"
                f" prompting.fewshot.k={k}: lower prompting.fewshot.k, or use more training clips"
            )
        seed = int.from_bytes(hashlib.sha256(f"{prompting.fewshot.seed}/{record.id}".encode()).digest()[:8])
        order = np.random.default_rng(seed).permutation(others)
        if scores is not None:
            # A stable sort of the shuffled pool draws among equals; only those that can be among the k are sorted.
            shuffled = scores[order]
            kth_best = np.partition(shuffled, len(shuffled) - k)[len(shuffled) - k]
            near = np.flatnonzero(shuffled >= kth_best)
            order = order[near[np.argsort(-shuffled[near], kind="stable")]]
        chosen[record.id] = tuple(labelled[i] for i in order[:k][::-1])
    return chosen


def _compared_text(record: Record, prompting: PromptingConfig, modalities: str) -> str:
    if "t" in modalities:
        return record.text
    return "\n".join(text for text, _ in messages.descriptions(record, prompting, modalities).values())


def for_split(parts: "Sequence[Part]", split: str, cfg: Config) -> dict[tuple[str, str], tuple[Record, ...]]:
    """The examples for every record of a split, by record id and task name; empty where prompting.fewshot.k is 0.

    Examples come from the training split of the same dataset, which has to be among `parts`.
    """
    examples: dict[tuple[str, str], tuple[Record, ...]] = {}
    for part in parts:
        if part.split != split:
            continue
        pool = [r for other in parts if (other.dataset, other.split) == (part.dataset, "train") for r in other.records]
        dataset = cfg.datasets[part.dataset]
        for name in dataset.tasks:
            chosen = choose(part.records, pool, dataset.task_definitions[name], cfg.prompting, cfg.modalities)
            examples |= {(record_id, name): shots for record_id, shots in chosen.items()}
    return examples
