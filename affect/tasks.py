"""What is asked of a clip: the kind of answer, its labels or range, and the words used in each language."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum


class Kind(str, Enum):
    classification = "classification"
    intensity = "intensity"


HEADLINES = {
    Kind.classification: ("accuracy", "weighted_f1", "macro_f1", "uar"),
    Kind.intensity: ("mae", "pearson"),
}
"""Names of the metrics of each kind of task; affect.metrics computes them (a test holds the two together)."""


@dataclass(slots=True, kw_only=True)
class Task:
    """One question that can be put to every record of a dataset. It is also the schema of a task in a dataset's
    YAML."""

    name: str = ""
    """Filled from the key under `task_definitions`."""
    kind: Kind = Kind.classification
    labels: list[str] = field(default_factory=list)
    """Classification: the closed set, in the dataset's own spelling. The order is that of tables."""
    low: float | None = None
    """Intensity: smallest value of the range."""
    high: float | None = None
    """Intensity: largest value of the range."""
    step: float | None = None
    """Intensity: distance between the values that are written as answers and scored by the expectation readout."""
    headline: str = "weighted_f1"
    """The metric the field reports for this task, and the one a checkpoint is chosen by."""
    question: dict[str, str] = field(default_factory=dict)
    """Question by language code. `{labels}`, `{low}` and `{high}` may stand in it."""
    words: dict[str, dict[str, str]] = field(default_factory=dict)
    """By language code, the word that stands for a label in prompt and answer, where it is not the label itself."""

    def word(self, label: str, language: str) -> str:
        """The word for `label` in prompts and answers of `language`."""
        return self.words.get(language, {}).get(label, label)

    def answer(self, value: str | float, language: str) -> str:
        """The text a perfect model answers when the gold value is `value`."""
        if self.kind is Kind.classification:
            return self.word(str(value), language)
        return format_number(float(value), self.step)

    def grid(self) -> list[float]:
        """The values of an intensity task that the expectation readout scores: low, low + step, …, high."""
        assert self.low is not None and self.high is not None and self.step is not None
        count = round((self.high - self.low) / self.step)
        return [round(self.low + i * self.step, 6) for i in range(count + 1)]


def format_number(value: float, step: float | None) -> str:
    """`value` with as many decimals as `step` has, so that all answers of a task look alike.

    >>> format_number(-0.04, 0.1), format_number(2, 0.1), format_number(3.0, 1)
    ('0.0', '2.0', '3')
    """
    decimals = 1 if step is None else max(0, len(f"{step:.6f}".rstrip("0").split(".")[1]))
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text


def problems(task: Task) -> Iterator[str]:
    """One sentence for each thing that is wrong with the definition of a task."""
    if task.kind is Kind.classification:
        folded = [label.casefold() for label in task.labels]
        if len(task.labels) == 1:
            yield (
                f"task '{task.name}' has a single label ({task.labels[0]}): name at least"
                " two, there is nothing to decide"
            )
        if len(set(folded)) != len(folded):
            yield (
                f"task '{task.name}' names a label twice (upper and lower case are the same to a reader): {task.labels}"
            )
        for language in task.words:
            unknown = sorted(set(task.words[language]) - set(task.labels))
            if unknown:
                yield f"task '{task.name}' has words ({language}) for labels it does not have: {', '.join(unknown)}"
            used = [task.word(label, language).casefold() for label in task.labels]
            if len(set(used)) != len(used):
                yield f"task '{task.name}' uses one word ({language}) for two labels: {used}"
    elif task.low is None or task.high is None or task.step is None:
        yield f"task '{task.name}' is an intensity: give low, high and step"
    elif not task.low < task.high:
        yield f"task '{task.name}' has low={task.low} and high={task.high}: low has to be the smaller"
    elif task.step <= 0 or abs((task.high - task.low) / task.step - round((task.high - task.low) / task.step)) > 1e-6:
        yield f"task '{task.name}' has step={task.step}, which does not divide the range from {task.low} to {task.high}"
    for language, question in task.question.items():
        try:
            question.format(labels="", low="", high="")
        except (KeyError, IndexError, ValueError) as error:
            yield (
                f"the question ({language}) of task '{task.name}' has a placeholder that is not one of"
                f" {{labels}}, {{low}}, {{high}}: {error}"
            )
    if not task.question:
        yield f"task '{task.name}' has no question: give it one by language, e.g. question: {{en: …}}"
