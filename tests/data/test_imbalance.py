"""Rare classes: what sampling, label weights and logit adjustment change, and that they change nothing else."""

import json
import math
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from tiny_models import tiny_manifest, tiny_words

import evaluate
import train
from affect import models
from affect.config import (
    ClassSampling,
    Config,
    ConfigError,
    DataError,
    EvaluationConfig,
    IntensityReadout,
    Kind,
    LabelWeights,
    Task,
)
from affect.data import Prediction, Record, class_balance, loading
from affect.evaluation import predict
from affect.evaluation.language import LanguageLearner
from affect.evaluation.metrics.summary import summarise
from affect.models import sampling
from affect.models.composed.model import ComposedEncoder
from affect.models.losses import answer_loss
from affect.prompting import examples
from affect.prompting.messages import Example
from affect.reports.console import print_results
from affect.runs import run_results, run_summary
from affect.training import class_weights, datamodule
from affect.training import sampler as data
from affect.training.module import Supervised

LABELS = ("joy", "joy", "joy", "joy", "joy", "joy", "joy", "anger", "anger", "sadness")
COUNTS = {"manifest.label": {"anger": 4, "joy": 14, "sadness": 2}}
TEXT = ("modalities=t", "trainer.max_epochs=1", "trainer.log_every=1")
Configure = Callable[..., Config]
Start = Callable[..., Path]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("imbalance")


@pytest.fixture(scope="module")
def words(root: Path) -> list[str]:
    """The words of a run on 20 training clips, of which 14 are joy, 4 anger and 2 sadness."""
    table = tiny_manifest(root / "corpus", train=20, val=6, test=10, labels=LABELS, media=False)
    text = ("datasets.manifest.options.require_clips=false", *TEXT)
    return [*tiny_words(root), "dataset=manifest", f"datasets.manifest.root={table}", *text]


@pytest.fixture(scope="module")
def start(root: Path, words: list[str]) -> Iterator[Start]:
    """`start("train", *words)` runs train.py in this process and gives the folder it made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)

        def started(program: str, *more: str) -> Path:
            output = root / "outputs"
            before = set(output.glob("*/"))
            own = [] if any(word.startswith("run=") for word in more) else words
            places = (f"output_root={output}", f"cache_root={root / 'cache'}")
            patch.setattr(sys, "argv", [f"{program}.py", *own, *(w for w in places if w not in own), *more])
            patch.delenv("AFFECT_STAMP", raising=False)
            {"train": train.main, "evaluate": evaluate.main}[program]()
            return (set(output.glob("*/")) - before).pop()

        yield started


@pytest.fixture(scope="module")
def trained(start: Start) -> Path:
    return start("train")


def example(task: Task, value: Any, number: int = 0, dataset: str = "d") -> Example:
    record = Record(
        id=f"{dataset}/train/{number}",
        dataset=dataset,
        split="train",
        text="x",
        labels={task.name: value},
        group="g",
    )
    return Example(record=record, task=task, language="en", messages=[], answer="x")


EMOTION = Task(name="emotion", labels=["joy", "anger"])
LEVEL = Task(name="level", kind=Kind.intensity, low=0, high=1, step=0.5)
SEVERAL = Task(name="several", kind=Kind.multi_label, labels=["joy", "anger"])


# --- Weights ---


def test_balanced_weights_are_those_of_scikit_learn_and_square_roots_lie_between() -> None:
    counts = {"d.emotion": {"joy": 90, "anger": 9, "fear": 1, "awe": 0}}
    labels = np.repeat(["joy", "anger", "fear"], [90, 9, 1])
    known = compute_class_weight("balanced", classes=np.array(["joy", "anger", "fear"]), y=labels)
    for scheme in (ClassSampling.balanced, LabelWeights.balanced):
        assert list(class_balance.class_weights(counts, scheme)["d.emotion"].values()) == pytest.approx(known.tolist())
    for scheme in (ClassSampling.square_root, LabelWeights.square_root):
        weights = class_balance.class_weights(counts, scheme)["d.emotion"]
        assert sum(counts["d.emotion"][label] * weight for label, weight in weights.items()) == pytest.approx(100)
        assert weights["fear"] / weights["joy"] == pytest.approx(math.sqrt(90))
    assert class_balance.class_weights(counts, ClassSampling.natural) == {}
    assert class_balance.class_weights(counts, LabelWeights.none) == {}


def test_examples_of_other_kinds_weigh_one() -> None:
    asked = [example(EMOTION, "joy"), example(LEVEL, 0.5), example(SEVERAL, ("joy",)), example(EMOTION, "anger")]
    weights = {"d.emotion": {"joy": 0.5, "anger": 4.0}}
    assert class_weights.example_weights(asked, weights) == [0.5, 1.0, 1.0, 4.0]
    other = example(EMOTION, "joy", dataset="other")
    assert class_weights.example_weights([other], weights) == [1.0], "a task of the same name in another dataset"


# --- Sampling ---


def of_task(count: dict[str, int], task: Task) -> list[Example]:
    return [example(task, label, number) for label, n in count.items() for number in range(n)]


def drawn(asked: list[Example], scheme: ClassSampling, epochs: int = 30) -> Counter:
    counts = Counter(e.record.labels["emotion"] for e in asked if e.task is EMOTION)
    weights = class_weights.example_weights(asked, class_balance.class_weights({"d.emotion": dict(counts)}, scheme))
    sampler = data.EpochSampler([1] * len(asked), seed=1, step_size=4, weights=weights)
    found: Counter = Counter()
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert len(order) == len(sampler) == len(asked), "an epoch keeps its length"
        found.update((asked[i].task.name, asked[i].record.labels[asked[i].task.name]) for i in order)
    total = found.total()
    return Counter({key: count / total for key, count in found.items()})


def test_classes_are_drawn_as_often_as_the_setting_says() -> None:
    asked = of_task({"joy": 90, "anger": 10}, EMOTION)
    # 3,000 draws: the standard deviation of a share is below 0.01.
    assert drawn(asked, ClassSampling.balanced)["emotion", "anger"] == pytest.approx(0.5, abs=0.04)
    root_share = math.sqrt(10) / (math.sqrt(90) + math.sqrt(10))
    assert drawn(asked, ClassSampling.square_root)["emotion", "anger"] == pytest.approx(root_share, abs=0.04)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_every_process_has_a_share_of_the_same_size_however_few_there_are(count: int) -> None:
    whole = [[i] for i in range(count)]
    shares = [data.share(whole, rank, 4) for rank in range(4)]
    assert {len(own) for own in shares} == {-(-count // 4)}
    assert [*{i: None for own in zip(*shares, strict=True) for [i] in own}] == [*range(count)], "none is left out"
    assert [data.share(whole, 0, 1)] == [whole]
    samplers = [data.EpochSampler([1.0] * count, 3, step_size=4, rank=rank, num_processes=4) for rank in range(4)]
    assert {len(list(sampler)) for sampler in samplers} == {len(samplers[0])} == {-(-count // 4)}
    assert {i for sampler in samplers for i in sampler} == {*range(count)}


def test_a_task_without_classes_keeps_its_share_of_an_epoch() -> None:
    asked = of_task({"joy": 60, "anger": 4}, EMOTION) + [example(LEVEL, 0.5, i) for i in range(36)]
    shares = drawn(asked, ClassSampling.balanced)
    assert shares["level", 0.5] == pytest.approx(0.36, abs=0.04)
    assert shares["emotion", "anger"] == pytest.approx(0.32, abs=0.04)


def test_a_weighted_order_depends_on_seed_and_epoch_alone_and_can_be_gone_on_with() -> None:
    lengths, weights = list(range(40)), [1.0] * 20 + [5.0] * 20
    how = {"step_size": 4, "weights": weights, "num_processes": 2}
    shares = [list(data.EpochSampler(lengths, 3, rank=rank, **how)) for rank in (0, 1)]
    torch.manual_seed(99)  # another random state changes nothing
    assert [list(data.EpochSampler(lengths, 3, rank=rank, **how)) for rank in (0, 1)] == shares
    assert list(data.EpochSampler(lengths, 3, rank=1, skip=6, **how)) == shares[1][6:]
    later = data.EpochSampler(lengths, 3, rank=0, epoch=1, **how)
    assert list(later) != shares[0] and list(data.EpochSampler(lengths, 4, rank=0, **how)) != shares[0]
    assert len(set(shares[0] + shares[1])) < 40, "drawn with replacement"
    steps = [later.order()[at : at + 4] for at in range(0, 40, 4)]
    assert all(step == sorted(step) for step in steps), "like lengths are still together"


def loaded(words: list[str], configure: Configure, *more: str) -> tuple[datamodule.ClipData, Supervised, Config]:
    cfg = configure(*words, *more)
    parts = loading.read(cfg, ["train", "val"])
    torch.manual_seed(cfg.seed)
    model, encoder = models.load(cfg.model, modalities="t", cache_root=Path(cfg.cache_root))
    by_split = {
        s: examples.examples(parts, s, cfg, encoder.count_text, labelled_only=s == "train") for s in ("train", "val")
    }
    counts = class_balance.class_counts(parts, cfg.datasets)
    classes = class_balance.Classes(
        counts=counts,
        sampling=class_balance.class_weights(counts, cfg.finetuning.sampling),
        loss=class_balance.class_weights(counts, cfg.finetuning.label_weights),
    )
    summary = partial(summarise, datasets=cfg.datasets, evaluation=cfg.evaluation)
    learner = LanguageLearner(model, encoder, cfg.finetuning, cfg.evaluation, sampling.sampling(cfg))
    module = Supervised(learner, cfg.finetuning, summary, classes)
    return datamodule.ClipData(by_split, learner, cfg, weights=classes.sampling), module, cfg


def batches(clips: datamodule.ClipData, split: str) -> list[list[str]]:
    loader = clips.train_dataloader() if split == "train" else clips.val_dataloader()
    return [[e.record.id for e in batch.examples] for batch in loader]


def test_sampling_changes_the_training_batches_and_nothing_else(
    words: list[str], configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, _, _ = loaded(words, configure)
    natural = batches(plain, "train")
    assert "finetuning.sampling" not in capsys.readouterr().out
    weighted, _, _ = loaded(words, configure, "finetuning.label_weights=balanced")
    assert batches(weighted, "train") == natural
    balanced, _, _ = loaded(words, configure, "finetuning.sampling=balanced")
    found = batches(balanced, "train")
    assert found != natural and [len(batch) for batch in found] == [len(batch) for batch in natural]
    assert batches(balanced, "val") == batches(plain, "val")
    of = {e.record.id: e.record.labels["label"] for e in balanced.by_split["train"]}
    had = Counter(of[i] for batch in found for i in batch)
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("finetuning")] == [
        f"finetuning.sampling=balanced: epoch 1 draws manifest.label: anger {had['anger']} (of 4), joy {had['joy']}"
        f" (of 14), sadness {had['sadness']} (of 2)"
    ]


# --- Weights of the loss ---


def test_the_loss_of_every_row_is_multiplied_by_its_weight(words: list[str], configure: Configure) -> None:
    clips, module, _ = loaded(words, configure, "trainer.batch_size=6")
    batch = next(iter(clips.train_dataloader()))
    assert len({e.answer for e in batch.examples}) > 1
    with torch.no_grad():
        module.eval()
        plain = answer_loss(module.model, batch.tensors)
        torch.testing.assert_close(answer_loss(module.model, batch.tensors, [1.0] * 6), plain)
        torch.testing.assert_close(answer_loss(module.model, batch.tensors, [3.0] * 6), 3 * plain)
        rows = [answer_loss(module.model, batch.tensors, [float(i == row) for i in range(6)]) for row in range(6)]
        torch.testing.assert_close(sum(rows), plain)
        weights = [0.5, 2.0, 0.0, 1.0, 4.0, 0.25]
        expected = sum(weight * row for weight, row in zip(weights, rows, strict=True))
        torch.testing.assert_close(answer_loss(module.model, batch.tensors, weights), expected)


def test_label_weights_change_the_loss_of_the_training_and_nothing_else(
    words: list[str], configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for setting in ("none", "balanced", "square_root"):
        clips, module, _ = loaded(words, configure, f"finetuning.label_weights={setting}", "trainer.batch_size=20")
        monkeypatch.setattr(module, "log", lambda *args, **more: None)
        monkeypatch.setattr(module, "_trainer", SimpleNamespace(accumulate_grad_batches=1, world_size=1, global_step=0))
        batch = next(iter(clips.train_dataloader()))
        loss = module.training_step(batch, 0)
        names = [e.record.labels["label"] for e in batch.examples]
        found[setting] = (loss, names, answer_loss(module.model, batch.tensors))
    loss, names, plain = found["none"]
    assert torch.equal(loss, plain), "to the last bit"
    assert [found[s][1] for s in found] == [names] * 3 and torch.equal(found["balanced"][2], plain)
    for setting, exponent in (("balanced", 1.0), ("square_root", 0.5)):
        raw = [Counter(names)[name] ** -exponent for name in names]
        weights = [weight * 20 / sum(raw) for weight in raw]
        torch.testing.assert_close(found[setting][0], answer_loss(module.model, batch.tensors, weights))
        assert abs((found[setting][0] - loss).item()) > 1e-4


def test_classes_of_one_size_are_left_alone() -> None:
    for scheme in (LabelWeights.balanced, LabelWeights.square_root):
        assert class_balance.class_weights({"d.t": {"a": 7, "b": 7}}, scheme) == {"d.t": {"a": 1.0, "b": 1.0}}


# --- Logit adjustment ---


def scored(**scores: float) -> Prediction:
    return Prediction(
        id="d/test/1",
        dataset="d",
        split="test",
        task="emotion",
        group="g",
        target="joy",
        answer=None,
        exact=max(scores, key=scores.__getitem__),
        lenient=max(scores, key=scores.__getitem__),
        outcome="valid",
        readout="score",
        scores=scores,
    )


def test_the_adjusted_label_is_that_of_the_formula() -> None:
    log_prior = {"joy": math.log(0.9), "anger": math.log(0.1)}
    prediction = scored(joy=-1.0, anger=-2.0)
    # They are even where -1 - τ log 0.9 = -2 - τ log 0.1, at τ = 1 / log 9 = 0.455.
    answers = {tau: predict.adjusted(prediction, log_prior, tau) for tau in (0.4, 0.5, 1.0)}
    assert [answer.lenient for answer in answers.values()] == ["joy", "anger", "anger"]
    assert answers[1.0].exact == "anger" and answers[1.0].readout == "score(tau=1)"
    assert all(answer.scores == prediction.scores for answer in answers.values())
    even = {"joy": math.log(0.5), "anger": math.log(0.5)}
    assert predict.adjusted(prediction, even, 7.0).lenient == "joy"


def by_hand(prediction: Prediction, counts: dict[str, int], tau: float) -> str:
    total = sum(counts.values())
    values = {label: s - tau * math.log(counts[label] / total) for label, s in prediction.scores.items()}
    return max(values, key=values.get)


def test_a_run_can_be_adjusted_and_every_answer_computed_again(trained: Path, start: Start) -> None:
    assert json.loads((trained / "priors.json").read_text()) == COUNTS
    plain = run_results.read_predictions(trained)
    tau = 30.0  # of a model that has seen twenty clips nothing less moves every answer
    folder = start("evaluate", f"run={trained}", f"evaluation.logit_adjustment={tau}")
    adjusted = run_results.read_predictions(folder)
    assert [p.scores for p in adjusted] == [p.scores for p in plain]
    counts = json.loads((folder / "priors.json").read_text())
    assert counts == COUNTS
    assert [p.lenient for p in adjusted] == [by_hand(p, counts["manifest.label"], tau) for p in plain]
    assert [p.lenient for p in plain] == [by_hand(p, counts["manifest.label"], 0.0) for p in plain]
    assert {p.lenient for p in adjusted} == {"sadness"} != {p.lenient for p in plain}
    numbers, before = (json.loads((f / "metrics.json").read_text()) for f in (folder, trained))
    assert (numbers["logit_adjustment"], before["logit_adjustment"]) == (tau, 0.0)
    task = numbers["tasks"]["manifest.label"]
    assert task["readout"] == "score(tau=30)" and "readout:score(tau=30)" in task["signatures"]["lenient"]["uar"]
    assert task["recall_per_class"] == {"anger": 0.0, "joy": 0.0, "sadness": 1.0}


def test_the_validation_of_a_training_is_adjusted_too(start: Start) -> None:
    folder = start("train", "evaluation.logit_adjustment=30", "finetuning.sampling=square_root")
    found = run_results.read_predictions(folder)
    assert [p.lenient for p in found] == ["sadness"] * 10 and {p.readout for p in found} == {"score(tau=30)"}
    logged = (folder / "log" / "metrics.csv").read_text().splitlines()
    column = logged[0].split(",").index("val/manifest.label/weighted_f1")
    assert {row.split(",")[column] for row in logged[1:]} - {""} == {"0.0"}, "no validation clip is sad"
    assert "finetuning.sampling=square_root: epoch 1 draws" in (folder / "log" / "run.log").read_text()


def test_zero_shot_takes_its_priors_from_the_training_split(start: Start) -> None:
    folder = start("evaluate", "evaluation.logit_adjustment=30")
    assert json.loads((folder / "priors.json").read_text()) == COUNTS
    assert {p.lenient for p in run_results.read_predictions(folder)} == {"sadness"}


def test_without_priors_nothing_is_adjusted(
    trained: Path, words: list[str], root: Path, tmp_path: Path, configure: Configure
) -> None:
    cfg = configure(*words, "evaluation.logit_adjustment=1", program="evaluate")
    cfg.run = str(shutil.copytree(trained, tmp_path / "run"))
    cfg.datasets["manifest"].task_definitions["label"].labels = ["anger", "joy", "sadness"]
    assert class_balance.of_evaluation(cfg).counts == COUNTS
    cfg.evaluation.logit_adjustment = 0.0
    class_balance.keep(tmp_path, class_balance.of_evaluation(cfg))
    assert not class_balance.of_evaluation(cfg).log_priors and not (tmp_path / "priors.json").exists()
    cfg.evaluation.logit_adjustment = 1.0
    priors = tmp_path / "run" / "priors.json"

    def refused(kind: type[Exception], sentence: str) -> None:
        with pytest.raises(kind, match=sentence):
            class_balance.of_evaluation(cfg)

    priors.write_text('{"other.label": {"anger": 3}}')
    refused(DataError, r"adjustment=1 has no priors for manifest.label: run=.* was trained on other.label; set eval")
    for counts in ('{"anger": 3, "joy": 2, "sadness": 0}', '{"anger": 3, "joy": 2}'):
        priors.write_text(f'{{"manifest.label": {counts}}}')
        refused(DataError, r"has no prior for sadness of manifest.label, of which there is no training example: train")
    priors.write_text('{"manifest.label": {"anger": 0.5}}')
    refused(ConfigError, r"priors.json has something other than whole numbers by task and label: restore it")
    for broken in ("", "[]", '{"manifest.label": 3}'):
        priors.write_text(broken)
        refused(ConfigError, r"priors.json cannot be read \(.+\): restore it from a copy, or evaluate without it, eval")
    priors.unlink()
    refused(ConfigError, r"needs the class counts of the training, but run=.* has no priors.json: evaluate without it")
    cfg.run = None
    table = tmp_path / "test_alone.csv"
    lines = (root / "corpus" / "clips.csv").read_text().splitlines()
    table.write_text("\n".join([lines[0], *(line for line in lines if ",test," in line)]) + "\n")
    cfg.datasets["manifest"].root = str(table)
    refused(
        DataError, r"from the labels of the training split, which cannot be read: .* no row is in split 'train'.*=0$"
    )


def test_a_training_without_examples_of_a_label_cannot_be_adjusted_for(
    words: list[str], tmp_path: Path, configure: Configure
) -> None:
    declared = "datasets.manifest.task_definitions.label.labels=[joy,anger,sadness,awe]"
    cfg = configure(*words, declared, "evaluation.logit_adjustment=0.5")
    parts = loading.read(cfg, ["train"])
    with pytest.raises(DataError, match=r"logit_adjustment=0.5 has no prior for awe of manifest.label, of which there"):
        class_balance.of_training(tmp_path, parts, cfg)
    assert json.loads((tmp_path / "priors.json").read_text())["manifest.label"]["awe"] == 0


def test_intensities_are_not_adjusted(words: list[str], configure: Configure) -> None:
    cfg = configure(*words)
    model, encoder = models.load(cfg.model, modalities="t", cache_root=Path(cfg.cache_root))
    assert isinstance(encoder, ComposedEncoder)
    turn = [{"role": "user", "content": [{"type": "text", "text": "How much?"}]}]
    batch = encoder.encode([models.Conversation(messages=turn)])
    made = [
        predict.predict(model, encoder, batch, [example(LEVEL, 0.5)], settings)
        for settings in (
            EvaluationConfig(name="x", intensity_readout=IntensityReadout.expectation),
            EvaluationConfig(name="x", intensity_readout=IntensityReadout.expectation, logit_adjustment=2.0),
        )
    ]
    assert made[0] == made[1]


# --- What is refused ---

INTENSITY = ("dataset=mosi", "modalities=t")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["evaluation.logit_adjustment=inf"],
            "evaluation.logit_adjustment=inf has to be a finite number",
        ),
        (
            ["evaluation=generate", "evaluation.logit_adjustment=0.5"],
            "evaluation.logit_adjustment=0.5 corrects the scores of labels, but evaluation.readout=generate has none:"
            " set evaluation.readout=score, or evaluation.logit_adjustment=0",
        ),
        (["evaluation.logit_adjustment=-1"], "evaluation.logit_adjustment=-1.0 must not be below 0"),
        (
            [*INTENSITY, "finetuning.sampling=balanced"],
            "finetuning.sampling=balanced goes by classes, but no task of mosi that is chosen is a classification: set"
            " finetuning.sampling=natural, or choose another task",
        ),
        (
            [*INTENSITY, "finetuning.label_weights=square_root"],
            "finetuning.label_weights=square_root goes by classes, but no task of mosi that is chosen is a"
            " classification: set finetuning.label_weights=none, or choose another task",
        ),
        (
            [*INTENSITY, "evaluation.logit_adjustment=1"],
            "evaluation.logit_adjustment=1 goes by classes, but no task of mosi that is chosen is a classification: set"
            " evaluation.logit_adjustment=0, or choose another task",
        ),
        (
            ["finetuning.sampling=balanced", "finetuning.label_weights=square_root"],
            "finetuning.sampling=balanced and finetuning.label_weights=square_root make up for the same imbalance, so"
            " that rare classes would count for more than frequent ones: set one of them to its default (natural,"
            " none), or both to square_root",
        ),
    ],
)
def test_a_broken_rule_is_named(configure: Configure, words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configure(*words)
    assert str(caught.value) == sentence


def test_what_goes_together_is_not_refused(configure: Configure) -> None:
    configure("finetuning.sampling=square_root", "finetuning.label_weights=square_root")
    configure(
        "finetuning.sampling=balanced", "evaluation.logit_adjustment=0.5", "datasets.demo.tasks=[emotion,sentiment]"
    )
    # An evaluation brings the settings of its training, which say nothing about it.
    configure(*INTENSITY, "finetuning.sampling=balanced", program="evaluate")


# --- The report of a run ---


def test_the_recall_of_every_class_is_printed(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = run_summary.read(trained).metrics["tasks"]["manifest.label"]
    print_results(trained)
    _, printed = capsys.readouterr().out.split("per class")  # the title of a narrow table is folded
    for label, count in (("anger", 2), ("joy", 7), ("sadness", 1)):
        assert ["1", label, str(count), f"{numbers['recall_per_class'][label]:.4f}"] in [
            line.split() for line in printed.splitlines()
        ]
