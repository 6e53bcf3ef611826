"""Control experiments: prompts with other descriptions than a clip's own.

shuffled             the descriptions of another clip of the same dataset and split: same form, other content
empty                the wording around descriptions with nothing in it: the effect of a longer prompt
mismatched_modality  descriptions of audio and video exchanged
masked               everything that names a label masked (naming.py): the effect without reading the answer off
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import yaml

from affect.config import Config, Control, ControlSplit, DataError, Kind, Task
from affect.data import Record
from affect.data.words import MASK
from affect.knowledge.naming import Vocabulary, masked, normalised

if TYPE_CHECKING:
    from affect.data.part import Part

VALENCE = {
    "negative": ("sad", "angry", "frustrated", "fearful", "worried", "disgusted", "contempt", "ridicule", "complain"),
    "neutral": (),
    "positive": ("happy", "excited", "praise", "thank"),
}
"""Ideas of synonyms.yaml whose words tell a speaker's sentiment, by polarity."""

POLARITIES = ("negative", "neutral", "positive")
"""What an intensity has instead of labels: below, at and above the middle of its range."""


@cache
def synonyms() -> Mapping[str, frozenset[str]]:
    """The words of synonyms.yaml in all languages by idea, normalised."""
    ideas = yaml.safe_load((files("affect.knowledge") / "synonyms.yaml").read_text(encoding="utf-8"))
    return {
        idea: frozenset(normalised(word.strip()) for words in by_language.values() for word in words.split(","))
        for idea, by_language in ideas.items()
    }


def control(parts: "Sequence[Part]", cfg: Config) -> dict[str, int]:
    """Applies knowledge.control to the descriptions of all parts, or of the evaluated split where
    knowledge.control_split=test. Gives the number of clips and of masked words. Raises DataError as `controlled`
    does."""
    counts = {"clips": 0, "masked_words": 0}
    if cfg.knowledge.control is Control.none:
        return counts
    for part in parts:
        if cfg.knowledge.control_split is ControlSplit.test and part.split != cfg.evaluation.split:
            continue
        dataset = cfg.datasets[part.dataset]
        tasks = [dataset.task_definitions[name] for name in dataset.tasks]
        before = part.records
        part.records = controlled(before, tasks, cfg.knowledge.control, cfg.seed)
        counts["clips"] += sum(bool(record.knowledge) for record in before)
        if cfg.knowledge.control is Control.masked:
            words = [vocabulary(task) for task in tasks]
            texts = (text for record in before for text in record.knowledge.values())
            counts["masked_words"] += sum(masked(text, words, MASK)[1] for text in texts)
    return counts


def controlled(records: Sequence[Record], tasks: Sequence[Task], kind: Control, seed: int) -> list[Record]:
    """The records of one dataset and split with controlled descriptions; those without descriptions stay the same.

    Raises DataError where shuffling finds no other clip, and where there are not two modalities to exchange.
    """
    if kind is Control.none:
        return list(records)
    if kind is Control.shuffled:
        return _shuffled(records, seed)
    if kind is Control.empty:
        return [replace(record, knowledge=dict.fromkeys(record.knowledge, "")) for record in records]
    if kind is Control.mismatched_modality:
        return [_mismatched(record) for record in records]
    vocabularies = [vocabulary(task) for task in tasks]
    return [
        replace(r, knowledge={name: masked(text, vocabularies, MASK)[0] for name, text in r.knowledge.items()})
        for r in records
    ]


def _shuffled(records: Sequence[Record], seed: int) -> list[Record]:
    """Each clip gets all descriptions of one other clip, and gives its own to one other."""
    by_kinds = defaultdict(list)
    for record in sorted(records, key=lambda record: record.id):
        if record.knowledge:
            by_kinds[tuple(sorted(record.knowledge))].append(record)
    giver: dict[str, Record] = {}
    for names, alike in by_kinds.items():
        if len(alike) < 2:
            raise DataError(
                f"{alike[0].source or alike[0].id}: {alike[0].id} is the only clip of its split with descriptions of"
                f" {' and '.join(names)}, and knowledge.control=shuffled needs another one: use more clips, or another"
                " control"
            )
        # Sattolo's algorithm gives a single cycle through all clips, so none keeps its own (Sattolo, 1986).
        order = list(alike)
        draw = random.Random(f"{seed}/{alike[0].dataset}/{alike[0].split}/{'/'.join(names)}")
        for i in range(len(order) - 1, 0, -1):
            j = draw.randrange(i)
            order[i], order[j] = order[j], order[i]
        giver |= {record.id: other for record, other in zip(alike, order, strict=True)}
    return [replace(r, knowledge=giver[r.id].knowledge) if r.knowledge else r for r in records]


def _mismatched(record: Record) -> Record:
    if not record.knowledge:
        return record
    if not {"audio", "video"} <= set(record.knowledge):
        raise DataError(
            f"{record.source or record.id}: {record.id} has a description of its {' and '.join(record.knowledge)} only,"
            " and knowledge.control=mismatched_modality exchanges those of audio and video: set"
            " prompting.descriptions=[audio,video], or another control"
        )
    exchanged = {"audio": record.knowledge["video"], "video": record.knowledge["audio"]}
    return replace(record, knowledge={**record.knowledge, **exchanged})


def words_by_label(task: Task) -> dict[str, frozenset[str]]:
    """The words of each label in all languages and their synonyms, normalised; by POLARITIES for an intensity.

    A label that means a polarity also has the words of emotions of that polarity. A label's own word is never a synonym
    of another label.
    """
    labels = POLARITIES if task.kind is Kind.intensity else task.labels
    own = {label: own_words(task, label) for label in labels}
    by_label = {}
    for label, words in own.items():
        words_of_others = set().union(*(other_words for other, other_words in own.items() if other != label))
        ideas = {idea for idea, of_idea in synonyms().items() if of_idea & words}
        ideas |= {idea for polarity in ideas & VALENCE.keys() for idea in VALENCE[polarity]}
        by_label[label] = frozenset(words | (set().union(*(synonyms()[idea] for idea in ideas)) - words_of_others))
    return by_label


def own_words(task: Task, label: str) -> set[str]:
    """The label and its words in all languages, normalised. Numbers are not words."""
    words = {label, *(words[label] for words in task.words.values() if label in words)}
    return {normalised(word) for word in words if not re.fullmatch(r"[\d.+-]*", word)}


def vocabulary(task: Task) -> Vocabulary:
    """What names the labels of a task.

    The sentiment lexicon is used where the labels are polarities, as those of an intensity are; with other labels it
    would match every second word.
    """
    words = words_by_label(task)
    own = {word for label in words for word in own_words(task, label)}
    if task.kind is Kind.intensity:
        assert task.low is not None and task.high is not None
        return Vocabulary(words=words, own=own, scale=(task.low, task.high), sides=POLARITIES)
    negative, neutral, positive = (
        next((label for label in words if polarity in own_words(task, label)), None) for polarity in POLARITIES
    )
    sides = None if negative is None or positive is None else (negative, neutral or "", positive)
    return Vocabulary(words=words, own=own, options=tuple(task.labels), sides=sides)


def mask(text: str, tasks: Iterable[Task]) -> tuple[str, int]:
    """`text` with everything that names a label of one of the tasks replaced by MASK, and the number of masks.

    >>> mask("An angry voice, saddened at the end", [Task(name="emotion", labels=["anger", "sadness"])])
    ('An ___ voice, ___ at the end', 2)
    """
    return masked(text, [vocabulary(task) for task in tasks], MASK)
