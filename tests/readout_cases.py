"""Tasks, conversations and examples with which readouts and heads are tested."""

import numpy as np

from affect.config import EvaluationConfig, Kind, Task
from affect.data import Record
from affect.models import Conversation, Encoder, Model
from affect.prompting.messages import Example

Pair = tuple[Model, Encoder]
# Of one to several tokens each, and one a beginning of another.
EMOTION = Task(
    name="emotion",
    labels=["joy", "n", "not joy at all", "anger", "ang"],
    question={"en": "Which? {labels}"},
    words={"en": {"n": "neutral"}},
)
LEVEL = Task(name="level", kind=Kind.intensity, low=-1, high=1, step=0.5, headline="mae", question={"en": "How much?"})


def conversations(kinds: str = "av") -> list[Conversation]:
    items = []
    for i, text in enumerate(["Which emotion?", "And?", "How does she sound, and why do you think so?"]):
        random = np.random.default_rng(i)
        parts = [{"type": "video"}] * ("v" in kinds) + [{"type": "audio"}] * ("a" in kinds)
        items.append(
            Conversation(
                messages=[
                    {"role": "system", "content": [{"type": "text", "text": "You judge."}]},
                    {"role": "user", "content": [*parts, {"type": "text", "text": text}]},
                ],
                waveform=random.standard_normal(8_000 + 3_000 * i).astype(np.float32) / 10 if "a" in kinds else None,
                frames=random.integers(0, 256, (2, 48, 48, 3), dtype=np.uint8) if "v" in kinds else None,
                seconds=1.0,
            )
        )
    return items


def examples(task: Task, labelled: bool = True) -> list[Example]:
    items = []
    for i in range(3):
        labels = {task.name: task.labels[i] if task.labels else 0.5} if labelled else {}
        record = Record(id=f"d/test/{i}", dataset="d", split="test", text="", labels=labels, group="g")
        items.append(Example(record=record, task=task, language="en", messages=[], answer=None))
    return items


def evaluation(**settings) -> EvaluationConfig:
    return EvaluationConfig(name="test", **settings)
