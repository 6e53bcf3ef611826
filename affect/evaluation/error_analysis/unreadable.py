"""Why answers could not be read."""

from affect.config import Kind, Task
from affect.data import Prediction
from affect.evaluation import parsing


def cause(prediction: Prediction, task: Task, language: str, reader: str) -> str | None:
    """Why the reader, `exact` or `lenient`, has no value of an answer; None where it has one."""
    if getattr(prediction, reader) is not None:
        return None
    if prediction.outcome == "error":
        return f"no answer: {prediction.error or 'the reason was not kept'}"
    if prediction.lenient is not None:
        return "more than the bare answer (the lenient reader has read it)"
    if prediction.error is not None:
        return prediction.error
    if prediction.outcome != "no_label" or prediction.answer is None:
        return prediction.outcome.replace("_", " ")
    if task.kind is Kind.intensity:
        return parsing.why_no_number(prediction.answer)
    folded = prediction.answer.casefold()
    named = any(word.casefold() in folded for label in task.labels for word in (label, task.word(label, language)))
    return "a label is named, but denied or as part of another word" if named else "no label is named"
