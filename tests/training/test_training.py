"""Training and evaluation through train.py and evaluate.py themselves, with tiny models on a handful of clips."""

import csv
import gc
import json
import math
import os
import random
import re
import shutil
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from omegaconf import OmegaConf
from tiny_models import TINY_LABELS, tiny_composed_language, tiny_manifest, tiny_whisper, tiny_words

import evaluate
import train
from affect import models
from affect.config import Config, ConfigError
from affect.config.schema import media_of
from affect.data import Prediction, loading
from affect.data import part as splits
from affect.data.clips import ClipSource
from affect.data.demo_corpus.generate import Settings, generate
from affect.evaluation.language import LanguageLearner
from affect.evaluation.metrics.summary import summarise
from affect.knowledge import attach
from affect.models import adapters, collate, sampling, trained_tensors
from affect.models import checkpoint as model_checkpoint
from affect.models.losses import answer_loss
from affect.models.wheels import smollm2
from affect.prompting import examples
from affect.prompting.token_budget import prompt_length
from affect.runs import inherit, lifecycle, run_results
from affect.training import alignment, datamodule, trainer, usable_clips
from affect.training import sampler as data
from affect.training.module import Predictions, Supervised

FILES = ("config.yaml", "status.json", "environment.json", "data.json", "exclusions.csv", "log/metrics.csv")
RESULTS = ("predictions.jsonl", "metrics.json")
WEIGHTS = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")
# A second task, an intensity, for those that want several. As a file: a task cannot be added on the command line.
TWO_TASKS = """\
# @package _global_
datasets:
  manifest:
    options: {labels: [label, level]}
    tasks: [label, level]
    task_definitions:
      level: {kind: intensity, low: -1, high: 1, step: 0.5, headline: mae, question: {en: "How much?"}}
"""
FULL = ("finetuning=full", "finetuning.learning_rate=3e-3")
Start = Callable[..., Path]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def table(root: Path) -> Path:
    return tiny_manifest(root / "corpus", train=9)


@pytest.fixture(scope="module")
def with_two_tasks(root: Path) -> list[str]:
    """The words that add the task `level` to the manifest."""
    file = root / "conf" / "experiment" / "two_tasks.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(TWO_TASKS)
    return [f"hydra.searchpath=[file://{root / 'conf'}]", "experiment=two_tasks"]


@pytest.fixture(scope="module")
def start(root: Path, table: Path) -> Iterator[Start]:
    """`start("train", *words)` runs train.py in this process and gives the folder it made."""
    with pytest.MonkeyPatch.context() as patch:

        def started(program: str, *words: str, family: str | None = "composed") -> Path:
            output = root / "outputs"
            before = set(output.glob("*/"))
            chosen = [] if family is None else [*tiny_words(root, family), "dataset=manifest"]
            if family is not None and not any(word.startswith("datasets.manifest.root") for word in words):
                chosen.append(f"datasets.manifest.root={table}")
            quiet = [f"output_root={output}", f"cache_root={root / 'cache'}"]
            quiet += ["trainer.progress=false"] if family is None else []
            patch.setattr(sys, "argv", [f"{program}.py", *chosen, *(w for w in quiet if w not in chosen), *words])
            patch.delenv("AFFECT_STAMP", raising=False)
            patch.chdir(root)
            {"train": train.main, "evaluate": evaluate.main}[program]()
            [made] = set(output.glob("*/")) - before
            return made

        yield started


@pytest.fixture(scope="module")
def one_task(start: Start) -> Path:
    """A run of the composed family with all modalities and the labels of the training rows."""
    return start("train", "trainer.max_epochs=2", "trainer.batch_size=4", "trainer.log_every=1", "model.max_seconds=5")


@pytest.fixture(scope="module")
def two_tasks(start: Start, with_two_tasks: list[str]) -> Path:
    """A run of Qwen2.5-Omni with a classification and an intensity."""
    short = ("trainer.max_epochs=1", "trainer.batch_size=4", "evaluation.intensity_readout=expectation")
    return start("train", *with_two_tasks, *short, family="qwen_omni")


def test_new_towers_begin_alike_whatever_had_to_be_made_before(
    start: Start, one_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Descriptions by an MLLM, for one, which is loaded for them only where they are not there."""
    attached = attach.attach

    def drawing(*rest: object) -> object:
        torch.rand(3), np.random.rand(3), random.random()
        return attached(*rest)

    monkeypatch.setattr(attach, "attach", drawing)
    words = ("trainer.max_epochs=2", "trainer.batch_size=4", "trainer.log_every=1", "model.max_seconds=5")
    again = start("train", *words)
    for name in ("predictions.jsonl", "log/metrics.csv"):
        assert (again / name).read_text() == (one_task / name).read_text()


def test_copies_of_training_clips_test_nothing(start: Start, one_task: Path, table: Path, tmp_path: Path) -> None:
    rows = table.read_text().splitlines()
    for name in ("train_0", "train_1"):
        shutil.copyfile(table.parent / "clips" / f"{name}.mp4", tmp_path / f"{name}_again.mp4")
    other = tmp_path / "other.csv"
    other.write_text(f"{rows[0]}\n{tmp_path / 'train_0_again.mp4'},words of another table,joy,-1,test,somebody\n")
    words = ["dataset=manifest", f"datasets.manifest.root={other}"]
    with pytest.raises(SystemExit) as end:
        start("evaluate", f"run={one_task}", *words, family=None)
    assert "has 1 clips of dataset 'manifest' (1 in its test and the other's train" in str(end.value.code)
    assert f"with which run={one_task} was trained" in str(end.value.code)
    within = table.parent / "within.csv"
    within.write_text("\n".join([*rows, f"{tmp_path / 'train_1_again.mp4'},new words,anger,0,test,somebody"]) + "\n")
    with pytest.raises(SystemExit) as end:
        start("train", f"datasets.manifest.root={within}", "trainer.max_epochs=1", "model.max_seconds=5")
    assert "split 'test' has the clip of within.csv, row 3 in split 'train'" in str(end.value.code)


def test_converting_smollm2_draws_no_random_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_composed_language(tmp_path / "tiny")
    for kind in (transformers.AutoModelForCausalLM, transformers.AutoTokenizer):
        load = kind.from_pretrained
        monkeypatch.setattr(kind, "from_pretrained", lambda *_, load=load, **__: load(folder))
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    smollm2.convert({"weights": tmp_path / "weights.gguf"}, tmp_path / "made")
    assert torch.equal(torch.rand(3), expected) and (tmp_path / "made" / "model.safetensors").is_file()


@pytest.fixture(params=["one_task", "two_tasks"])
def trained(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def configuration(folder: Path) -> Config:
    return OmegaConf.to_object(inherit.run_config(folder))


def weights(folder: Path, name: str = "best") -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def losses(folder: Path) -> list[float]:
    rows = list(csv.DictReader((folder / "log" / "metrics.csv").open(encoding="utf-8")))
    return [float(row["train/loss"]) for row in rows if row["train/loss"]]


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def results(folder: Path) -> dict[str, Any]:
    """Those of the evaluated split: without the validation, which only a training has."""
    return {key: value for key, value in metrics(folder).items() if key != "validation"}


# --- A run folder ---


def test_a_run_folder_is_complete(trained: Path) -> None:
    for name in (*FILES, *RESULTS, *WEIGHTS):
        assert (trained / name).stat().st_size > 0, name
    assert json.loads((trained / "status.json").read_text())["state"] == "finished"
    assert not list(trained.rglob(".*")), "temporary files are left"
    account = json.loads((trained / "data.json").read_text())["parts"]
    assert [(part["split"], part["expected"], part["used"]) for part in account] == [
        ("train", 9, 9),
        ("val", 6, 6),
        ("test", 6, 6),
    ]
    logged = (trained / "log" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/loss", "val/selection", "val/manifest.label/weighted_f1", "step"} <= set(logged)
    assert all(math.isfinite(loss) for loss in losses(trained))


def test_the_validation_that_chose_the_checkpoint_is_kept_beside_the_results(trained: Path) -> None:
    kept = metrics(trained)
    rows = list(csv.DictReader((trained / "log" / "metrics.csv").open(encoding="utf-8")))
    logged = [row for row in rows if row["val/selection"]]
    best = max(logged, key=lambda row: float(row["val/selection"]))
    assert kept["validation"]["selection"] == pytest.approx(float(best["val/selection"]), abs=1e-6)
    assert kept["validation"]["epoch"] == int(best["epoch"]) + 1
    for name, numbers in kept["validation"]["tasks"].items():
        assert numbers["headline"] == kept["tasks"][name]["headline"]
        logged_value = float(best[f"val/{name}/{numbers['headline']}"])
        assert numbers["value"] == pytest.approx(logged_value, abs=1e-6)


def test_the_labels_of_the_training_rows_are_in_the_run_folder(one_task: Path) -> None:
    task = configuration(one_task).datasets["manifest"].task_definitions["label"]
    assert task.labels == sorted(TINY_LABELS)
    assert metrics(one_task)["tasks"]["manifest.label"]["labels"] == sorted(TINY_LABELS)


def test_every_record_is_predicted_once_for_every_task(trained: Path) -> None:
    tasks = configuration(trained).datasets["manifest"].tasks
    predictions = run_results.read_predictions(trained)
    found = sorted((p.id, p.task) for p in predictions)
    # Rows 17 to 22 of the table are the test rows: 9 + 6 before them, and the head.
    assert found == sorted((f"manifest/test/{row}", task) for row in range(17, 23) for task in tasks)
    assert all(p.outcome == "valid" and p.target is not None for p in predictions)
    assert {p.readout for p in predictions} == {"score"} | ({"expectation"} if len(tasks) == 2 else set())


def test_the_numbers_follow_from_the_predictions_alone(trained: Path) -> None:
    cfg = configuration(trained)
    recomputed = summarise(run_results.read_predictions(trained), cfg.datasets, cfg.evaluation, media=media_of(cfg))
    kept = metrics(trained)
    assert recomputed["selection"] == kept["selection"] is not None
    for name, numbers in recomputed["tasks"].items():
        assert numbers == {key: kept["tasks"][name][key] for key in numbers}
        assert (kept["tasks"][name]["expected"], kept["tasks"][name]["used"]) == (6, 6)


def test_a_checkpoint_holds_what_was_trained_and_nothing_else(trained: Path) -> None:
    cfg = configuration(trained)
    model, _ = models.load(cfg.model, modalities="tav", cache_root=Path(cfg.cache_root))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapters.apply(model, cfg.finetuning)
    state = weights(trained)
    assert set(state) == set(trained_tensors.trained_state(model))
    assert not any(".base_layer." in name for name in state)
    count = sum(tensor.numel() for tensor in state.values())
    assert count < sum(tensor.numel() for tensor in before.values()) / 1.5
    # Weights and Adam's two averages of each, in float32, and what the containers add.
    assert (trained / "checkpoints" / "best.ckpt").stat().st_size < 3 * 4 * count + 200_000
    model_checkpoint.load_best(partial(model_checkpoint.load, model), trained)
    for name, tensor in model.state_dict().items():
        plain = name.replace(".base_layer.", ".")
        if plain in before and plain not in state:
            assert torch.equal(tensor, before[plain]), f"{name} is frozen and changed"


# --- Evaluating a run ---


def test_evaluating_a_run_gives_the_predictions_of_its_training(trained: Path, start: Start) -> None:
    again = start("evaluate", f"run={trained}", family=None)
    assert run_results.read_predictions(again) == run_results.read_predictions(trained)
    assert metrics(again) == results(trained)
    assert not (again / "checkpoints").exists()  # the report tells by it which runs were trained
    for name in (*FILES[:-1], *RESULTS):
        assert (again / name).exists(), name


def test_a_modality_can_be_left_out_of_a_trained_model(trained: Path, start: Start) -> None:
    ablated = start("evaluate", f"run={trained}", "modalities=t", family=None)
    whole, less = run_results.read_predictions(trained), run_results.read_predictions(ablated)
    assert [p.id for p in whole] == [p.id for p in less] and configuration(ablated).modalities == "t"
    assert [p.scores for p in whole] != [p.scores for p in less]


def test_another_split_and_readout_can_be_evaluated(one_task: Path, start: Start) -> None:
    folder = start("evaluate", f"run={one_task}", "evaluation=generate", "evaluation.split=val", family=None)
    predictions = run_results.read_predictions(folder)
    assert len(predictions) == 6 and {p.split for p in predictions} == {"val"}
    assert all(p.answer is not None and p.readout == "generate" and p.scores is None for p in predictions)
    assert metrics(folder)["split"] == "val"


def test_labels_alone_are_generated_and_scores_are_calibrated(one_task: Path, start: Start) -> None:
    folder = start("evaluate", f"run={one_task}", "evaluation=constrained", family=None)
    predictions = run_results.read_predictions(folder)
    assert {p.readout for p in predictions} == {"constrained"} and all(p.answer in TINY_LABELS for p in predictions)
    folder = start("evaluate", f"run={one_task}", "evaluation.calibration=contextual", family=None)
    [(task, prior)] = json.loads((folder / "content_free.json").read_text()).items()
    assert task == "manifest.label" and set(prior) == set(TINY_LABELS) and sum(prior.values()) == pytest.approx(1)
    before = {p.id: p.scores for p in run_results.read_predictions(one_task)}
    for prediction in run_results.read_predictions(folder):
        assert prediction.readout == "score(contextual)"
        for label, score in prediction.scores.items():
            assert score == pytest.approx(before[prediction.id][label] - math.log(prior[label]), abs=1e-3)


@pytest.fixture(scope="module")
def headed(start: Start, with_two_tasks: list[str]) -> Path:
    """A run that has trained heads for a classification and an intensity, and little else."""
    short = ("trainer.max_epochs=2", "trainer.batch_size=3", "finetuning.new_learning_rate=0.01", "modalities=t")
    return start("train", *with_two_tasks, *short, "finetuning.target=head", "evaluation=head")


def test_heads_are_trained_chosen_and_evaluated(headed: Path, start: Start) -> None:
    predictions = run_results.read_predictions(headed)
    assert {p.readout for p in predictions} == {"head"} and len(predictions) == 12
    assert {p.task for p in predictions} == {"label", "level"} and all(p.lenient is not None for p in predictions)
    assert len([name for name in weights(headed) if name.startswith("heads.")]) == 4
    again = start("evaluate", f"run={headed}", family=None)
    assert run_results.read_predictions(again) == predictions and metrics(again) == results(headed)


def test_a_run_with_heads_does_not_answer_in_words(headed: Path, start: Start) -> None:
    with pytest.raises(SystemExit) as end:
        start("evaluate", f"run={headed}", "evaluation=score", family=None)
    assert "finetuning.target=head teaches no words, but evaluation.readout=score reads them" in str(end.value)


def test_a_checkpoint_of_another_base_is_refused(one_task: Path) -> None:
    cfg = configuration(one_task)
    model, _ = models.load(cfg.model, modalities=cfg.modalities, cache_root=Path(cfg.cache_root))
    with torch.no_grad():
        model.language.model.layers[0].mlp.up_proj.weight.add_(0.1)
    adapters.apply(model, cfg.finetuning)
    with pytest.raises(ConfigError, match=r"best\.ckpt was trained on another base: 1 of \d+ tensors of this model"):
        model_checkpoint.load_best(partial(model_checkpoint.load, model), one_task)


def test_clips_without_labels_are_predicted_and_not_scored(one_task: Path, start: Start, table: Path) -> None:
    rows = [line.split(",") for line in table.read_text().splitlines() if ",test," in line]
    other = table.parent / "unlabelled.csv"
    other.write_text("clip,text\n" + "".join(f"{row[0]},{row[1]}\n" for row in rows))
    words = ("dataset=manifest", f"datasets.manifest.root={other}")
    folder = start("evaluate", f"run={one_task}", *words, family=None)
    found = run_results.read_predictions(folder)
    assert len(found) == 6 and all(p.target is None and p.lenient in TINY_LABELS for p in found)
    # The same clips in the same model: the labels were all that was taken away.
    assert [p.lenient for p in found] == [p.lenient for p in run_results.read_predictions(one_task)]
    numbers = metrics(folder)
    assert numbers["selection"] is None and numbers["tasks"]["manifest.label"]["n_unlabelled"] == 6


def test_the_zero_shot_baseline_needs_no_run(start: Start) -> None:
    declared = "datasets.manifest.task_definitions.label.labels=[joy,anger,sadness]"
    folder = start("evaluate", "modalities=t", declared)
    assert len(run_results.read_predictions(folder)) == 6
    assert metrics(folder)["tasks"]["manifest.label"]["n_scored"] == 6


def test_a_run_without_a_checkpoint_is_refused(one_task: Path, start: Start, root: Path) -> None:
    broken = root / "broken"
    (broken / "checkpoints").mkdir(parents=True)
    (broken / "config.yaml").write_text((one_task / "config.yaml").read_text())
    with pytest.raises(SystemExit, match=r"broken has no checkpoints/best.ckpt: its training did not get as far"):
        start("evaluate", f"run={broken}", family=None)
    whole = (one_task / "checkpoints" / "best.ckpt").read_bytes()
    torch.save(torch.ones(2), broken / "tensor")
    for damaged in (b"", b"not a checkpoint at all", whole[: len(whole) // 2], (broken / "tensor").read_bytes()):
        (broken / "checkpoints" / "best.ckpt").write_bytes(damaged)
        with pytest.raises(SystemExit, match=r"best.ckpt cannot be read \(.+\): it is damaged; train again"):
            start("evaluate", f"run={broken}", family=None)


# --- Training ---


def test_a_few_clips_can_be_learnt_by_heart(start: Start) -> None:
    words = ("modalities=t", "trainer.max_epochs=25", "trainer.batch_size=3", "trainer.log_every=1")
    folder = start("train", *FULL, *words, "evaluation.split=train")
    fell = losses(folder)
    assert len(fell) == 75 and sum(fell[-3:]) < 0.1 * sum(fell[:3])


def test_two_runs_with_one_seed_have_the_same_weights(one_task: Path, start: Start) -> None:
    words = ("trainer.max_epochs=2", "trainer.batch_size=4", "trainer.log_every=1", "model.max_seconds=5")
    again, other = start("train", *words), start("train", *words, "seed=2")
    for name in ("best", "last"):
        assert equal(weights(again, name), weights(one_task, name))
    assert not equal(weights(other, "last"), weights(one_task, "last"))
    assert losses(again) == losses(one_task) and metrics(again) == metrics(one_task)


UNLIKE = ("a", "b b b", "c, c and once more c")


@pytest.mark.parametrize("target", ["answer", "head"])
def test_accumulated_batches_are_one_batch(root: Path, start: Start, target: str) -> None:
    # Answers of different length, whose batches have different numbers of tokens, and a last step of three clips.
    table = tiny_manifest(
        root / f"unlike_{target}", labels=("a", "b b b", "c, c and once more c"), train=7, media=False
    )
    words = (f"datasets.manifest.root={table}", "datasets.manifest.options.require_clips=false", "modalities=t")
    words += (*FULL, "trainer.max_epochs=2", "trainer.log_every=1", f"finetuning.target={target}")
    words += ("evaluation=head",) if target == "head" else ()
    runs = [start("train", *words, f"trainer.batch_size={4 // n}", f"trainer.accumulate={n}") for n in (1, 2, 4)]
    steps = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] for run in runs]
    assert steps == [4, 4, 4]
    whole, expected = weights(runs[0], "last"), losses(runs[0])
    assert len(expected) == 4
    for parts in runs[1:]:
        assert losses(parts) == pytest.approx(expected, rel=1e-4)
        for name, tensor in weights(parts, "last").items():
            torch.testing.assert_close(tensor, whole[name], atol=1e-4, rtol=1e-3)


def test_the_progress_bar_shows_what_is_logged(root: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    log = Supervised.log

    def noted(module: Supervised, name: str, value: Any, **how: Any) -> None:
        shown.extend([float(value)] if name == "train/loss" else [])
        log(module, name, value, **how)

    monkeypatch.setattr(Supervised, "log", noted)
    words = ("modalities=t", "trainer.batch_size=2", "trainer.accumulate=3", "trainer.log_every=1")
    folder = start("train", *words, "trainer.max_epochs=2", "trainer.progress=true")
    assert len(shown) == 4 and shown == pytest.approx(losses(folder), rel=1e-5)


def test_a_step_that_max_batches_cuts_off_is_a_smaller_one(root: Path, start: Start) -> None:
    table = tiny_manifest(root / "cut_off", labels=UNLIKE, media=False)
    words = (f"datasets.manifest.root={table}", "datasets.manifest.options.require_clips=false", "modalities=t")
    words += (*FULL, "trainer.max_epochs=1", "trainer.log_every=1", "finetuning.learning_rate=1e-9")
    words += ("finetuning.new_learning_rate=1e-9", "trainer.max_batches=3")
    [one, two] = losses(start("train", *words, "trainer.batch_size=2", "trainer.accumulate=2"))
    # The third batch alone: what no gradient has changed has a like loss in every batch, and a half of it were far off.
    assert two == pytest.approx(one, rel=0.2)


def test_an_answer_to_nothing_can_be_asked_in_bfloat16(start: Start) -> None:
    words = ("modalities=ta", "model.precision=bfloat16", "evaluation.calibration=contextual", "evaluation.split=val")
    folder = start("evaluate", *words, family="qwen_omni")
    assert metrics(folder)["tasks"]["manifest.label"]["n_scored"] == 6
    assert json.loads((folder / "content_free.json").read_text())["manifest.label"]


def test_a_run_whose_scores_are_all_nan_ends_as_failed_and_keeps_its_predictions(
    start: Start, one_task: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(begin: Callable[[], Path], readout: str) -> None:
        before = set((root / "outputs").glob("*/"))
        with pytest.raises(SystemExit) as end:
            begin()
        [folder] = set((root / "outputs").glob("*/")) - before
        sentence = f"None of the 6 predictions of {folder} has an answer, so the run has failed: {models.NOT_FINITE}."
        assert str(end.value.code) == f"{sentence} All of them are kept in its predictions.jsonl."
        status = json.loads((folder / "status.json").read_text())
        assert status["state"] == "failed" and status["error"].startswith(f"NothingAnswered: {sentence}")
        predictions = run_results.read_predictions(folder)
        assert len(predictions) == 6 and {(p.outcome, p.error) for p in predictions} == {("error", models.NOT_FINITE)}
        assert {p.readout for p in predictions} == {readout} and not any(p.scores or p.lenient for p in predictions)
        numbers = metrics(folder)["tasks"]["manifest.label"]
        assert numbers["errors"] == {models.NOT_FINITE: 6} and numbers["outcomes"]["error"] == 6
        assert f"1 manifest.label: 6 of 6 clips have no answer: {models.NOT_FINITE}" in capsys.readouterr().out

    def load(model: Any, checkpoint: Any, source: str) -> None:
        with torch.no_grad():
            next(p for p in model.parameters() if p.requires_grad).fill_(math.nan)

    monkeypatch.setattr(model_checkpoint, "load", load)
    check(partial(start, "evaluate", f"run={one_task}", family=None), "score")
    check(partial(start, "evaluate", f"run={one_task}", "evaluation=generate", family=None), "generate")
    check(partial(start, "evaluate", f"run={one_task}", "evaluation=constrained", family=None), "constrained")
    check(partial(start, "train", *FULL, "modalities=t", "trainer.max_epochs=1"), "score")


def test_the_best_epoch_is_kept_and_evaluated(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.2, 0.9, 0.5])  # of three validations; what comes after them is the test

    def told(predictions: list[Prediction], **how: Any) -> dict[str, Any]:
        summary = summarise(predictions, **how)
        return summary | {"selection": next(values, summary["selection"])}

    monkeypatch.setattr("affect.cli.steps.summarise", told)
    folder = start("train", *FULL, "modalities=t", "trainer.max_epochs=3", "trainer.batch_size=3")
    monkeypatch.undo()
    checkpoints = [torch.load(folder / "checkpoints" / f"{n}.ckpt", weights_only=True) for n in ("best", "last")]
    assert [checkpoint["epoch"] for checkpoint in checkpoints] == [1, 2]
    assert not equal(*(checkpoint["state_dict"] for checkpoint in checkpoints))
    # Had the last epoch been evaluated, evaluate.py, which loads the best, would not find the same scores.
    again = start("evaluate", f"run={folder}", family=None)
    assert run_results.read_predictions(again) == run_results.read_predictions(folder)


def test_a_loss_that_is_not_a_number_stops_the_run_with_a_sentence(start: Start, root: Path) -> None:
    sentence = (
        r"the loss is nan at step \d+: lower finetuning.learning_rate \(=1e\+30\) or finetuning.new_learning_rate"
    )
    before = set((root / "outputs").glob("*/"))
    with pytest.raises(FloatingPointError, match=sentence):
        start("train", "finetuning=full", "finetuning.learning_rate=1e30", "modalities=t", "trainer.batch_size=3")
    [folder] = set((root / "outputs").glob("*/")) - before
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "failed" and status["error"].startswith("FloatingPointError: the loss is nan")


def test_several_datasets_and_tasks_at_once(start: Start, root: Path, with_two_tasks: list[str]) -> None:
    generate(root / "demo", Settings(num_train=4, num_val=3, num_test=3))
    words = (*with_two_tasks, f"datasets.demo.root={root / 'demo'}", "datasets.demo.tasks=[humour,sentiment]")
    limits = ("modalities=ta", "trainer.max_epochs=1", "finetuning.alignment_epochs=2")
    folder = start("train", "dataset=[manifest,demo]", *words, *limits, "evaluation.selection=min_headline")
    kept = metrics(folder)
    assert list(kept["tasks"]) == ["manifest.label", "manifest.level", "demo.humour", "demo.sentiment"]
    assert [numbers["n_scored"] for numbers in kept["tasks"].values()] == [6, 6, 3, 3]
    assert kept["aggregate"] == "min_headline" and 0 <= kept["selection"] <= 1
    predictions = run_results.read_predictions(folder)
    words = {p.lenient for p in predictions if p.task == "humour"}
    assert len(predictions) == 18 and words <= {"humorous", "serious"}  # the label, not the word that stands for it
    assert {p.readout for p in predictions if p.task == "sentiment"} == {"generate"}


def test_a_clip_that_vanishes_during_the_run_is_listed_and_the_run_goes_on(
    start: Start, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tiny_manifest(root / "vanishing", train=3, val=3, test=3)

    def check_then_lose(parts: list[splits.Part], cfg: Config) -> ClipSource:
        source = checked(parts, cfg)
        for name in ("train_0", "test_1"):
            (table.parent / "clips" / f"{name}.mp4").unlink()
        return source

    checked = usable_clips.exclude_unusable
    monkeypatch.setattr(usable_clips, "exclude_unusable", check_then_lose)
    one_each = ("trainer.batch_size=1", "evaluation.batch_size=1", "trainer.max_epochs=1")  # a batch of nothing, too
    folder = start("train", f"datasets.manifest.root={table}", "modalities=ta", *one_each)
    by_id = {p.id: p for p in run_results.read_predictions(folder)}
    assert list(by_id) == ["manifest/test/10", "manifest/test/8", "manifest/test/9"]
    failed = by_id["manifest/test/9"]
    assert failed.outcome == "error" and failed.lenient is None and failed.target == "anger"
    assert "test_1.mp4: there is no such file" in failed.error
    numbers = metrics(folder)["tasks"]["manifest.label"]
    assert (numbers["n_scored"], numbers["n_readable_lenient"], numbers["outcomes"]["error"]) == (3, 2, 1)
    rows = list(csv.DictReader((folder / "exclusions.csv").open(encoding="utf-8")))
    lost = {row["id"]: row["source"] for row in rows if row["reason"] == "lost during the run"}
    assert set(lost) == {"manifest/train/2", "manifest/test/9"} and all("no such file" in why for why in lost.values())


def test_a_frozen_tower_stays_bit_identical(start: Start) -> None:
    words = ("finetuning.language=frozen", "modalities=ta", "trainer.max_epochs=1", "trainer.batch_size=4")
    folder = start("train", *words)
    assert not any(name.startswith("language.") for name in weights(folder))
    cfg = configuration(folder)
    model, _ = models.load(cfg.model, modalities="ta", cache_root=Path(cfg.cache_root))
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapters.apply(model, cfg.finetuning)
    model_checkpoint.load_best(partial(model_checkpoint.load, model), folder)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, fresh[name]) == name.startswith("language."), name


def test_aligned_towers_can_stay_as_they_are_while_the_last_layers_are_trained(start: Start) -> None:
    words = (
        "modalities=ta",
        "finetuning.alignment_epochs=2",
        "finetuning.freeze_aligned=true",
        "finetuning.last_layers=1",
        "trainer.batch_size=4",
    )
    one, two = (start("train", *words, f"trainer.max_epochs={epochs}") for epochs in (1, 2))
    first, second = weights(one), weights(two)
    layers = {re.search(r"layers\.(\d+)", name)[1] for name in first if name.startswith("language.")}
    assert layers == {"1"}, "the tiny model has two layers"
    towers = [name for name in first if not name.startswith("language.")]
    assert {name.split(".")[0] for name in towers} >= {"audio"}
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in towers)
    assert not any(torch.equal(first[name], second[name]) for name in first if "lora_B" in name)
    # A checkpoint has the aligned towers, which nothing else has.
    again = start("evaluate", f"run={one}", family=None)
    assert [p.scores for p in run_results.read_predictions(again)] == [
        p.scores for p in run_results.read_predictions(one)
    ]


# --- The module by itself ---


def supervised(
    root: Path, table: Path, configure: Callable[..., Config], *words: str, family: str = "composed"
) -> tuple[Supervised, datamodule.ClipData, Config]:
    cfg = configure(*tiny_words(root, family), "dataset=manifest", f"datasets.manifest.root={table}", *words)
    parts = loading.read(cfg, ["train", "val"])
    torch.manual_seed(cfg.seed)
    model, encoder = models.load(cfg.model, modalities=cfg.modalities, cache_root=Path(cfg.cache_root))
    adapters.apply(model, cfg.finetuning)
    by_split = {
        s: examples.examples(parts, s, cfg, encoder.count_text, labelled_only=s == "train") for s in ("train", "val")
    }
    summary = partial(summarise, datasets=cfg.datasets, evaluation=cfg.evaluation)
    learner = LanguageLearner(model, encoder, cfg.finetuning, cfg.evaluation, sampling.sampling(cfg))
    return Supervised(learner, cfg.finetuning, summary), datamodule.ClipData(by_split, learner, cfg), cfg


def test_the_loss_is_that_of_the_answers_alone(root: Path, table: Path, configure: Callable[..., Config]) -> None:
    module, clips, _ = supervised(root, table, configure, "trainer.batch_size=4")
    module.eval()
    batch = next(iter(clips.train_dataloader()))
    with torch.no_grad():
        loss = answer_loss(module.model, batch.tensors)
        logits = module.model(batch.tensors, batch.tensors["input_ids"].shape[1])
    summed, count = 0.0, 0
    for row, example in enumerate(batch.examples):
        places = (batch.tensors["labels"][row] != -100).nonzero().flatten().tolist()
        for place, token in zip(places, module.learner.encoder.answer_ids(example.answer), strict=True):
            summed -= float(logits[row, place - 1].log_softmax(-1)[token])
            count += 1
    assert loss.item() == pytest.approx(summed / count, rel=1e-5)


def test_epochs_go_through_the_clips_in_orders_of_their_own(
    root: Path, table: Path, tmp_path: Path, configure: Callable[..., Config]
) -> None:
    module, clips, cfg = supervised(
        root, table, configure, "modalities=t", "trainer.batch_size=3", "trainer.max_epochs=2"
    )
    seen: list[str] = []
    step = module.training_step

    def noted(batch: collate.Batch, batch_idx: int) -> torch.Tensor:
        seen.extend(example.record.id for example in batch.examples)
        return step(batch, batch_idx)

    module.training_step = noted
    module.train()
    trainer.build(cfg, tmp_path, lifecycle.Stop(tmp_path)).fit(module, clips)
    lengths = [prompt_length(example) for example in clips.by_split["train"]]
    sampler = data.EpochSampler(lengths, cfg.seed, step_size=3)
    expected = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        expected += [f"manifest/train/{i + 2}" for i in sampler]
    assert seen == expected and seen[:9] != seen[9:]


def test_only_trained_towers_are_in_training_mode(
    root: Path, table: Path, tmp_path: Path, configure: Callable[..., Config]
) -> None:
    words = ("modalities=ta", "finetuning.language=frozen", "trainer.max_epochs=2", "trainer.batch_size=5")
    module, clips, cfg = supervised(root, table, configure, *words)
    modes: list[tuple[bool, bool]] = []
    step = module.training_step

    def noted(batch: collate.Batch, batch_idx: int) -> torch.Tensor:
        modes.append((module.model.language.training, module.model.audio.training))
        return step(batch, batch_idx)

    module.training_step = noted
    module.train()
    trainer.build(cfg, tmp_path, lifecycle.Stop(tmp_path)).fit(module, clips)
    assert modes == [(False, True)] * 4  # also in the second epoch, after a validation


def test_a_projector_within_a_frozen_tower_is_trained_like_any_other(
    root: Path, table: Path, tmp_path: Path, configure: Callable[..., Config]
) -> None:
    """Where Qwen2.5-Omni has them; its adapters' dropout has to be on."""
    words = ("finetuning.projector=lora", "finetuning.dropout=0.1", "trainer.max_epochs=1", "trainer.batch_size=5")
    module, clips, cfg = supervised(root, table, configure, *words, family="qwen_omni")
    modes: dict[str, bool] = {}
    step = module.training_step

    def noted(batch: collate.Batch, batch_idx: int) -> torch.Tensor:
        modes.update({name: part.training for name, part in module.model.named_modules()})
        return step(batch, batch_idx)

    module.training_step = noted
    module.train()
    trainer.build(cfg, tmp_path, lifecycle.Stop(tmp_path)).fit(module, clips)
    towers = module.model.towers
    dropouts = {adapters.tower_of(name, towers): on for name, on in modes.items() if name.endswith("dropout.default")}
    assert dropouts == {"language": True, "projector": True}
    frozen = {name: on for name, on in modes.items() if name.startswith(tuple(towers["audio"] + towers["vision"]))}
    assert {adapters.tower_of(name, towers) for name in frozen} == {"audio", "vision", "projector"}
    assert all(on == (adapters.tower_of(name, towers) == "projector") for name, on in frozen.items())


def test_a_learning_rate_rises_and_falls(
    root: Path, table: Path, tmp_path: Path, configure: Callable[..., Config]
) -> None:
    words = (
        "modalities=t",
        "trainer.batch_size=1",
        "trainer.max_epochs=2",
        "finetuning.warmup=0.5",
        "trainer.log_every=1",
    )
    module, clips, cfg = supervised(root, table, configure, *words)
    module.train()
    trainer.build(cfg, tmp_path, lifecycle.Stop(tmp_path)).fit(module, clips)
    rows = list(csv.DictReader((tmp_path / "log" / "metrics.csv").open(encoding="utf-8")))
    [column] = [name for name in rows[0] if name.startswith("lr-")]
    rates = [float(row[column]) for row in rows if row[column]]
    expected = [5e-4 * (i + 1) / 9 for i in range(9)] + [5e-4 * 0.5 * (1 + math.cos(math.pi * i / 9)) for i in range(9)]
    assert rates == pytest.approx(expected, rel=1e-4)


# --- Predictions across steps and processes ---


def prediction(number: int, *, text: str = "joy") -> Prediction:
    return Prediction(
        id=f"d/test/{number}",
        dataset="d",
        split="test",
        task="emotion",
        group="g",
        target="joy",
        answer=text,
        exact="joy",
        lenient="joy",
        outcome="valid",
        readout="generate",
        scores={"joy": -0.1, "ärger": -1 / 3},
    )


@pytest.mark.filterwarnings("ignore:.*was called before the ``update``:UserWarning")
def test_predictions_are_gathered_in_order() -> None:
    carried = Predictions()
    carried.update([prediction(3, text="a\u2028b\n"), prediction(1)])
    carried.update([])
    carried.update([prediction(2)])
    assert carried.gathered() == [prediction(1), prediction(2), prediction(3, text="a\u2028b\n")]
    other = replace(prediction(1), task="humour")
    carried.update([other])
    assert carried.gathered() == [prediction(1), prediction(2), prediction(3, text="a\u2028b\n"), other]
    carried.reset()
    assert carried.gathered() == []


def _gather(rank: int, folder: str) -> None:
    """One of two processes, with unequal shares."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    carried = Predictions()
    for number in (1, 3) if rank == 0 else (2,):
        carried.update([prediction(number, text="long " * 5 * number)])
    ids = [p.id for p in carried.gathered()]
    Path(folder, f"{rank}.json").write_text(json.dumps(ids))
    torch.distributed.destroy_process_group()
    os._exit(0)  # what the parent's pytest would do at exit is not this process's affair


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
def test_predictions_of_two_processes_become_one_list(tmp_path: Path) -> None:
    context = torch.multiprocessing.get_context("fork")  # a new interpreter would import torch for nine seconds
    processes = [context.Process(target=_gather, args=(rank, str(tmp_path))) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        if process.is_alive():
            process.kill()
    for rank in (0, 1):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == ["d/test/1", "d/test/2", "d/test/3"]


# --- Alignment ---


def aligned(root: Path, table: Path, configure: Callable[..., Config], *words: str) -> tuple[list, Any, Any, Any]:
    module, clips, cfg = supervised(root, table, configure, *words)
    before = {name: tensor.clone() for name, tensor in module.model.state_dict().items()}
    torch.manual_seed(cfg.seed)
    found = alignment.align(module.model, module.learner.encoder, clips.by_split["train"], clips.by_split["val"], cfg)
    return found, before, module.model.state_dict(), module


ENOUGH = ("finetuning.alignment_epochs=60", "finetuning.alignment_learning_rate=1e-2")


def test_alignment_finds_what_can_be_told_apart_and_leaves_the_language_model(
    root: Path, configure: Callable[..., Config]
) -> None:
    table = tiny_manifest(root / "separable", train=18, val=9, test=1)
    found, before, after, module = aligned(root, table, configure, *ENOUGH)
    assert [item.modality for item in found] == ["audio", "video"]
    for item in found:
        assert item.accuracy > 0.8 and item.loss < math.log(3), item  # chance is a third
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and not any(name.startswith("language.") for name in changed)
    assert {name.split(".")[0] for name in changed} == {"audio", "audio_projector", "vision", "video_projector"}
    assert not any(part.training for part in (module.model.audio, module.model.vision))
    again = aligned(root, table, configure, *ENOUGH)
    assert again[0] == found and all(torch.equal(again[2][name], after[name]) for name in after)


def test_alignment_reads_clips_in_batches_and_keeps_what_there_is_room_for(
    root: Path, configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tiny_manifest(root / "streamed", train=24, val=12, test=1)
    words = ("finetuning.alignment_epochs=3", "trainer.num_workers=0")
    monkeypatch.setattr(alignment, "BATCH_SIZE", 2)
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most, made = 0, collate.Collate.__call__

    def noted(self: collate.Collate, asked: list) -> collate.Batch:
        nonlocal most
        batch = made(self, asked)
        alive.update(batch.tensors[key] for key in ("audio_features", "frames") if key in batch.tensors)
        most = max(most, len(alive))
        return batch

    monkeypatch.setattr(collate.Collate, "__call__", noted)
    found, _, kept, _ = aligned(root, table, configure, *words)
    monkeypatch.setattr(alignment, "KEPT", 0)
    alive.clear()
    gc.collect()
    most = 0
    again, _, streamed, _ = aligned(root, table, configure, *words)
    # One in use, one that was before it, one that is ready and one that is being made: of 12 and 6, twice.
    assert 0 < most <= 4
    assert again == found and all(torch.equal(streamed[name], kept[name]) for name in kept)


def test_alignment_asks_an_encoder_that_is_not_trained_once(
    root: Path, configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tiny_manifest(root / "frozen", train=6, val=3, test=1)
    whisper = tiny_whisper(root / "whisper_once") if not (root / "whisper_once").exists() else root / "whisper_once"
    monkeypatch.setattr(alignment, "BATCH_SIZE", 3)
    kind = transformers.models.whisper.modeling_whisper.WhisperEncoder
    calls, forward = [], kind.forward
    monkeypatch.setattr(kind, "forward", lambda self, *rest, **how: (calls.append(1), forward(self, *rest, **how))[1])
    words = (f"model.audio={whisper}", "modalities=ta", "finetuning.alignment_epochs=4")
    found, before, after, _ = aligned(root, table, configure, *words)
    assert len(calls) == 2 + 1  # batches of the two splits
    monkeypatch.setattr(alignment, "KEPT", 0)
    calls.clear()
    again, _, streamed, _ = aligned(root, table, configure, *words)
    assert len(calls) == 4 * 2 + 1
    assert again == found and all(torch.equal(streamed[name], after[name]) for name in after)
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"audio_projector"}


def test_a_trial_aligns_with_no_more_clips_than_it_trains_on(
    root: Path, configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tiny_manifest(root / "trial", train=12, val=9, test=1)
    read, clip = set(), ClipSource.clip
    monkeypatch.setattr(
        ClipSource, "clip", lambda self, record, *rest: (read.add(record.id), clip(self, record, *rest))[1]
    )
    module, clips, cfg = supervised(root, table, configure, "trainer=smoke", "evaluation.batch_size=3")
    assert (cfg.trainer.max_batches, cfg.trainer.batch_size) == (2, 2)
    found = alignment.align(module.model, module.learner.encoder, clips.by_split["train"], clips.by_split["val"], cfg)
    assert [item.modality for item in found] == ["audio", "video"] and found[0].loss is not None
    by_split = {split: {e.record.id for e in clips.by_split[split]} & read for split in ("train", "val")}
    assert {split: len(ids) for split, ids in by_split.items()} == {"train": 4, "val": 6} and len(read) == 10


def test_alignment_has_nothing_to_do_where_all_answers_are_one(root: Path, configure: Callable[..., Config]) -> None:
    table = tiny_manifest(root / "single", train=3, val=2, test=1, labels=("joy",))
    words = ("modalities=a", "datasets.manifest.task_definitions.label.labels=[joy,anger]")
    found, before, after, _ = aligned(root, table, configure, *words)
    assert found == [] and all(torch.equal(before[name], after[name]) for name in before)


def test_alignment_does_without_validation_clips_of_the_training_answers(
    root: Path, configure: Callable[..., Config]
) -> None:
    table = tiny_manifest(root / "unseen", train=4, val=3, test=1)
    module, clips, cfg = supervised(root, table, configure, "modalities=a")
    val = [replace(example, answer="surprise") for example in clips.by_split["val"]]
    [item] = alignment.align(module.model, module.learner.encoder, clips.by_split["train"], val, cfg)
    assert (item.modality, item.loss, item.accuracy) == ("audio", None, None)


def test_a_device_that_is_not_there_is_refused(
    tmp_path: Path, configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"accelerator=cuda, but torch finds no CUDA device: trainer.accelerator=cpu"):
        trainer.check_devices(configure("trainer.accelerator=cuda"))
