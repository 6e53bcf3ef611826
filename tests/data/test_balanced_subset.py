"""Subsets of the training clips with as many of each class."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from affect.config import Config, DataError, Kind, Task
from affect.data import Record
from affect.data.subsets import balanced_subset, draw

EMOTION = Task(name="emotion", kind=Kind.classification, labels=["joy", "anger", "awe"])
SENTIMENT = Task(name="sentiment", kind=Kind.intensity, low=-3, high=3)


def record(i: int, labels: dict) -> Record:
    return Record(id=f"{i}", dataset="d", split="train", text="x", group="g", labels=labels)


def records(labels: list, task: Task = EMOTION) -> list[Record]:
    return [record(i, {} if label is None else {task.name: label}) for i, label in enumerate(labels)]


ALL = records([*["joy"] * 20, *["anger"] * 9, None, *["awe"] * 4])


def test_classes_are_drawn_equally_often_and_smaller_subsets_lie_inside() -> None:
    drawn = {count: balanced_subset(ALL, EMOTION, count, seed=1) for count in (3, 6, 7, 12)}
    for count, some in drawn.items():
        numbers = Counter(record.labels["emotion"] for record in some)
        assert len(some) == count and max(numbers.values()) - min(numbers.values()) <= 1 and len(numbers) == 3
        assert [record for record in ALL if record in some] == some, "in their order"
    ids = [{record.id for record in some} for some in drawn.values()]
    assert all(small < large for small, large in pairwise(ids))
    assert balanced_subset(ALL[::-1], EMOTION, 6, seed=1) == drawn[6][::-1]
    assert balanced_subset(ALL, EMOTION, 6, seed=2) != drawn[6]


def test_an_intensity_is_balanced_by_its_sign() -> None:
    of_numbers = records([-1.0, -2.0, -0.5, 0.0, 0.0, 3.0, 1.0], SENTIMENT)
    values = [record.labels["sentiment"] for record in balanced_subset(of_numbers, SENTIMENT, 6, seed=0)]
    assert Counter((value > 0) - (value < 0) for value in values) == {-1: 2, 0: 2, 1: 2}


@pytest.mark.parametrize(
    ("count", "why"),
    [(15, "needs 5 of label awe, and there are 4: set subset.train to at most 12"), (2, "each of the 3 labels")],
)
def test_what_cannot_be_balanced_is_refused(count: int, why: str) -> None:
    with pytest.raises(DataError, match=why):
        balanced_subset(ALL, EMOTION, count, seed=1)


def test_only_training_clips_are_balanced(configure: Callable[..., Config]) -> None:
    words = ("datasets.demo.subset_classes=balanced", "datasets.demo.subset={train:6,test:6}")
    config = configure("dataset=demo", *words).datasets["demo"]
    all_records = records([*["joy"] * 30, *["anger"] * 6])
    assert Counter(r.labels["emotion"] for r in draw(config, "train", all_records)[0]) == {"joy": 3, "anger": 3}
    assert Counter(r.labels["emotion"] for r in draw(config, "test", all_records)[0]) == {"joy": 5, "anger": 1}
