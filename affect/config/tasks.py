"""What is asked of a clip: the kind of answer, its labels or range, and the words used in each language."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum

Value = str | float | tuple[str, ...]
"""What a label or an answer can be: a label of a closed set, an intensity, or, sorted, all labels that apply (`()` is
none of them)."""


class Kind(str, Enum):
    classification = "classification"
    """One label out of a closed set."""
    intensity = "intensity"
    """A number from a range."""
    multi_label = "multi_label"
    """Any number of labels out of a closed set, none included."""


PLAIN = {
    Kind.classification: ("accuracy", "weighted_f1", "macro_f1", "uar"),
    Kind.intensity: ("mae", "pearson", "ccc"),
    Kind.multi_label: ("micro_f1", "macro_f1", "weighted_f1", "subset_accuracy"),
}
"""Names of the metrics that are reported for every task of a kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What one publication's code computes, by name. The formulas are in affect.evaluation.metrics, which this module
    has to do without, since the configuration is checked before numpy is imported."""

    kind: Kind
    metrics: tuple[str, ...]
    low: float | None = None
    """Intensity: the range its formulas are written for; None where they hold for any."""
    high: float | None = None
    num_labels: int | None = None
    """Classification: the number of labels it is defined for; None is any."""
    per_class: bool = False
    """Classification: the F1 of every label is reported too, as `f1_<label>`."""


DIALECTS = {
    "mmsa_mosi": Dialect(
        kind=Kind.intensity,
        metrics=("has0_acc2", "has0_f1", "non0_acc2", "non0_f1", "acc5", "acc7", "mae", "pearson"),
        low=-3,
        high=3,
    ),
    "mai_mosi": Dialect(kind=Kind.intensity, metrics=("acc2", "f1", "acc7", "mae", "pearson"), low=-3, high=3),
    "cmu_mosei": Dialect(
        kind=Kind.intensity,
        metrics=("has0_acc2", "has0_f1", "non0_acc2", "non0_f1", "acc7", "mae", "pearson"),
        low=-3,
        high=3,
    ),
    "mmsa_sims": Dialect(kind=Kind.intensity, metrics=("acc2", "acc3", "acc5", "f1", "mae", "pearson"), low=-1, high=1),
    "simsv2": Dialect(
        kind=Kind.intensity,
        metrics=("acc2", "acc3", "acc5", "f1", "mae", "pearson", "weak_acc2", "r2"),
        low=-1,
        high=1,
    ),
    "merbench": Dialect(kind=Kind.intensity, metrics=("non0_acc2", "non0_f1")),
    "meld": Dialect(kind=Kind.classification, metrics=("weighted_f1", "accuracy"), per_class=True),
    "binary": Dialect(kind=Kind.classification, metrics=("accuracy", "weighted_f1", "macro_f1"), num_labels=2),
    "iemocap": Dialect(kind=Kind.classification, metrics=("wa", "ua", "weighted_f1")),
    "mer2023": Dialect(kind=Kind.classification, metrics=("weighted_f1", "accuracy")),
}
"""What is reported beside the plain metrics where a task names it under `dialects`; affect.evaluation.metrics.registry
has the function of each."""

HEADLINES = {
    kind: (
        *plain,
        *(
            f"{name}.{metric}"
            for name, dialect in DIALECTS.items()
            if dialect.kind is kind
            for metric in dialect.metrics
        ),
    )
    for kind, plain in PLAIN.items()
}
"""What the headline of each kind of task can be: a plain metric, or dialect.metric."""


@dataclass(slots=True, kw_only=True)
class Task:
    """One question that can be put to every record of a dataset. It is also the schema of a task in a dataset's
    YAML."""

    name: str = ""
    """Filled from the key under `task_definitions`."""
    kind: Kind = Kind.classification
    """What kind of answer is asked for."""
    labels: list[str] = field(default_factory=list)
    """Classification and multi-label: the closed set, in the dataset's own spelling. The order is that of tables."""
    low: float | None = None
    """Intensity: smallest value of the range."""
    high: float | None = None
    """Intensity: largest value of the range."""
    step: float | None = None
    """Intensity: distance between the values that are written as answers and scored by the expectation readout."""
    headline: str = "weighted_f1"
    """The metric the field reports for this task, and the one a checkpoint is chosen by: one of HEADLINES."""
    dialects: list[str] = field(default_factory=list)
    """Published definitions, of DIALECTS, whose metrics are reported beside the headline."""
    question: dict[str, str] = field(default_factory=dict)
    """Question by language code. `{labels}`, `{low}` and `{high}` may stand in it."""
    words: dict[str, dict[str, str]] = field(default_factory=dict)
    """By language code, the word that stands for a label in prompt and answer, where it is not the label itself."""
    none: dict[str, str] = field(default_factory=dict)
    """Multi-label: by language code, the word for no label at all, where it is not `none`."""

    def word(self, label: str, language: str) -> str:
        """The word for `label` in prompts and answers of `language`."""
        return self.words.get(language, {}).get(label, label)

    def word_for_none(self, language: str) -> str:
        """The answer of `language` to a multi-label task when no label applies."""
        return self.none.get(language, "none")

    def answer(self, value: Value, language: str) -> str:
        """The text a perfect model answers when the gold value is `value`. Several labels stand in the task's order.

        >>> task = Task(kind=Kind.multi_label, labels=["joy", "anger"])
        >>> task.answer(("anger", "joy"), "en"), task.answer((), "en")
        ('joy, anger', 'none')
        """
        if self.kind is Kind.classification:
            return self.word(str(value), language)
        if self.kind is Kind.multi_label:
            assert not isinstance(value, str | int | float), f"{value!r} is not a collection of labels"
            words = [self.word(label, language) for label in self.labels if label in value]
            return ", ".join(words) or self.word_for_none(language)
        assert isinstance(value, str | int | float), f"{value!r} is not a number"
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


def dialects_of(task: Task) -> list[str]:
    """The dialects that are reported for `task`: those it names, and that of its headline.

    >>> dialects_of(Task(kind=Kind.intensity, headline="merbench.non0_f1", dialects=["mmsa_mosi"]))
    ['mmsa_mosi', 'merbench']
    """
    dialect = task.headline.partition(".")[0] if task.headline in HEADLINES[task.kind] else ""
    return [*task.dialects, *([dialect] if dialect in DIALECTS and dialect not in task.dialects else [])]


def problems(task: Task) -> Iterator[str]:
    """One sentence for each thing that is wrong with the definition of a task. Whether its headline is one of HEADLINES
    is not asked here: a task that only lends its labels needs none."""
    if task.kind is not Kind.intensity:
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
        if task.kind is Kind.multi_label:
            yield from _list_problems(task)
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
    yield from _dialect_problems(task)


def _list_problems(task: Task) -> Iterator[str]:
    """What keeps a list of labels from being read back."""
    for language in sorted({*task.question, *task.words, *task.none}):
        words = [task.word(label, language) for label in task.labels]
        commas = [word for word in words if "," in word]
        if commas:
            yield (
                f"task '{task.name}' has a comma in the word ({language}) {commas[0]!r}, and commas part the labels of"
                " an answer: give it another word"
            )
        none = task.word_for_none(language)
        if none.casefold() in [word.casefold() for word in words]:
            yield (
                f"task '{task.name}' uses the word ({language}) '{none}' for a label and for no label at all: set"
                f" none.{language} to another"
            )


def _dialect_problems(task: Task) -> Iterator[str]:
    fitting = [name for name, dialect in DIALECTS.items() if dialect.kind is task.kind]
    for name in dialects_of(task):
        if name not in fitting:
            close = get_close_matches(name, fitting, n=1, cutoff=0.6)
            hint = f", did you mean '{close[0]}'?" if close else "."
            why = f"which is for tasks of kind {DIALECTS[name].kind.value}" if name in DIALECTS else "which is none"
            yield (
                f"task '{task.name}' ({task.kind.value}) names the dialect '{name}', {why}{hint} Dialects of kind"
                f" {task.kind.value}: {', '.join(fitting) or 'none'}"
            )
            continue
        dialect = DIALECTS[name]
        bounds = (task.low, task.high)
        if dialect.low is not None and None not in bounds and bounds != (dialect.low, dialect.high):
            yield (
                f"task '{task.name}' is from {task.low:g} to {task.high:g}, but the dialect '{name}' is written for"
                f" {dialect.low:g} to {dialect.high:g}: leave it out, or correct low and high"
            )
        # No labels yet: they are those of the training rows, and this is asked again when they are known.
        if dialect.num_labels is not None and task.labels and len(task.labels) != dialect.num_labels:
            yield (
                f"task '{task.name}' has {len(task.labels)} labels, but the dialect '{name}' is for"
                f" {dialect.num_labels}: leave it out"
            )
