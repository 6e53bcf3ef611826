"""Why a model gave no answer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Stands in place of a generated answer where there is none."""

    reason: str
    """A sentence, with the remedy."""


NOT_FINITE = (
    "the model's output is not finite (NaN or infinity): set model.precision=float32, check the weights, or train again"
    " with a lower finetuning.learning_rate"
)
"""Why there is no answer where logits or scores are not finite."""
