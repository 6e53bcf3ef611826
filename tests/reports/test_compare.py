"""How two settings compare: on which clips, and what is said of it."""

import pytest

from affect.config import DataError, Task
from affect.data import Prediction
from affect.evaluation.metrics import headline_metric
from affect.reports.paired_runs import Scored, compare

EMOTION = Task(name="emotion", labels=["joy", "anger", "sadness", "fear"])


def scored(name: str, right: str, *, gold: str = "joy", groups: int = 12, first: int = 0) -> Scored:
    """A run whose answers are right where `right` has a 1."""
    predictions = {
        f"x/{i}": Prediction(
            id=f"x/{i}",
            dataset="x",
            split="test",
            task="emotion",
            group=f"g{i % groups}",
            target=gold,
            answer=None,
            exact=None,
            lenient=gold if one == "1" else "anger",
            outcome="valid",
            readout="score",
        )
        for i, one in enumerate(right, first)
    }
    return Scored(name=name, predictions=predictions, reader="lenient")


METRIC = headline_metric(Task(labels=EMOTION.labels, headline="accuracy"))


def test_only_clips_that_all_runs_have_scored_count():
    one, other = scored("one", "1111" * 10), scored("other", "1100" * 9, first=4)
    found, notes = compare([(one, other), (one, one), (one, other)], EMOTION, METRIC)
    assert (found.clips, found.groups, found.seeds, found.mean) == (36, 12, 3, pytest.approx(1 / 3))
    assert notes[0] == "compared on the 36 clips that all runs have scored, of up to 40"


def test_what_an_interval_does_not_stand_on_is_said():
    one, other = scored("one", "1110110" * 10), scored("other", "1100100" * 10)
    found, notes = compare([(one, other)], EMOTION, METRIC)
    assert found.low is not None and found.low > 0
    assert notes == ["a single seed, so that the interval is over groups of clips alone, and says nothing of others"]
    one, other = scored("one", "1110" * 10, groups=2), scored("other", "1100" * 10, groups=2)
    found, notes = compare([(one, other)], EMOTION, METRIC)
    assert (found.mean, found.low, found.high, found.p) == (0.25, None, None, None)
    assert notes == [f"no interval, since {found.reason}"] and found.reason.startswith(
        "2 groups cannot carry an interval"
    )


def test_runs_that_do_not_go_together_are_refused():
    one = scored("one", "1111")
    with pytest.raises(DataError, match="one and other have no clip in common: evaluate both on the same split"):
        compare([(one, scored("other", "1111", first=4))], EMOTION, METRIC)
    with pytest.raises(
        DataError, match="x/0 has the target joy in one and fear in other: the annotations have changed"
    ):
        compare([(one, scored("other", "1111", gold="fear"))], EMOTION, METRIC)
    with pytest.raises(DataError, match="x/2 has the group g2 in one and g0 in other: the annotations have changed"):
        compare([(one, scored("other", "1111", groups=2))], EMOTION, METRIC)
