"""A method that is no language model is trained, checkpointed and evaluated by the `Learner` protocol alone."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tiny_models import tiny_manifest, tiny_words
from torch import nn

from affect.config import Config
from affect.data import Prediction, loading
from affect.data.class_balance import ByClass
from affect.evaluation.metrics.summary import summarise
from affect.models import checkpoint
from affect.models.collate import Batch
from affect.models.learner import Learner
from affect.prompting import examples
from affect.prompting.messages import Example
from affect.runs.lifecycle import Stop
from affect.training import datamodule, fitting, trainer
from affect.training.module import Supervised


def batch(of: list[Example]) -> Batch:
    return Batch(examples=of, tensors={}, failed=[])


class Majority(Learner):
    """Predicts the most frequent training label of the task, whatever the clip."""

    by_gradients = False

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        self.module = nn.Module()
        self.module.register_buffer("counts", torch.zeros(len(labels), dtype=torch.long))

    def collator(self, with_targets: bool) -> Callable[[list[Example]], Batch]:
        return batch

    def fit(self, batches: Iterable[Batch], weights: ByClass) -> None:
        counts = Counter(e.record.labels[e.task.name] for each in batches for e in each.examples)
        self.module.counts.copy_(torch.tensor([counts[label] for label in self.labels]))

    def load(self, checkpoint: Mapping[str, Any], source: str) -> None:
        self.module.load_state_dict(checkpoint["state_dict"])

    def predict(self, batch: Batch) -> list[Prediction]:
        value = self.labels[int(self.module.counts.argmax())]
        return [
            Prediction(
                id=e.record.id,
                dataset=e.record.dataset,
                split=e.record.split,
                task=e.task.name,
                group=e.record.group,
                target=e.record.labels.get(e.task.name),
                answer=None,
                exact=value,
                lenient=value,
                outcome="valid",
                readout="vote",
            )
            for e in batch.examples
        ]


def test_a_vote_is_fitted_checkpointed_and_evaluated(tmp_path: Path, configure: Callable[..., Config]) -> None:
    table = tiny_manifest(tmp_path / "corpus", train=9)
    words = [*tiny_words(tmp_path), "dataset=manifest", f"datasets.manifest.root={table}", "modalities=t"]
    cfg = configure(*words, "trainer.batch_size=2")
    parts = loading.read(cfg, ["train", "val", "test"])
    by_split = {
        split: examples.examples(parts, split, cfg, lambda messages: 1, labelled_only=split == "train")
        for split in ("train", "val", "test")
    }
    labels = cfg.datasets["manifest"].task_definitions["label"].labels
    counts = Counter(example.record.labels["label"] for example in by_split["train"])
    learner = Majority(labels)
    clips = datamodule.ClipData(by_split, learner, cfg)
    module = Supervised(learner, cfg.finetuning, partial(summarise, datasets=cfg.datasets, evaluation=cfg.evaluation))
    lightning = trainer.build(cfg, tmp_path, Stop(tmp_path))
    fitting.fit(lightning, module, clips, tmp_path)
    assert learner.module.counts.tolist() == [counts[label] for label in labels]

    again = Majority(labels)
    validation = checkpoint.load_best(again.load, tmp_path)
    assert validation is not None and "manifest.label" in validation["tasks"]
    module = Supervised(again, cfg.finetuning, module.summarise)
    lightning.test(module, datamodule.ClipData(by_split, again, cfg), verbose=False)
    assert {p.id for p in module.tested} == {e.record.id for e in by_split["test"]} and module.tested
    first = max(labels, key=lambda label: (counts[label], -labels.index(label)))
    assert {p.lenient for p in module.tested} == {first}
