"""What the emotion corpora report under names of their own, and the score of MER2023 that spans two tasks.

The single-task metrics are those of affect.evaluation.metrics.classification, where unreadable answers are treated of:

meld     weighted F1, accuracy and the F1 of every emotion
         https://github.com/declare-lab/MELD, Poria et al., ACL 2019
iemocap  WA (weighted accuracy) is plain accuracy, since the classes weigh as they occur; UA (unweighted accuracy) is
         the mean recall of the classes; and weighted F1. Accuracy and weighted F1 as in
         https://github.com/zeroQiaoba/MERTools/blob/fb8dda0ebd52281f69affcbec3cc34dfd281f1ba/MERBench/toolkit/dataloader/iemocap.py
mer2023  weighted F1 and accuracy, as in
         https://github.com/zeroQiaoba/MERTools/blob/fb8dda0ebd52281f69affcbec3cc34dfd281f1ba/MERBench/toolkit/dataloader/mer2023.py
binary   UR-FUNNY, MUStARD: accuracy, weighted and macro F1 of the two labels
"""

from collections.abc import Sequence

import numpy as np

from affect.config import Kind, Task
from affect.data import Prediction
from affect.evaluation.metrics.classification import weighted_f1
from affect.evaluation.metrics.intensity import Column, columns, worst

VALENCE_WEIGHT = 0.25


def mse(targets: Column, values: Column, low: float, high: float) -> float:
    """mean (value - gold)² in the squared unit of the labels; 0 is best. Values are not clipped; an unreadable one
    (None) counts as the end of [low, high] that is farther from the gold value. Raises like `intensity.mae`.

    >>> mse([1.0, -2.0], [2.0, None], low=-5, high=5)
    25.0
    """
    gold, read = columns(targets, values)
    read = np.where(np.isnan(read), worst(gold, low, high), read)
    # An answer may be a number so large that its square would overflow.
    return float(np.square(np.clip(read - gold, -1e150, 1e150)).mean())


def emotion_valence(
    emotions: Sequence[Prediction],
    valences: Sequence[Prediction],
    emotion: Task,
    valence: Task,
    reader: str = "lenient",
) -> tuple[float, int]:
    """MER2023's combined score, weighted F1 of the emotions - 0.25 · mean squared error of the valences, at most 1, and
    the number of rows it stands on: those that are labelled for both tasks (test3 of MER2023 has no valence). nan where
    there are none.

    Lian et al., MER 2023, arXiv 2304.08981. Unreadable answers: wrong for the F1, and the worst value of the range of
    `valence` for the error. The predictions of both tasks are matched by id. Raises ValueError where the tasks are not
    a classification and an intensity.
    """
    if emotion.kind is not Kind.classification or valence.kind is not Kind.intensity:
        raise ValueError(
            f"task '{emotion.name}' is a {emotion.kind.value} and task '{valence.name}' a {valence.kind.value}: the"
            " combined score of MER2023 is of a classification and an intensity, in this order"
        )
    assert valence.low is not None and valence.high is not None
    by_id = {prediction.id: prediction for prediction in valences if prediction.target is not None}
    pairs = [(first, by_id[first.id]) for first in emotions if first.target is not None and first.id in by_id]
    if not pairs:
        return float("nan"), 0
    f1 = weighted_f1([e.target for e, _ in pairs], [getattr(e, reader) for e, _ in pairs], emotion.labels)
    error = mse([v.target for _, v in pairs], [getattr(v, reader) for _, v in pairs], valence.low, valence.high)
    return f1 - VALENCE_WEIGHT * error, len(pairs)
