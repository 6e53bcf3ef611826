"""Chooses the labelled training examples in a prompt. Pure: records in, records out; their clips are not opened.

An example is never of the clip's own group (video, dialogue, speaker), which would tell of it more than a stranger's
clip can, and never of a split that is evaluated.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from affect.config import Config, DataError, ExampleChoice, PromptingConfig, Task
from affect.data import Record
from affect.prompting import messages

if TYPE_CHECKING:
    from affect.data.part import Part


TERM = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
"""A run of kana and Chinese characters, or a word of other letters and digits."""


def terms(text: str) -> list[str]:
    """The words of a text, in lower case; of Chinese and kana, every character and every pair of neighbours, since no
    spaces part their words.

    >>> terms("Oh no, NOT again"), terms("真高兴 OK")
    (['oh', 'no', 'not', 'again'], ['真', '高', '兴', '真高', '高兴', 'ok'])
    """
    found = []
    for run in TERM.findall(text.casefold()):
        if "\u3040" <= run[0] <= "\u9fff" or "\uf900" <= run[0] <= "\ufaff":
            found += [*run, *(run[i : i + 2] for i in range(len(run) - 1))]
        else:
            found.append(run)
    return found


class Index:
    """Texts that can be asked which of them are near another one.

    The cosine of TF-IDF: a term that stands c times in a text weighs c · (ln((1 + n) / (1 + d)) + 1), where d of the n
    texts have it (Salton and Buckley, Term-weighting approaches in automatic text retrieval, 1988, with the counts
    smoothed by one). Terms of a question that no text has count in its length only by being absent.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(terms(text)) for text in texts]
        self.num_texts = len(texts)
        in_texts = Counter(term for count in counts for term in count)
        self.weight = {term: math.log((1 + len(texts)) / (1 + n)) + 1 for term, n in in_texts.items()}
        rows: dict[str, list[int]] = {term: [] for term in in_texts}
        values: dict[str, list[float]] = {term: [] for term in in_texts}
        for row, count in enumerate(counts):
            weights = self._weights(count)
            for term, weight in weights.items():
                rows[term].append(row)
                values[term].append(weight)
        # By term and not by text, so that a question costs what the texts cost that share a term with it.
        self.postings = {term: (np.array(rows[term]), np.array(values[term])) for term in in_texts}

    def _weights(self, count: Counter[str]) -> dict[str, float]:
        weights = {term: n * self.weight[term] for term, n in count.items() if term in self.weight}
        length = math.sqrt(sum(weight**2 for weight in weights.values()))
        return {term: weight / length for term, weight in weights.items()}

    def similarities(self, text: str) -> np.ndarray:
        """Cosine of every text with `text`: float64[num_texts] in [0, 1], 0 where they share no term."""
        scores = np.zeros(self.num_texts)
        for term, weight in self._weights(Counter(terms(text))).items():
            rows, values = self.postings[term]
            scores[rows] += weight * values
        return scores


def choose(
    records: Sequence[Record], pool: Sequence[Record], task: Task, prompting: PromptingConfig, modalities: str
) -> dict[str, tuple[Record, ...]]:
    """By id of each of `records`, prompting.fewshot.k examples out of `pool`, the most similar last.

    All are of one dataset. What is compared is the transcript, and where `modalities` leaves that out, the descriptions
    that are shown. Equally similar ones are drawn by prompting.fewshot.seed and the id of the record, so what a record
    gets depends on the pool and on nothing else. Raises DataError where fewer than k are left of other groups.
    """
    wanted = prompting.fewshot.k
    if not wanted:
        return {record.id: () for record in records}
    # The order of the pool must not matter, since it is that of the annotation files.
    labelled = sorted((record for record in pool if task.name in record.labels), key=lambda record: record.id)
    similar = prompting.fewshot.choice is ExampleChoice.similar
    index = Index([_compared(record, prompting, modalities) for record in labelled]) if similar else None
    codes = {group: code for code, group in enumerate({record.group for record in (*labelled, *records)})}
    groups = np.array([codes[record.group] for record in labelled], dtype=int)
    chosen = {}
    for record in records:
        others = np.flatnonzero(groups != codes[record.group])
        if len(others) < wanted:
            raise DataError(
                f"{record.source or record.id}: {record.id} has {len(others)} training examples of"
                f" '{record.dataset}.{task.name}' outside its own group '{record.group}', and"
                f" prompting.fewshot.k={wanted} asks for more: lower prompting.fewshot.k, or use more training clips"
            )
        seed = int.from_bytes(hashlib.sha256(f"{prompting.fewshot.seed}/{record.id}".encode()).digest()[:8])
        order = np.random.default_rng(seed).permutation(others)
        if index is not None:
            scores = index.similarities(_compared(record, prompting, modalities))[order]
            # Only those that can be among the k are sorted: it is done for every clip of a dataset.
            least = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
            near = np.flatnonzero(scores >= least)
            order = order[near[np.argsort(-scores[near], kind="stable")]]
        chosen[record.id] = tuple(labelled[i] for i in order[:wanted][::-1])
    return chosen


def _compared(record: Record, prompting: PromptingConfig, modalities: str) -> str:
    if "t" in modalities:
        return record.text
    return "\n".join(text for text, _ in messages.descriptions(record, prompting, modalities).values())


def for_split(parts: "Sequence[Part]", split: str, cfg: Config) -> dict[tuple[str, str], tuple[Record, ...]]:
    """By id of a record of `split` and name of a task, the examples of its prompt, which are none where
    prompting.fewshot.k is 0. The examples come from the training split of the same dataset, which has to be among
    `parts`."""
    made: dict[tuple[str, str], tuple[Record, ...]] = {}
    for part in parts:
        if part.split != split:
            continue
        pool = [r for p in parts if p.dataset == part.dataset and p.split == "train" for r in p.records]
        for name in cfg.datasets[part.dataset].tasks:
            task = cfg.datasets[part.dataset].task_definitions[name]
            chosen = choose(part.records, pool, task, cfg.prompting, cfg.modalities)
            made |= {(id, name): examples for id, examples in chosen.items()}
    return made
