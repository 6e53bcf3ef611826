"""Joint training: how often each dataset is drawn, and a validation number for each."""

import doctest
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from affect.config import Config, ConfigError, FinetuningConfig, Mixing
from affect.data import Prediction, Record
from affect.evaluation.metrics.summary import brief, summarise
from affect.prompting.messages import Example
from affect.training import mixing
from affect.training.datamodule import ClipData
from affect.training.sampler import EpochSampler, share

Configure = Callable[..., Config]
JOINT = ("dataset=[demo,meld]", "modalities=t", "model=tfidf", "label_space=four_emotions", "trainer.batch_size=4")
SIZES = {"demo": 8, "meld": 32}


def clips(cfg: Config, **position: int) -> ClipData:
    examples = [
        Example(
            record=Record(id=f"{name}/train/{i}", dataset=name, split="train", text="x", group="g"),
            task=cfg.datasets[name].task_definitions["four_emotions"],
            language="en",
            messages=[],
            answer=None,
        )
        for name, size in SIZES.items()
        for i in range(size)
    ]
    learner: Any = SimpleNamespace(length=lambda example: 1.0, collator=lambda with_targets: list)
    return ClipData({"train": examples}, learner, cfg, **position)


def epoch(data: ClipData, number: int) -> list[str]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return [data.by_split["train"][i].record.id for i in loader.sampler]


def test_the_shares_are_those_of_the_formulas() -> None:
    assert doctest.testmod(mixing).attempted == 2 and doctest.testmod(mixing).failed == 0
    sizes = {"a": 1000, "b": 10}
    for how, more, expected in (
        (Mixing.proportional, {}, 1000 / 1010),
        (Mixing.temperature, {"mixing_temperature": 1}, 1000 / 1010),
        (Mixing.temperature, {"mixing_temperature": 5}, 1000**0.2 / (1000**0.2 + 10**0.2)),
        (Mixing.temperature, {"mixing_temperature": 1e9}, 0.5),
        (Mixing.equal, {}, 0.5),
        (Mixing.weights, {"mixing_weights": {"a": 1, "b": 3}}, 0.25),
    ):
        found = mixing.shares(sizes, FinetuningConfig(name="x", mixing=how, **more))
        assert found["a"] == pytest.approx(expected) and sum(found.values()) == pytest.approx(1)


@pytest.mark.parametrize("weight", [1e-9, 0.3, 1e9])
def test_every_dataset_is_drawn_at_least_once_and_an_epoch_keeps_its_length(weight: float) -> None:
    config = FinetuningConfig(name="x", mixing=Mixing.weights, mixing_weights={"a": weight, "b": 1, "c": 1})
    counts = mixing.draws({"a": 5, "b": 7, "c": 90}, config)
    assert sum(counts.values()) == 102 and min(counts.values()) >= 1
    assert counts["a"] == (1 if weight < 1e-6 else 100 if weight > 1e6 else round(0.3 / 2.3 * 102))


def test_proportional_is_the_order_without_mixing(configure: Configure) -> None:
    data = clips(configure(*JOINT))
    plain = EpochSampler([1.0] * 40, data.seed, step_size=4, epoch=3)
    assert epoch(data, 3) == [data.by_split["train"][i].record.id for i in plain]
    assert data.train_dataloader().sampler.mixture is None


def test_an_epoch_draws_each_dataset_by_its_share(configure: Configure) -> None:
    data = clips(configure(*JOINT, "finetuning.mixing=equal"))
    first, second = epoch(data, 0), epoch(data, 1)
    for drawn in (first, second):
        assert Counter(name.split("/")[0] for name in drawn) == {"demo": 20, "meld": 20}
        times = Counter(drawn)
        # The small one is gone through two and a half times, the large one is drawn without replacement.
        assert {times[f"demo/train/{i}"] for i in range(8)} == {2, 3}
        assert max(count for name, count in times.items() if name.startswith("meld")) == 1
    assert set(first) != set(second), "another part of the large one"
    assert epoch(clips(configure(*JOINT, "finetuning.mixing=equal")), 1) == second
    assert epoch(clips(configure(*JOINT, "finetuning.mixing=equal", "seed=2")), 1) != second


def test_a_resumed_epoch_and_several_processes_share_one_order(configure: Configure) -> None:
    cfg = configure(*JOINT, "finetuning.mixing=temperature", "finetuning.mixing_temperature=3")
    whole = epoch(clips(cfg), 2)
    data = clips(cfg, epoch=2, batches_done=3)
    assert epoch(data, 2) == whole[12:]
    assert epoch(data, 3) == epoch(clips(cfg), 3)
    sampler = data.train_dataloader().sampler
    for rank in range(2):
        own = EpochSampler(
            sampler.lengths, sampler.seed, step_size=4, epoch=3, rank=rank, num_processes=2, mixture=sampler.mixture
        )
        assert list(own) == share(own.order(), rank, 2)


def test_class_balance_holds_within_each_dataset() -> None:
    weights = [1.0] * 8 + [0.0] * 16 + [1.0] * 16
    sampler = EpochSampler(
        [1.0] * 40, 1, step_size=4, weights=weights, mixture=[(range(8), 30), (range(8, 40), 10)]
    )  # fmt: skip
    drawn = Counter(list(sampler))
    assert sum(count for i, count in drawn.items() if i < 8) == 30 and not set(drawn) & set(range(8, 24))


def test_every_dataset_has_a_validation_number(configure: Configure) -> None:
    cfg = configure(*JOINT, "evaluation.selection=min_headline")
    predictions = [
        Prediction(
            id=f"{name}/{i}", dataset=name, split="val", task="four_emotions", group="g", target=gold, answer=None,
            exact="sad", lenient="sad", outcome="valid", readout="head",
        )
        for name, labels in {"demo": ["sad", "sad"], "meld": ["sad", "happy"]}.items()
        for i, gold in enumerate(labels)
    ]  # fmt: skip
    found = brief(summarise(predictions, cfg.datasets, cfg.evaluation))
    assert found["datasets"] == {"demo": 1.0, "meld": 0.5} and found["selection"] == 0.5
    only = {"demo": cfg.datasets["demo"]}
    assert "datasets" not in brief(summarise([p for p in predictions if p.dataset == "demo"], only, cfg.evaluation))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["finetuning.mixing=temperature", "finetuning.mixing_temperature=0"], "temperature=0.0 has to be above 0"),
        (["finetuning.mixing=weights", "+finetuning.mixing_weights={demo:1,mled:2}"], "mled is not a dataset of this"),
        (["finetuning.mixing=weights"], "but demo has none; meld has none: give each one"),
        (["finetuning.mixing=weights", "+finetuning.mixing_weights={demo:-1,meld:2}"], "but demo has -1:"),
        (["+finetuning.mixing_weights={demo:1,meld:2}"], "has no effect with finetuning.mixing=proportional"),
        (["finetuning.mixing=equal", "finetuning.mixing_temperature=5"], "mixing_temperature=5 has no effect with"),
        (["finetuning.mixing=equal", "dataset=[demo]"], "but demo is the only one: name several"),
    ],
)  # fmt: skip
def test_what_cannot_be_mixed_is_refused(configure: Configure, words: list[str], why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        configure(*JOINT, *words)
    assert why in str(refused.value)
