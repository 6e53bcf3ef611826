"""The report: what comes into one row, what is refused, and that no run disappears without a word."""

import doctest
import json
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from made_runs import Make, change, make_run, records, remember_configurations, report

from affect.cli import commands
from affect.data import escaping
from affect.reports import aggregate, formats, sections
from affect.reports import settings as settings_module
from affect.reports.collect import find, load
from affect.reports.console import print_results
from affect.reports.settings import settings
from affect.runs import ledger, lifecycle, run_folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def read_once(monkeypatch) -> None:
    remember_configurations(monkeypatch)


@pytest.fixture
def make(configure, tmp_path) -> Make:
    """`make(name, *words, …)` is made_runs.make_run in the folder `out`."""
    return partial(make_run, configure, tmp_path / "out")


# ---------------------------------------------------------------- rows and columns


def test_a_row_is_the_mean_and_the_sample_deviation_over_the_seeds(make, capsys, tmp_path):
    for seed, correct in ((1, 6), (2, 7), (3, 8)):
        make(f"t{seed}", f"seed={seed}", correct=correct)
    [row] = records(capsys, tmp_path / "out", "--metrics", "accuracy")
    assert float(row["accuracy_mean"]) == pytest.approx(0.7, abs=1e-12)
    assert float(row["accuracy_sd"]) == pytest.approx(0.1, abs=1e-12)  # sqrt((0.01 + 0 + 0.01) / (3 - 1))
    assert (row["n_seeds"], row["seeds"], row["expected"], row["used"], row["scored"]) == (
        "3",
        "1 2 3",
        "11",
        "10",
        "10",
    )
    out, _, end = report(capsys, tmp_path / "out", "--metrics", "accuracy")
    assert "0.7000 ± 0.1000" in out and "100.0%" in out and end == ""


def test_one_seed_has_no_deviation(make, capsys, tmp_path):
    make("only")
    [row] = records(capsys, tmp_path / "out", "--metrics", "accuracy")
    assert (row["accuracy_mean"], row["accuracy_sd"], row["n_seeds"]) == ("0.6", "", "1")
    out, _, _ = report(capsys, tmp_path / "out")
    assert "±" not in out


def test_only_what_varied_is_a_column_and_places_never_are(make, capsys, tmp_path):
    make(
        "a",
        "seed=1",
        "trainer.num_workers=2",
        "logger.project=one",
        f"output_root={tmp_path / 'here'}",
        "trainer.progress=false",
    )
    make(
        "b",
        "seed=2",
        "data_root=elsewhere",
        "cache_root=/other",
        "datasets.demo.root=/other/demo",
        "trainer.log_every=9",
    )
    make("c", "seed=1", "finetuning.rank=8")
    rows = records(capsys, tmp_path / "out")
    assert [(row["finetuning.rank"], row["n_seeds"]) for row in rows] == [("16", "2"), ("8", "1")]
    varied = {key for key in rows[0] if "." in key and not key.endswith(("_mean", "_sd"))}
    assert varied == {"finetuning.rank", "model.name", "evaluation.split", "evaluation.readout"}


def test_a_name_stands_for_what_it_decides(make, capsys, tmp_path):
    make("lora")
    make("full", "finetuning=full")
    make("lora8", "finetuning.rank=8")
    rows = records(capsys, tmp_path / "out")
    # The two kinds differ in several keys, all decided by the name, but the rank that lora itself has two of.
    assert {(row["finetuning.name"], row["finetuning.rank"]) for row in rows} >= {("lora", "16"), ("lora", "8")}
    assert not {"finetuning.language", "finetuning.learning_rate"} & rows[0].keys()


def test_zero_shot_and_fine_tuned_are_told_apart_by_what_made_them(make, capsys, tmp_path):
    make("zero", evaluate=True)
    make("zero8", "finetuning.rank=8", "seed=2", evaluate=True)
    make("tuned", "finetuning.rank=8")
    make("tuned16")
    rows = records(capsys, tmp_path / "out")
    # Nothing is fine-tuned in a zero-shot run: its rank says nothing, and does not part its two seeds.
    assert {(row["tuning"], row["finetuning.rank"], row["n_seeds"]) for row in rows} == {
        ("zero-shot", "", "2"),
        ("fine-tuned", "8", "1"),
        ("fine-tuned", "16", "1"),
    }


def test_an_evaluation_belongs_to_the_training_it_names(make, capsys, tmp_path):
    wide = make("a_wide", "modalities=ta", "seed=3", started="2026-01-01T00:00:00+00:00")
    make("b_narrow", "seed=3")
    make("c_narrowed", f"run={wide}", "seed=3", evaluate=True)
    make("d_again", f"run={wide}", "modalities=ta", "seed=9", evaluate=True)
    rows = records(capsys, tmp_path / "out")
    found = {Path(row["folders"]).name: (row["modalities"], row["training.modalities"], row["seeds"]) for row in rows}
    # Trained with less is not the same as evaluated with less; and another seed does not make another model.
    assert found == {"b_narrow": ("t", "t", "3"), "c_narrowed": ("t", "ta", "3"), "d_again": ("ta", "ta", "3")}
    _, said, _ = report(capsys, tmp_path / "out", "--format", "csv")
    assert "1 is not counted for demo.emotion: 4 has the same configuration and seed and is newer" in said
    moved = tmp_path / "moved"
    (tmp_path / "out").rename(moved)
    assert len(records(capsys, moved)) == 3
    shutil.rmtree(moved / "a_wide")
    out, _, _ = report(capsys, moved)
    assert f"2 evaluates {wide}, which is not there" in out and "training." in out


def test_a_missing_modality_curve_is_rows_by_share_and_old_runs_stand_among_them(make, capsys, tmp_path):
    trained = make("trained", "modalities=ta")
    curve = {0.0: 8, 0.5: 6, 1.0: 3}
    for share, correct in curve.items():
        words = (f"run={trained}", "modalities=ta", "intervention=drop_audio", f"intervention.share={share}")
        make(f"at{share}", *words, correct=correct, evaluate=True)
    old = make("old", f"run={trained}", "modalities=ta", "intervention=mute", correct=2, evaluate=True)
    # As in a run folder of before the group: a name alone, or nothing where there was no intervention.
    for folder, name in ((old, "intervention: mute\n"), (trained, "")):
        text = (folder / "config.yaml").read_text(encoding="utf-8")
        text, count = re.subn(r"(?m)^intervention:\n(?:  .*\n)+", name, text)
        assert count == 1
        (folder / "config.yaml").write_text(text, encoding="utf-8")
    make("new", f"run={trained}", "modalities=ta", "intervention=mute", "seed=2", correct=4, evaluate=True)
    rows = records(capsys, tmp_path / "out", "--metrics", "accuracy")
    columns = {key for key in rows[0] if "intervention" in key}
    assert columns == {"intervention.name", "intervention.share"}  # all that are drawn have one seed
    found = {(row["intervention.name"], row["intervention.share"]): float(row["accuracy_mean"]) for row in rows}
    assert found == {
        ("", ""): 0.6,
        **{("drop_audio", str(share)): correct / 10 for share, correct in curve.items()},
        ("mute", ""): 0.4,  # of old and new, which are one setting, the newest counts
    }
    chosen = records(capsys, tmp_path / "out", "--metrics", "accuracy", "--where", "intervention=drop_audio")
    assert len(chosen) == len(curve)


def test_whether_a_model_was_trained_is_said_by_its_run(make, capsys, tmp_path):
    """An evaluation with few-shot examples reads the training split too."""
    few = ("prompting=fewshot", "prompting.fewshot.k=2")
    zero = make("zero", *few, evaluate=True)
    account = json.loads((zero / "data.json").read_text())
    training = next(part for part in account["parts"]) | {"split": "train"}
    (zero / "data.json").write_text(json.dumps(account | {"parts": [*account["parts"], training]}))
    [row] = records(capsys, tmp_path / "out")
    assert row["tuning"] == "zero-shot"

    # One of a run that was trained so belongs to that training: its rate and its seed, not those of the evaluation.
    trained = make("trained", *few, "seed=5", "finetuning.learning_rate=1e-3")
    later = make("later", *few, "seed=9", f"run={trained}", evaluate=True)
    account = json.loads((later / "data.json").read_text())
    (later / "data.json").write_text(json.dumps(account | {"parts": [*account["parts"], training]}))
    [run], damaged = load([later])
    assert damaged == [] and (run.tuning, run.seed) == ("fine-tuned", 5)
    assert settings(run, "demo.emotion")["finetuning.learning_rate"] == "0.001"
    for folder, tuning in ((later, "fine-tuned"), (zero, "zero-shot")):
        print_results(folder)
        assert f"tuning {tuning}" in capsys.readouterr().out


def test_of_one_configuration_and_seed_the_newest_counts(make, capsys, tmp_path):
    make("a", correct=9, started="2026-03-01T00:00:00+00:00")
    make("b", correct=5, started="2026-01-01T00:00:00+00:00")
    out, _, end = report(capsys, tmp_path / "out", "--metrics", "accuracy")
    assert "0.9000" in out and "0.5000" not in out and end == ""
    assert "2 is not counted for demo.emotion: 1 has the same configuration and seed and is newer" in out
    assert [row["accuracy_mean"] for row in records(capsys, tmp_path / "out", "--each", "--metrics", "accuracy")] == [
        "0.9",
        "0.5",
    ]


def test_every_task_has_a_table_of_its_own(make, capsys, tmp_path):
    make("a", "datasets.demo.tasks=[emotion,sentiment]")
    make("b", "seed=2", "datasets.demo.tasks=[emotion,sentiment]")
    out, _, end = report(capsys, tmp_path / "out")
    assert [line.split(":")[0] for line in out.splitlines() if line.startswith("Results")] == [
        "Results, demo.emotion",
        "Results, demo.sentiment",
    ]
    assert end == "" and "weighted_f1" in out and "mae" in out


# ---------------------------------------------------------------- what does not go together


@pytest.mark.parametrize(
    ("words", "key", "values"),
    [
        (["evaluation.split=val"], "evaluation.split", ("test", "val")),
        (
            ["datasets.demo.task_definitions.emotion.labels=[neutral,joy,sadness]"],
            "datasets.demo.task_definitions.emotion.labels",
            ("[neutral,joy,sadness,anger,surprise,disgust]", "[neutral,joy,sadness]"),
        ),
        (
            ["datasets.demo.task_definitions.emotion.headline=uar"],
            "datasets.demo.task_definitions.emotion.headline",
            ("weighted_f1", "uar"),
        ),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_numbers_of_different_kinds_do_not_share_a_column(make, capsys, tmp_path, words, key, values):
    one, other = make("one"), make("other", "seed=2", *words)
    out, _, end = report(capsys, tmp_path / "out")
    assert end.startswith(
        f"demo.emotion gets no table, since its runs differ in {key} ({values[0]} in {one}; {values[1]} in {other}): "
    )
    assert "Results" not in out and str(one) in out
    # The remedy is one: the words of the message, given as they stand there, choose runs that go together.
    remedy = end.split("choose with ")[1].split(" or the like")[0]
    [row] = records(capsys, tmp_path / "out", *shlex.split(remedy))
    assert row["folders"] == str(one)


def test_readouts_stand_below_each_other_in_one_table(make, capsys, tmp_path):
    trained = make("a")
    words = (f"run={trained}", "trainer.max_batches=null")
    make("b", *words, "evaluation=generate", correct=7, evaluate=True)
    make("c", *words, "evaluation=constrained", correct=5, evaluate=True)
    make("d", *words, "evaluation.calibration=contextual", correct=8, evaluate=True)
    make("e", *words, "evaluation.length_normalised=true", correct=9, evaluate=True)
    rows = records(capsys, tmp_path / "out", "--metrics", "accuracy")
    keys = ("evaluation.readout", "evaluation.calibration", "evaluation.length_normalised", "accuracy_mean")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("score", "none", "false", "0.6"),
        ("generate", "", "", "0.7"),
        ("constrained", "", "", "0.5"),
        ("score", "contextual", "false", "0.8"),
        ("score", "none", "true", "0.9"),
    ]
    # What only generated text has, the number of tokens above all, is no difference to the others.
    settings = {key for key in rows[0] if key.startswith(("evaluation.", "training.", "finetuning."))}
    assert settings == {*keys[:3], "evaluation.split", "evaluation.reader"}
    out, _, end = report(capsys, tmp_path / "out", "--format", "markdown")
    assert end == ""
    assert all(re.search(rf"\| {cell} +\|", out) for cell in ("readout", "constrained", r"exact\.weighted_f1"))


def test_readouts_of_a_number_stand_in_one_table_too(make, capsys, tmp_path):
    make("a", "datasets.demo.tasks=[sentiment]", evaluate=True)
    make("b", "datasets.demo.tasks=[sentiment]", "evaluation=constrained", evaluate=True)
    rows = records(capsys, tmp_path / "out")
    assert [row["evaluation.intensity_readout"] for row in rows] == ["generate", "constrained"]
    assert "evaluation.readout" not in rows[0]  # of a classification, which this is not


def test_what_all_runs_have_of_an_unusual_readout_stands_in_the_heading(make, capsys, tmp_path):
    make("a", "evaluation.length_normalised=true", "evaluation.logit_adjustment=1")
    out, _, _ = report(capsys, tmp_path / "out", "--format", "markdown")
    assert "readout score; length_normalised true; logit_adjustment 1.0" in out
    assert "calibration" not in out


def test_different_readers_of_generated_answers_do_not_share_a_column(make, capsys, tmp_path):
    make("one", "evaluation=generate")
    make("other", "evaluation=generate", "evaluation.reader=exact")
    _, _, end = report(capsys, tmp_path / "out")
    assert "its runs differ in evaluation.reader (lenient in" in end
    assert "--where evaluation.reader=lenient or the like" in end


def test_the_reader_is_no_matter_where_labels_are_scored(make, capsys, tmp_path):
    make("one", "evaluation.max_new_tokens=4", evaluate=True)
    make("other", "seed=2", "evaluation.reader=exact", evaluate=True)
    [row] = records(capsys, tmp_path / "out", "--metrics", "accuracy")
    assert row["n_seeds"] == "2"


def test_a_metric_with_a_name_can_be_compared_whatever_the_headlines_are(make, capsys, tmp_path):
    make("one", evaluate=True)
    make("other", "seed=2", "datasets.demo.task_definitions.emotion.headline=uar", evaluate=True)
    [row] = records(capsys, tmp_path / "out", "--metrics", "uar,accuracy")
    assert row["n_seeds"] == "2" and row["accuracy_mean"] == "0.6"


def test_the_tables_of_other_tasks_are_shown_beside_a_refusal(make, capsys, tmp_path):
    make("one", "datasets.demo.tasks=[emotion,sentiment]")
    make("other", "datasets.demo.tasks=[emotion,sentiment]", "datasets.demo.task_definitions.emotion.headline=uar")
    out, _, end = report(capsys, tmp_path / "out")
    assert "Results, demo.sentiment" in out and "Results, demo.emotion" not in out
    assert end.startswith("demo.emotion gets no table") and "demo.sentiment" not in end


def test_rows_on_other_clips_have_a_mark(make, capsys, tmp_path):
    make("a", "finetuning.rank=4")
    make("b", "finetuning.rank=8")
    make("c", num=8)
    out, _, end = report(capsys, tmp_path / "out")
    assert end == ""
    marked = [line for line in out.splitlines() if re.search(r"\b8 a\b", line)]
    assert len(marked) == 1 and " 16 " in marked[0]
    assert "\na scored on other clips than the rows without this mark" in out
    make("d", "seed=2")
    out, _, _ = report(capsys, tmp_path / "out")
    assert "a the runs of this row were scored on different clips" in out and "8-10 a" in out
    latex, _, _ = report(capsys, tmp_path / "out", "--format", "latex")
    assert r"8-10\textsuperscript{a}" in latex


# ---------------------------------------------------------------- choosing


def test_where_chooses(make, capsys, tmp_path):
    for rank in (4, 8, 16):
        make(f"r{rank}", f"finetuning.rank={rank}", f"finetuning.learning_rate={rank / 1000}")
    make("zero", evaluate=True)

    def names(*conditions: str) -> list[str]:
        words = [word for condition in conditions for word in ("--where", condition)]
        return [Path(row["folders"]).name for row in records(capsys, tmp_path / "out", *words)]

    assert names("finetuning.rank=8") == ["r8"]
    assert names("finetuning.rank=8", "finetuning.rank=4") == ["r4", "r8"]
    assert names("finetuning.learning_rate=4e-3") == ["r4"]
    assert names("tuning=zero-shot") == ["zero"]
    assert names("tuning=fine-tuned", "finetuning.rank=16", "evaluation=score") == ["r16"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--where", "finetuning.rank"], r"--where finetuning.rank has no =: write --where KEY=VALUE"),
        (["--where", "finetuning.rnk=8"], r"no run has the key 'finetuning.rnk', did you mean 'finetuning.rank'\?"),
        (["--where", "finetuning.rank=99"], r"no run has finetuning.rank=99: choose of 16"),
        (["--metrics", "f1"], r"--metrics f1: no run has this metric: choose of headline, all, accuracy, .*uar"),
    ],
)
def test_a_choice_that_chooses_nothing_is_refused(make, capsys, tmp_path, words, sentence):
    make("a")
    out, _, end = report(capsys, tmp_path / "out", *words)
    assert re.search(sentence, end) and out == ""


def test_metrics_beside_the_headline(make, capsys, tmp_path):
    a = make("a", "datasets.demo.tasks=[emotion,sentiment]")

    def with_dialects(metrics: dict) -> dict:
        metrics["tasks"]["demo.sentiment"]["dialects"] = {
            source: {"mmsa_mosi": {"acc7": value, "non0_acc2": None}}
            for source, value in (("exact", 0.125), ("lenient", 0.25), ("majority", 0.0625))
        }
        return metrics

    change(a / "metrics.json", with_dialects)
    emotion, sentiment = records(capsys, a, "--metrics", "all")
    assert {"weighted_f1_mean", "accuracy_mean", "macro_f1_mean", "uar_mean"} <= {k for k, v in emotion.items() if v}
    assert sentiment["mmsa_mosi.acc7_mean"] == "0.25" and sentiment["mmsa_mosi.non0_acc2_mean"] == ""
    assert not any("exact" in key or "majority" in key for key in sentiment)
    out, _, end = report(capsys, a, "--metrics", "mmsa_mosi.acc7,majority.mmsa_mosi.acc7,exact.mmsa_mosi.acc7")
    assert re.search(r"0\.2500 +0\.0625 +0\.1250", out)
    assert "demo.emotion has no metric mmsa_mosi.acc7; it has accuracy" in out
    assert "Results, demo.sentiment" in out and "Results, demo.emotion" not in out and end == ""
    b = make("b", "seed=2", "datasets.demo.tasks=[emotion,sentiment]")
    _, _, end = report(capsys, a, b, "--metrics", "mmsa_mosi.acc7")
    assert f"demo.sentiment gets no table, since {b} has no mmsa_mosi.acc7 and others have: evaluate again" in end
    out, _, end = report(capsys, a, b, "--metrics", "all")
    assert "demo.sentiment: not every run has mmsa_mosi.acc7, mmsa_mosi.non0_acc2" in out and end == ""


def test_recall_per_class(make, capsys, tmp_path):
    make("a", correct=6)
    make("b", "seed=2", correct=8)
    out, _, _ = report(capsys, tmp_path / "out", "--per-class")
    assert "Results, demo.emotion, recall per class of the lenient reader" in out
    # Five clips of neutral, always right; five of joy, of which one and three are.
    assert "1.0000 ± 0.0000" in out and "0.4000 ± 0.2828" in out
    [row] = records(capsys, tmp_path / "out", "--per-class")
    assert float(row["recall.joy_mean"]) == pytest.approx(0.4)
    assert row["recall.anger_mean"] == ""  # no clip is angry


def test_what_is_undefined_for_one_seed_has_no_mean(make, capsys, tmp_path):
    make("a", "datasets.demo.tasks=[sentiment]")
    make("b", "seed=2", "datasets.demo.tasks=[sentiment]", constant=True)
    out, _, end = report(capsys, tmp_path / "out", "--metrics", "pearson")
    assert "undefined" in out and end == ""
    assert "pearson of demo.sentiment is undefined in 2, and so is a mean with it" in out


def test_a_run_that_only_predicts_is_named_and_not_averaged(make, capsys, tmp_path):
    make("a")
    make("b", "seed=2", labelled=False)
    out, _, end = report(capsys, tmp_path / "out")
    assert "2 has no number of demo.emotion: none of its clips is labelled for it" in out and end == ""
    assert [row["n_seeds"] for row in records(capsys, tmp_path / "out")] == ["1"]


# ---------------------------------------------------------------- what has no numbers


def test_unfinished_runs_are_listed_with_their_state(make, configure, capsys, tmp_path):
    make("a")
    cfg = configure("experiment=demo")
    run_folder.create(cfg, "train", str(tmp_path / "out" / "b_begun"))
    failed = run_folder.create(cfg, "train", str(tmp_path / "out" / "c_failed"))
    with pytest.raises(RuntimeError), lifecycle.running(failed):
        raise RuntimeError("[bold]out of memory")
    killed = run_folder.create(cfg, "train", str(tmp_path / "out" / "d_killed"))
    with lifecycle.running(killed):
        status = json.loads((killed / "status.json").read_text())
        out, _, _ = report(capsys, tmp_path / "out")
        assert "\n4 has no numbers: running\n" in out
    # As a SIGKILL leaves it: it says running, and no such process was begun then.
    (killed / "status.json").write_text(json.dumps(status | {"pid_started": "0", "boot_id": "another"}))
    for how in ("table", "markdown", "latex"):
        out, _, end = report(capsys, tmp_path / "out", "--format", how)
        assert end == ""
        assert "2 has no numbers: not begun" in out and "4 has no numbers: killed" in out
        assert "3 has no numbers: failed (RuntimeError: [bold]out of memory, test_report.py:" in out
    out, said, end = report(capsys, tmp_path / "out", "--format", "csv")
    assert "has no numbers" not in out and "4 has no numbers: killed" in said and end == ""


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("metrics.json", '{"split": ', "cannot be read"),
        ("metrics.json", None, r"cannot be used \(it is not there, and the run finished\)"),
        (
            "metrics.json",
            '{"split": "test", "tasks": {}}',
            r"cannot be used \(it lacks readout, intensity_readout, reader\)",
        ),
        ("metrics.json", "[]", r"cannot be read \(it has no keys and values\)"),
        ("status.json", "{}", r"cannot be used \(it lacks 'state'\)"),
        ("status.json", "\x00", "cannot be read"),
        ("data.json", None, r"cannot be used \(No such file or directory\)"),
        ("data.json", "{", "cannot be used"),
        ("data.json", '{"parts": []}', r"cannot be used \(it lacks 'demo'\)"),
        ("config.yaml", "a: [", "cannot be read"),
    ],
)
def test_a_damaged_run_is_named_and_the_others_are_shown(make, capsys, tmp_path, file, content, why):
    make("a")
    damaged = make("b", "seed=2")
    (damaged / file).unlink()
    if content is not None:
        (damaged / file).write_text(content)
    out, _, end = report(capsys, tmp_path / "out")
    assert re.search(rf"not in the table: {damaged / file} {why}.*: restore the file, or delete {damaged} and run", out)
    assert end == "1 of 2 run folders could not be read, for the reasons above."
    assert "Results, demo.emotion" in out and f"1 smollm2, {tmp_path / 'out' / 'a'}" in out


# ---------------------------------------------------------------- folders


def test_run_folders_are_found_to_a_depth_of_three(make, capsys, tmp_path):
    for name in ("10_x", "2_x", "elsewhere/sweeps/a/0_x", "demo/1_x"):
        make(name)
    found, deeper = find([tmp_path / "out"])
    assert [path.name for path in found] == ["2_x", "10_x", "1_x"]
    deep = tmp_path / "out" / "elsewhere" / "sweeps" / "a"
    assert deeper == [f"{deep} has runs too, which are not in the table: name it beside {tmp_path / 'out'}"]
    out, _, _ = report(capsys, tmp_path / "out")
    assert deeper[0] in out
    # Named twice it is still one run; and what a run has inside it is no run.
    (tmp_path / "out" / "2_x" / "wandb").mkdir()
    shutil.copy(tmp_path / "out" / "2_x" / "config.yaml", tmp_path / "out" / "2_x" / "wandb")
    again, _ = find([tmp_path / "out" / "2_x", tmp_path / "out", tmp_path / "out" / "elsewhere" / "sweeps" / "a"])
    assert [path.name for path in again] == ["2_x", "10_x", "1_x", "0_x"]


def test_a_folder_without_runs_is_refused(make, capsys, tmp_path):
    make("a")
    (tmp_path / "empty").mkdir()
    typo = tmp_path / "out" / "typo"
    for folder, why in (
        (tmp_path / "empty", "is not a run folder, it has no config.yaml: name one that has"),
        (typo, f"does not exist: name a run folder ({tmp_path / 'out'} has a)"),
    ):
        out, _, end = report(capsys, tmp_path / "out", folder)
        assert end.startswith(f"{folder} {why}") and out == ""


# ---------------------------------------------------------------- formats


def test_latex_is_escaped_and_has_as_many_cells_in_every_row(make, capsys, tmp_path):
    wording = r"50%_of [x] & \y #1 ~^$"
    make("a", f"prompting.system.en='{wording}'", "seed=1")
    make("b", "seed=2")
    make("c", "seed=3")
    out, _, end = report(capsys, tmp_path / "out", "--format", "latex")
    assert end == ""
    assert r"50\%\_of {[}x{]} \& \textbackslash{}y \#1 \textasciitilde{}\textasciicircum{}\$" in out
    body = [line for line in out.splitlines() if line.endswith(r"\\")]
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in body}) == 1 and len(body) == 3
    columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", out)
    assert columns is not None and len(columns[1]) == len(re.findall(r"(?<!\\)&", body[0])) + 1
    for command in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{table}", r"\end{table}", r"\caption{", r"\pm"):
        assert out.count(command) >= 1
    without_comments = re.sub(r"(?m)^%.*$", "", out)
    assert "±" not in without_comments and not re.search(r"(?<!\\)[%_#]", without_comments.replace(r"\_", ""))
    assert without_comments.count("{") - without_comments.count(r"\{") == without_comments.count(
        "}"
    ) - without_comments.count(r"\}")


def test_markdown_has_as_many_cells_in_every_row(make, capsys, tmp_path):
    make("a", "prompting.system.en='x|y\nz'")
    make("b", "seed=2")
    out, _, _ = report(capsys, tmp_path / "out", "--format", "markdown")
    lines = [line for line in out.splitlines() if line.startswith("|")]
    assert r"| x\|y\\nz " in lines[2] and len(lines) == 4
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert len({len(line) for line in lines}) == 1
    assert re.fullmatch(r"\|( -+:? \|)+", lines[1])


def test_csv_has_one_header_for_all_tasks_and_numbers_in_full(make, capsys, tmp_path):
    a = make("a", "datasets.demo.tasks=[emotion,sentiment]")
    emotion, sentiment = records(capsys, a)
    kept = json.loads((a / "metrics.json").read_text())["tasks"]
    assert float(emotion["weighted_f1_mean"]) == kept["demo.emotion"]["value"]
    assert float(sentiment["mae_mean"]) == kept["demo.sentiment"]["value"] and sentiment["weighted_f1_mean"] == ""


def test_a_number_is_never_cut(make, capsys, tmp_path):
    for seed in (1, 2):
        make(f"s{seed}", f"seed={seed}", "modalities=ta", "datasets.demo.subset.train=100", correct=5 + seed)
        make(f"z{seed}", f"seed={seed}", f"prompting.system.en='{'A long system prompt. ' * 8}'", correct=5 + seed)
    out, _, _ = report(capsys, tmp_path / "out", "--per-class", "--metrics", "all")
    assert max(map(len, out.splitlines())) > 140 and "…" not in out
    for number in ("0.6500 ± 0.0707", "1.0000 ± 0.0000", "0.3000 ± 0.1414"):
        assert out.count(number) >= 2


def test_output_writes_a_file_or_says_why_not(make, capsys, tmp_path):
    a = make("a")
    for how in ("table", "markdown", "csv", "latex"):
        file = tmp_path / f"results.{how}"
        out, _, end = report(capsys, a, "--format", how, "--output", file)
        assert out == f"{file} written: 1 table\n" and end == ""
        assert "demo.emotion" in file.read_text()
    _, _, end = report(capsys, a, "--output", tmp_path / "nowhere" / "x")
    assert end == (
        f"--output {tmp_path / 'nowhere' / 'x'} cannot be written (No such file or directory): name a file in a folder"
        " that can"
    )


def test_the_order_of_folders_and_options_does_not_matter(make, capsys):
    a, b = make("a"), make("b", "seed=2")
    assert records(capsys, a, b) == records(capsys, a, "--where", "modalities=t", b)


# ---------------------------------------------------------------- the module itself


def test_the_examples_of_the_docstrings_are_true():
    for module in (aggregate, formats, sections, settings_module):
        result = doctest.testmod(module)
        assert result.attempted > 0 and result.failed == 0


def test_a_report_does_not_wait_for_torch():
    code = "import sys, affect.cli.report; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert not set(done.stdout.split()) & {"torch", "transformers", "lightning", "peft", "av", "wandb"}


def test_loading_keeps_what_a_number_belongs_to(make, tmp_path):
    runs, damaged = load([make("a"), make("b", evaluate=True)])
    assert damaged == [] and [each.tuning for each in runs] == ["fine-tuned", "zero-shot"]
    assert runs[0].clips.keys() == {"demo"} and runs[0].clips == runs[1].clips


# ---------------------------------------------------------------- text that would break a format

HOSTILE = "a\rb\r\nc\nd\x0be\u2028f"


def test_no_text_ends_a_comment_of_latex_or_a_line_of_markdown():
    report = formats.Report(tables=[], runs=[(HOSTILE, "folder")], notes=[HOSTILE])
    [comment] = [line for line in formats.latex(report).split("\n") if "folder" in line]
    assert comment == "% 1 a b c d e f, folder"
    assert not set("\r\x0b\u2028") & set(formats.latex(report) + formats.markdown(report))
    assert formats.markdown(report) == "1. a b c d e f, folder\n\n- a b c d e f\n"
    assert formats.escape_latex(HOSTILE) == escaping.escape_markdown(HOSTILE) == "a b c d e f"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("[x](javascript:alert(1))", r"[x\](javascript:alert(1))"),
        ("![x](http://a/b.png)", r"![x\](http://a/b.png)"),
        ("[x][y]", r"[x\][y]"),
        ("[y]: javascript:z", r"[y\]: javascript:z"),
        ("[-0.1, 0.2]", "[-0.1, 0.2]"),
        ("<img src=x onerror=y>", "&lt;img src=x onerror=y>"),
        ("<javascript:x>", "&lt;javascript:x>"),
        ("&lt;b>", "&amp;lt;b>"),
        ("a\\|b", r"a\\\|b"),
    ],
)
def test_markdown_has_no_links_and_no_html_but_our_own(text, written):
    assert escaping.escape_markdown(text) == written


def test_a_code_span_holds_whatever_stands_in_it():
    assert escaping.code_markdown("a|b\nc") == r"`a\|b c`"
    assert escaping.code_markdown("f1_`x`") == "`` f1_`x` ``"


def test_csv_has_no_formulas(make, capsys, tmp_path):
    make("a", "prompting.system.en='=1+1'")
    make("b", "seed=2", "prompting.system.en='-2'")
    [key] = [key for key in records(capsys, tmp_path / "out")[0] if key.startswith("prompting.system")]
    assert {row[key] for row in records(capsys, tmp_path / "out")} == {"'=1+1", "-2"}


# ---------------------------------------------------------------- how often a test set was opened


def test_a_row_says_how_often_its_test_set_was_evaluated_before(make, capsys, tmp_path):
    out = tmp_path / "out"
    for name, *words in (
        ("a1", "seed=1"),
        ("a2", "seed=2"),
        ("b1", "finetuning.rank=8"),
        ("val", "evaluation.split=val"),
    ):
        make(name, *words)
    make("part", "finetuning.rank=4", num=8)
    test = ("--where", "evaluation.split=test")
    rows = {row["finetuning.rank"]: row for row in records(capsys, out, *test)}
    assert {rank: row["opened_before"] for rank, row in rows.items()} == {"16": "0", "8": "2", "4": "0"}
    said, _, _ = report(capsys, out, *test)
    assert "opened before" in said and "demo: the ledger has 3 more evaluations of the test split, of other" in said
    assert "opened before" not in report(capsys, out, "--where", "evaluation.split=val")[0]

    out.rename(tmp_path / "moved")
    moved = tmp_path / "moved"
    assert [row["opened_before"] for row in records(capsys, moved, *test)] == ["0", "2", "0"]
    with (moved / ledger.FILE).open("a") as file:
        file.write('{"time": 3')
    (moved / "a2" / "predictions.jsonl").write_text("")  # no longer what was noted
    said, _, _ = report(capsys, moved, *test)
    assert f"{moved / ledger.FILE}, line 5 is damaged and not counted" in said
    assert re.search(r"2: in no ledger of test splits \(demo.emotion\)", said)


def test_the_ledger_is_printed_by_test_set(make, capsys, tmp_path, monkeypatch):
    make("a1", "seed=1")
    make("a2", "seed=2")
    monkeypatch.setattr(sys, "argv", ["affect", "ledger", str(tmp_path / "out")])
    commands.main()
    assert "demo, split test, 10 clips (" in (said := capsys.readouterr().out)
    assert "): evaluated 2 times, by 2 configurations (seeds included)" in said
    monkeypatch.setattr(sys, "argv", ["affect", "ledger", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"test_ledger.jsonl cannot be read \(No such file"):
        commands.main()
