"""Every published setting is composed and trained a step on features of its widths; what cannot be built is refused."""

import pytest
import torch
from fake_features import FakeFeatures, example

from affect.baselines import build
from affect.baselines.network_learner import NetworkLearner
from affect.config import ConfigError, NetworkConfig, chosen_tasks
from affect.config.groups import choices

WIDTHS = {
    "mosi": {"text": 768, "audio": 5, "video": 20},
    "mosei": {"text": 768, "audio": 74, "video": 35},
    "sims": {"text": 768, "audio": 33, "video": 709},
}
METHODS = ("tfn", "lmf", "mult", "misa", "self_mm")


@pytest.mark.parametrize("dataset", WIDTHS)
@pytest.mark.parametrize("method", METHODS)
def test_a_published_setting_trains(configure, method: str, dataset: str) -> None:
    cfg = configure(f"experiment={method}_{dataset}")
    assert cfg.model.name == method and list(cfg.datasets) == [dataset] and isinstance(cfg.model, NetworkConfig)
    (task,) = chosen_tasks(cfg)
    values = [task.low, task.high, (task.low + task.high) / 2]
    examples = [example(f"{dataset}/{i}", task, value) for i, value in enumerate(values)]
    sequences = {
        each.record.id: {m: torch.randn(2 + i, width) for m, width in WIDTHS[dataset].items()}
        for i, each in enumerate(examples)
    }
    learner = build.learner(cfg, FakeFeatures(sequences))
    assert isinstance(learner, NetworkLearner)
    learner.begin_training(examples)
    learner.begin_epoch(1)
    loss = learner.loss(learner.collator(True)(examples))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learner.module.parameters())


def test_each_method_has_a_setting_for_each_dataset() -> None:
    assert {f"{method}_{dataset}" for method in METHODS for dataset in WIDTHS} <= set(choices("experiment"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["model=mult", "model.heads=7"], r"model\.heads=7 does not divide model\.hidden=40"),
        (["model=misa", "model.hidden=9"], r"model\.hidden=9 is odd"),
        (["model=self_mm", "trainer.devices=2"], r"trainer\.devices=2 spreads training clips over processes"),
    ],
)
def test_what_cannot_be_built_is_refused_before(configure, words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        configure("dataset=[demo]", *words)
