"""Predictions made of an example and what a method says of it."""

from typing import Any

import torch

from affect.config import Kind
from affect.data import Prediction
from affect.models.heads import number
from affect.models.unanswered import NOT_FINITE
from affect.prompting.messages import Example


def prediction_of(example: Example, **answer: Any) -> Prediction:
    """The prediction for an example. `answer` has the fields of a Prediction that the example does not tell."""
    record = example.record
    return Prediction(
        id=record.id,
        dataset=record.dataset,
        split=record.split,
        task=example.task.name,
        group=record.group,
        target=record.labels.get(example.task.name),
        **answer,
    )


def failed(example: Example, readout: str, error: str) -> Prediction:
    """The prediction for an example that could not be put to the model, or got no answer from it."""
    return prediction_of(example, answer=None, exact=None, lenient=None, outcome="error", readout=readout, error=error)


def of_output(example: Example, output: torch.Tensor) -> Prediction:
    """The prediction of an output layer: a logit for each label in the task's order, or one number from -1 to 1 for an
    intensity (see heads.Heads)."""
    task = example.task
    scores = None
    if not output.isfinite().all():
        return failed(example, "head", NOT_FINITE)
    if task.kind is Kind.classification:
        value: Any = task.labels[int(output.argmax())]
        scores = dict(zip(task.labels, output.log_softmax(-1).tolist(), strict=True))
    elif task.kind is Kind.multi_label:
        value = tuple(sorted(label for label, logit in zip(task.labels, output, strict=True) if logit > 0))
    else:
        value = float(number(output[0], task))
    return prediction_of(
        example, answer=None, exact=value, lenient=value, outcome="valid", readout="head", scores=scores
    )
