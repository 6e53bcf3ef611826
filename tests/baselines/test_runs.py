"""Methods that are no language models through train.py and evaluate.py themselves, on a handful of clips."""

import csv
import errno
import itertools
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from dataset_fixtures import MMSA_ROWS, mmsa_tree
from feature_files import split_of, write
from made_runs import records
from omegaconf import OmegaConf
from tiny_models import SMALL_CLIPS, tiny_composed_language, tiny_manifest, tiny_whisper, tiny_words

import evaluate
import train
from affect.cli import sweep, sweep_best
from affect.config import FAMILIES, BaselineConfig, Config, ConfigError, read_yaml
from affect.config.groups import CONF
from affect.runs import ledger, run_results
from affect.training import usable_clips
from affect.training.checkpointing import AtomicCheckpoints
from affect.training.module import Supervised

WIDTHS = {"text": 7, "audio": 3, "vision": 5}
FEATURE_FILES = ("unaligned_50", "aligned_50", "unaligned_39")
# Tasks of the two other kinds. As a file: a task cannot be added on the command line.
THREE_TASKS = """\
# @package _global_
datasets:
  manifest:
    options: {labels: [label, level, moods]}
    tasks: [label, level, moods]
    task_definitions:
      level: {kind: intensity, low: -1, high: 1, step: 0.5, headline: mae, question: {en: "How much?"}}
      moods: {kind: multi_label, labels: [bright, tense], headline: micro_f1, question: {en: "Which?"}}
"""
MOODS = {"joy": "bright", "anger": "tense", "sadness": "bright|tense"}
Start = Callable[..., Path]


def family(model: str) -> str:
    """The family of a model of conf/model."""
    defaults = OmegaConf.load(CONF / "model" / f"{model}.yaml").defaults
    [schema] = [each for each in defaults if str(each).startswith("/schema/")]
    return schema.split("/")[2].split("@")[0]


def names(group: str) -> list[str]:
    return [path.stem for path in sorted((CONF / group).glob("*.yaml"))]


METHODS = [name for name in names("model") if issubclass(FAMILIES[family(name)], BaselineConfig)]


def model_of(experiment: str) -> str | None:
    """The model that an experiment chooses."""
    chosen = OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml").get("defaults", [])
    return next((each["override /model"] for each in chosen if "override /model" in each), None)


EXPERIMENTS = {model: [name for name in names("experiment") if model_of(name) == model] for model in METHODS}
"""By model, the experiments with it. test_published_settings.py trains all that are published on one batch; here one of
each model goes the whole way."""
WHOLE_WAY = [found[place % len(found)] for place, found in enumerate(EXPERIMENTS.values()) if found]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest, the datasets of MMSA with feature files, and tiny encoders."""
    root = tmp_path_factory.mktemp("baselines")
    table = tiny_manifest(root / "corpus", train=9)
    head, *rows = table.read_text().splitlines()
    with_moods = [f"{head},moods", *(f"{row},{MOODS[row.split(',')[2]]}" for row in rows)]
    (root / "corpus" / "moods.csv").write_text("\n".join(with_moods) + "\n")
    without_words = [head, *(",".join([row.split(",")[0], "", *row.split(",")[2:]]) for row in rows)]
    (root / "corpus" / "silent.csv").write_text("\n".join(without_words) + "\n")
    file = root / "conf" / "experiment" / "three_tasks.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(THREE_TASKS)
    for name in ("mosi", "mosei", "sims"):
        mmsa_tree(root / name, name)
        write_features(root / name, name)
    tiny_composed_language(root / "encoder")
    tiny_whisper(root / "whisper")
    (root / "empty").mkdir()
    return root


def write_features(folder: Path, name: str, prefix: str = "", scale: float = 1.0, files: Any = FEATURE_FILES) -> None:
    """Feature files of the rows of a dataset of MMSA's; `prefix` is put before the ids."""
    cells = list(csv.DictReader(MMSA_ROWS[name]))
    content = {}
    for split in ("train", "valid", "test"):
        own = [row for row in cells if row["mode"] == split]
        ids = [f"{prefix}{row['video_id']}$_${row['clip_id']}" for row in own]
        content[split] = split_of(ids, [float(row["label"]) for row in own], widths=WIDTHS)
        for modality in WIDTHS:
            content[split][modality] = content[split][modality] * scale
    for file in files:
        write(folder / "Processed" / f"{file}.pkl", content)


@pytest.fixture(scope="module")
def start(root: Path) -> Iterator[Start]:
    """`start("train", *words)` runs train.py in this process and gives the folder it made, or went on with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)

        def started(program: str, *words: str) -> Path:
            output = root / "outputs"
            before = {*output.glob("*/"), *output.glob("sweeps/*/")}
            keys = [word.split("=", 1)[0] for word in words]
            chosen = ["trainer.progress=false"]
            if "resume" not in keys:
                chosen += [f"output_root={output}", f"cache_root={root / 'cache'}", f"data_root={root}"]
            if not {"resume", "run"} & set(keys):
                chosen += [f"features.text={root / 'encoder'}", "trainer.check_workers=1", *SMALL_CLIPS]
                chosen += ["trainer.max_epochs=1", "trainer.batch_size=4"]
                if not {"dataset", "experiment"} & set(keys):
                    chosen += ["dataset=manifest", f"datasets.manifest.root={root / 'corpus' / 'clips.csv'}"]
            chosen = [word for word in chosen if word.split("=", 1)[0] not in keys]
            flags = [word for word in words if word.startswith("-")]
            patch.setattr(sys, "argv", [f"{program}.py", *flags, *chosen, *(w for w in words if w not in flags)])
            patch.delenv("AFFECT_STAMP", raising=False)
            {"train": train.main, "evaluate": evaluate.main}[program]()
            resumed = [Path(word.removeprefix("resume=")) for word in words if word.startswith("resume=")]
            return resumed[0] if resumed else newest(output, before)

        yield started


def newest(output: Path, before: set[Path]) -> Path:
    [made] = {*output.glob("*/"), *output.glob("sweeps/*/")} - before - {output / "sweeps"}
    return made


def tasks(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())["tasks"]


# --- What is shipped ---


def test_methods_and_their_experiments_are_found() -> None:
    assert {"majority", "tfidf", "vectors", "mult", "self_mm"} <= set(METHODS)
    assert {"tfn", "lmf", "mult", "misa", "self_mm"} <= {model_of(name) for name in WHOLE_WAY}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_trained_and_its_evaluation_finds_the_same(name: str, start: Start) -> None:
    modalities = {"tfidf": "t", "vectors": "av", "lmf": "a", "tfn": "tv"}.get(name, "tav")
    words = [f"modalities={modalities}"]
    trained = start("train", f"model={name}", *words, "trainer.max_batches=1", "evaluation.batch_size=6")
    found = run_results.read_predictions(trained)
    assert len(found) == 6 and {prediction.outcome for prediction in found} == {"valid"}
    assert (trained / "checkpoints" / "best.ckpt").is_file()
    evaluated = start("evaluate", f"run={trained}")
    assert run_results.read_predictions(evaluated) == found


@pytest.mark.parametrize("name", WHOLE_WAY)
def test_every_experiment_is_trained_a_step(name: str, start: Start) -> None:
    trained = start("train", f"experiment={name}", "trainer.max_batches=1", "trainer.log_every=1")
    rows = list(csv.DictReader((trained / "log" / "metrics.csv").open(encoding="utf-8")))
    assert [row["train/loss"] != "" for row in rows].count(True) == 1
    assert all(numbers["n_scored"] == 1 for numbers in tasks(trained).values())


# --- Stopped and continued; worker processes ---

# 9 clips in batches of 2, two to an optimiser step: five batches an epoch, the last of them alone in its step.
STEPS = (
    *("trainer.max_epochs=2", "trainer.batch_size=2", "trainer.accumulate=2", "trainer.log_every=1"),
    *("trainer.save_every_steps=1", "modalities=ta"),
)
SMALL = {"mult": ("model.hidden=4", "model.heads=2", "model.layers=1"), "self_mm": ()}


@pytest.fixture(scope="module")
def undisturbed(start: Start) -> Iterator[Callable[[str], Path]]:
    """A training of a model by its name."""
    made: dict[str, Path] = {}

    def trained(model: str) -> Path:
        if model not in made:
            made[model] = start("train", f"model={model}", *SMALL[model], *STEPS)
        return made[model]

    yield trained


def assert_same_run(first: Path, second: Path) -> None:
    for name in ("best", "last"):
        one, other = (torch.load(f / "checkpoints" / f"{name}.ckpt", weights_only=True) for f in (first, second))
        assert one["state_dict"].keys() == other["state_dict"].keys()
        assert all(torch.equal(tensor, other["state_dict"][key]) for key, tensor in one["state_dict"].items()), name
        assert str(one["optimizer_states"]) == str(other["optimizer_states"]), name
    for name in ("predictions.jsonl", "metrics.json", "log/metrics.csv"):
        assert (first / name).read_text() == (second / name).read_text(), name


@pytest.mark.parametrize(("model", "at"), [("mult", 4), ("self_mm", 9)])
def test_a_stopped_training_goes_on_as_if_it_had_not_been(
    model: str, at: int, start: Start, undisturbed: Callable[[str], Path], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, step, calls = undisturbed(model), Supervised.training_step, iter(range(1, 100))

    def stopped(*arguments: Any) -> Any:
        if next(calls) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*arguments)

    before = {*(root / "outputs").glob("*/"), *(root / "outputs").glob("sweeps/*/")}
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Supervised, "training_step", stopped)
        start("train", f"model={model}", *SMALL[model], *STEPS)
    folder = newest(root / "outputs", before)
    status = json.loads((folder / "status.json").read_text())
    progress = status["progress"]
    assert (status["state"], progress["stage"], progress["epoch"]) == ("stopped", "training", 1 + progress["step"] // 3)
    assert progress["first_step"] == 0 < progress["step"] < progress["steps"]
    assert_same_run(expected, start("train", f"resume={folder}"))


def test_worker_processes_change_nothing(start: Start, undisturbed: Callable[[str], Path]) -> None:
    assert_same_run(undisturbed("mult"), start("train", "model=mult", *SMALL["mult"], *STEPS, "trainer.num_workers=1"))


# --- Kinds of tasks, several datasets, multiruns, reports, tracking ---


@pytest.mark.parametrize("model", ["late_fusion", "lmf"])
def test_tasks_of_every_kind_with_weights_and_balanced_batches(model: str, start: Start, root: Path) -> None:
    chosen = [f"hydra.searchpath=[file://{root / 'conf'}]", "dataset=manifest", "experiment=three_tasks"]
    chosen += [f"datasets.manifest.root={root / 'corpus' / 'moods.csv'}", "modalities=ta"]
    balance = ["finetuning.label_weights=square_root", "finetuning.sampling=square_root"]
    trained = start("train", f"model={model}", *chosen, *balance)
    found = run_results.read_predictions(trained)
    assert {task: len([p for p in found if p.task == task]) for task in ("label", "level", "moods")} == {
        "label": 6,
        "level": 6,
        "moods": 6,
    }
    assert all(p.outcome == "valid" for p in found) and {type(p.lenient) for p in found} == {str, float, tuple}
    if model == "late_fusion":
        return
    plain = start("train", f"model={model}", *chosen)
    assert [p.scores for p in run_results.read_predictions(plain)] != [p.scores for p in found]


def test_two_datasets_with_feature_files_are_trained_on_together(start: Start) -> None:
    words = ("dataset=[mosi,sims]", "features=mmsa_unaligned", "model=tfn", "features.standardise=true")
    assert list(tasks(start("train", *words))) == ["mosi.sentiment", "sims.sentiment"]


def test_a_multirun_and_a_language_model_stand_in_one_table(
    start: Start, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    multirun = start("train", "-m", "model=majority,tfn", "seed=1,2", "modalities=t")
    assert [job["state"] for job in json.loads((multirun / "jobs.json").read_text())] == ["finished"] * 4
    table = ["dataset=manifest", f"datasets.manifest.root={root / 'corpus' / 'clips.csv'}"]
    language = start("train", *tiny_words(root), *table, "modalities=t", "finetuning.alignment_epochs=0")
    capsys.readouterr()
    rows = records(capsys, multirun, language)
    assert {(row["model.name"], row["tuning"], row["n_seeds"]) for row in rows} == {
        ("majority", "trained", "2"),
        ("tfn", "trained", "2"),
        ("tiny", "fine-tuned", "1"),
    }
    of_methods = [row for row in rows if row["tuning"] == "trained"]
    for column in rows[0]:
        if column.startswith(("prompting", "knowledge", "finetuning")):
            assert all(row[column] in ("", "-") for row in of_methods), column


def test_a_sweep_that_is_killed_ends_as_one_that_was_not(start: Start, root: Path) -> None:
    words = ["-m", "model=tfidf,lmf", "modalities=t", "seed=1,2", "trainer.max_epochs=2", "trainer.save_every_steps=1"]
    whole = start("train", *words)
    killed = root / "outputs" / "sweeps" / "killed"
    child = os.fork()
    if child == 0:
        save, saves = AtomicCheckpoints.save_checkpoint, itertools.count(1)

        def save_and_die(*arguments: Any, **more: Any) -> None:
            save(*arguments, **more)
            if next(saves) == 3:
                os.kill(os.getpid(), signal.SIGKILL)

        AtomicCheckpoints.save_checkpoint = save_and_die
        try:
            start("train", *words, f"hydra.sweep.dir={killed}")
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    sweep.resume([str(killed)])
    jobs = json.loads((killed / "jobs.json").read_text())
    assert [(job["state"], job["attempts"]) for job in jobs] == [("finished", n) for n in (1, 1, 2, 1)]
    for job in jobs:
        resumed = json.loads((killed / job["folder"] / "environment.json").read_text())["resumed"]
        assert len(resumed) == job["attempts"] - 1, "it began anew, or went on where it had not been interrupted"
        for name in ("metrics.json", "predictions.jsonl"):
            assert (killed / job["folder"] / name).read_bytes() == (whole / job["folder"] / name).read_bytes()


def test_the_best_of_a_sweep_opens_the_test_split_once(
    start: Start, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["model=tfidf", "modalities=t", "model.strength=0.01,1", "seed=1,2", "evaluation.split=val"]
    sweep, opened = start("train", "-m", *words), root / "outputs" / ledger.FILE
    before = len(ledger.read(opened)[0]) if opened.is_file() else 0
    [named] = re.findall(r"Best by validation, mean over 2 seeds: model.strength=(\S+), sel", capsys.readouterr().out)
    sweep_best.main([str(sweep), f"data_root={root}"])
    said = capsys.readouterr().out
    [chosen] = re.findall(r"Best by validation, mean over 2 seeds: model.strength=(.*)", said)
    assert chosen == named, "the table of the sweep names another one"
    lines = ledger.read(opened)[0][before:]
    assert [line.program for line in lines] == ["evaluate"] * 2
    tested = [read_yaml(Path(line.folder) / "config.yaml") for line in lines]
    assert [(cfg["seed"], str(cfg["model"]["strength"])) for cfg in tested] == [(1, chosen), (2, chosen)]
    assert all(Path(cfg["run"]).parent == sweep for cfg in tested)
    assert json.loads((Path(lines[0].folder) / "status.json").read_text())["progress"]["stage"] == "test"
    sweep_best.main([str(sweep)])
    again = capsys.readouterr().out
    assert again.count(" has the test numbers of ") == 2 and "split test" in again
    assert len(ledger.read(opened)[0]) == before + 2


def test_what_is_told_of_a_run(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    start("train", "model=lmf", "modalities=ta", "finetuning.learning_rate=1", "prompting=cot", "trainer.max_batches=1")
    said = " ".join(capsys.readouterr().out.split())
    assert "finetuning.learning_rate and prompting have no effect on model=lmf, whose learning rate is model." in said
    assert "model=lmf reads features=computed: text " in said and "audio acoustic; numbers a step: text 64" in said
    assert "parameters; all are trained from random weights" in said and "tuning trained; modalities ta" in said


def test_a_run_is_tracked(start: Start, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setenv("NETRC", str(root / "no_netrc"))
    trained = start("train", "model=tfn", "modalities=t", "logger=wandb", "logger.mode=offline", "logger.num_samples=0")
    [file] = (trained / "wandb").glob("offline-run-*/*.wandb")
    content = file.read_bytes()
    assert b"train/loss" in content and b"val/selection" in content and b"text_hidden" in content


# --- Broken inputs, each answered by a sentence with the remedy ---

MOSI = ("dataset=mosi", "features=mmsa_unaligned")


@pytest.mark.parametrize(
    ("program", "words", "sentence"),
    [
        ("evaluate", ["model=mult"], "model=mult knows nothing before it is trained: train it, python train.py"),
        ("show", ["model=mult"], "model=mult is no language model: there is no prompt to show; name a language model"),
        ("export", ["model=tfidf", "modalities=t"], "model=tfidf is no language model: there is nothing that"),
        ("train", ["model=mult", "knowledge=cues"], "model=mult has none: set knowledge=none, or choose a language"),
        ("train", ["model=tfn", "evaluation.calibration=contextual"], "model=tfn answers without words: leave"),
        ("train", ["model=tfn", "evaluation.logit_adjustment=1"], "model=tfn answers without words: leave"),
        ("train", ["model=lmf", "trainer.compile=true"], "and model=lmf has none: leave it out"),
        ("train", ["model=mult", "features=mmsa_unaligned"], "there are none of dataset=demo: set features=computed"),
        ("train", ["model=mult", "features.audio_layer=x"], "features.audio_layer=x has to be a number from 0 on, or"),
        ("train", ["model=tfidf", "modalities=tav"], "but model=tfidf takes only text: choose another model, or leave"),
        ("train", ["model=mult", "model.hidden=41"], "model.heads=10 does not divide model.hidden=41"),
        ("train", ["model=misa", "model.hidden=41"], "model.hidden=41 is odd"),
        ("train", ["model=mult", "intervention=mute", "modalities=tv"], "modalities=tv has none: leave it out"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_said_before_it_begins(
    program: str, words: list[str], sentence: str, configure: Callable[..., Config]
) -> None:
    with pytest.raises(ConfigError) as refused:
        configure(*words, program=program)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["features.file=Processed/no.pkl", *MOSI], r"no\.pkl does not exist \(its folder has aligned_50\.pkl, .*put"),
        (["features.file=Processed/other.pkl", *MOSI], r"other\.pkl has none of the 2 clips of mosi train: its ids"),
        (["model=vectors", "features.file=Processed/huge.pkl", *MOSI], r"2 of 2 training clips are too large to be"),
        (["modalities=a", "features.audio=whisper", "features.audio_layer=7"], r"give a number from 0 .* to 1 \(after"),
        (["modalities=t", "features.text=empty"], r"features\.text=\S*empty has no weights .*: give a complete folder"),
        (["modalities=t", "features.text=whisper"], r"is given input_features, and not input_ids: give smollm2-wheel"),
        (["modalities=a", "features.audio=encoder"], r"features\.audio=\S+encoder cannot be loaded .* give acous"),
        (["modalities=t", "SILENT"], r"none of the 21 clips of manifest has a transcript, .*: leave t out"),
        (["model=tfidf", "modalities=t", "SILENT"], r"model=tfidf finds no word in the transcripts of the 9 training"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_features_is_said(words: list[str], sentence: str, start: Start, root: Path) -> None:
    write_features(root / "mosi", "mosi", prefix="other", files=["other"])
    write_features(root / "mosi", "mosi", scale=1e38, files=["huge"])
    silent = ["dataset=manifest", f"datasets.manifest.root={root / 'corpus' / 'silent.csv'}"]
    silent.append("datasets.manifest.transcribe=none")  # a recogniser would hear no words in these tones either
    words = [word for each in words for word in (silent if each == "SILENT" else [each])]
    with pytest.raises(SystemExit, match=sentence):
        start("train", *([] if any(word.startswith("model=") for word in words) else ["model=tfn"]), *words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["modalities=t"], r"was trained on the modalities text, audio, and is now given text: evaluate it with"),
        (["features.max_steps=3"], r"features\.max_steps cannot be given beside run=\S+: a run brings its own"),
        (["model.hidden=30"], r"model\.hidden cannot be given beside run=\S+: a run brings its own model; leave"),
        (["features=mmsa_unaligned"], r"features cannot be given beside run=\S+: a run brings its own"),
    ],
)  # fmt: skip
def test_a_trained_network_is_evaluated_as_it_was_trained(
    words: list[str], sentence: str, start: Start, undisturbed: Callable[[str], Path]
) -> None:
    with pytest.raises(SystemExit, match=sentence):
        start("evaluate", f"run={undisturbed('mult')}", *words)


def test_a_loss_that_is_not_a_number_names_what_to_change(start: Start, root: Path) -> None:
    write_features(root / "mosi", "mosi", scale=1e38, files=["huge"])
    sentence = r"at step 0: lower model\.learning_rate \(=0\.001\), or, since nothing has been learnt yet, look for a"
    with pytest.raises(FloatingPointError, match=sentence):
        start("train", "model=mult", *MOSI, "features.file=Processed/huge.pkl")


def test_a_full_disk_ends_the_run_with_a_sentence(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if "computed" in path.parts:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SystemExit, match=r"has no room for the features of the run .* make room on the disk, or name"):
        start("train", "model=tfn", "modalities=t", "features.max_steps=2")


def test_a_clip_that_vanishes_is_counted_and_the_run_goes_on(
    start: Start, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked, clip = usable_clips.exclude_unusable, root / "corpus" / "clips" / "test_1.mp4"
    content = clip.read_bytes()

    def vanished(*arguments: Any) -> Any:
        source = checked(*arguments)
        clip.unlink()
        return source

    monkeypatch.setattr(usable_clips, "exclude_unusable", vanished)
    try:
        words = ("model=vectors", "modalities=a", "features.max_steps=4", "trainer.clip_cache_gb=0")
        trained = start("train", *words)
    finally:
        clip.write_bytes(content)
    outcomes = [prediction.outcome for prediction in run_results.read_predictions(trained)]
    assert outcomes.count("error") == 1 and outcomes.count("valid") == 5
    assert "manifest/test/18" in (trained / "exclusions.csv").read_text()


def test_one_training_label_and_one_training_clip_are_enough(
    start: Start, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, first, *rows = (root / "corpus" / "clips.csv").read_text().splitlines()
    table = root / "corpus" / "single.csv"
    table.write_text("\n".join([head, first, *(row for row in rows if ",train," not in row)]) + "\n")
    labels = "datasets.manifest.task_definitions.label.labels=[joy,anger,sadness]"
    for model in ("vectors", "mult"):
        words = ("dataset=manifest", f"datasets.manifest.root={table}", labels, f"model={model}", "modalities=ta")
        assert len(run_results.read_predictions(start("train", *words))) == 6
        said = " ".join(capsys.readouterr().out.split())
        assert "manifest.label: all 1 training clips have the label joy" in said
