"""`affect errors`: the analysis of finished runs, and its tables."""

import csv
import io
import json
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_runs import Make, change, make_run, remember_configurations
from sklearn.metrics import brier_score_loss, confusion_matrix

from affect.cli.errors import main
from affect.config import Config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def read_once(monkeypatch) -> None:
    remember_configurations(monkeypatch)


@pytest.fixture
def make(configure: Callable[..., Config], tmp_path: Path) -> Make:
    def made(name: str, *words: str, **more) -> Path:
        return make_run(configure, tmp_path / "out", name, *words, **{"num": 60, "groups": 20, **more})

    return made


def errors(capsys, *words: str | Path) -> tuple[str, str]:
    """What the command prints, and what it says at its end."""
    try:
        main([str(word) for word in words])
        end = ""
    except SystemExit as stop:
        end = str(stop.code)
    return capsys.readouterr().out, end


def analysed(capsys, *words: str | Path) -> dict:
    out, end = errors(capsys, *words, "--format", "json")
    assert end == ""
    return json.loads(out)


def rewrite(folder: Path, how: Callable[[int, dict], dict]) -> None:
    """Changes each prediction of a run."""
    path = folder / "predictions.jsonl"
    rows = [how(number, json.loads(line)) for number, line in enumerate(path.read_text().splitlines())]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def scored(folder: Path, seed: int = 0) -> np.ndarray:
    """Gives each prediction the likelihood of every label, the answer's the greatest. Returns the probabilities."""
    dice = np.random.default_rng(seed)
    found = []

    def with_scores(number: int, row: dict) -> dict:
        labels = LABELS
        probability = dice.dirichlet(np.ones(len(labels)))
        place = labels.index(row["lenient"])
        most = int(probability.argmax())
        probability[[place, most]] = probability[[most, place]]
        found.append(probability)
        return row | {"scores": dict(zip(labels, np.log(probability).tolist(), strict=True))}

    rewrite(folder, with_scores)
    return np.array(found)


LABELS = ["happiness", "sadness", "anger", "fear", "disgust", "neutral"]


@pytest.fixture(autouse=True, scope="module")
def labels_of_the_demo() -> None:
    import yaml

    definition = yaml.safe_load((ROOT / "conf/dataset/demo.yaml").read_text())["task_definitions"]["emotion"]
    LABELS[:] = definition["labels"]


def test_one_run(make, capsys) -> None:
    folder = make("a", correct=45)
    probability = scored(folder)
    [task] = analysed(capsys, folder, "--by", "class")["tasks"]
    assert (task["clips"], task["groups"], task["runs"], task["right"]) == (60, 20, [1], 0.75)
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    gold, read = [row["target"] for row in rows], [row["lenient"] for row in rows]
    counts = np.array(task["confusion"]["counts"])
    assert (counts[:, :-1] == confusion_matrix(gold, read, labels=LABELS)).all() and not counts[:, -1].any()
    # 30 clips of the first class are right; of the 30 of the second 15.
    first, second = task["slices"]
    assert (first["value"], first["clips"], first["metric"], first["rest"]) == (LABELS[0], 30, 1.0, 0.5)
    assert first["difference"] == 0.5 == -second["difference"] and first["verdict"] == "better"
    assert first["low"] < 0.5 < first["high"] and first["holm"] == first["p"]
    assert len(task["hardest"]) == 15 and {clip["gold"] for clip in task["hardest"]} == {LABELS[1]}
    on_gold = [clip["gold_probability"] for clip in task["hardest"]]
    assert on_gold == sorted(on_gold)
    confidence = [clip["confidence"] for clip in task["confident"]]
    assert confidence == sorted(confidence, reverse=True) and len(confidence) == 15
    assert task["calibration"]["answers"] == 60
    expected = brier_score_loss(gold, probability[:, np.argsort(LABELS)], labels=sorted(LABELS), scale_by_half=False)
    assert task["calibration"]["brier"] == pytest.approx(expected)
    assert task["unavailable"] == {} and task["unreadable"] == [] and task["changes"] is None


def test_clips_are_hard_that_are_wrong_with_every_seed(make, capsys) -> None:
    folders = [make(f"s{seed}", f"seed={seed}", correct=40 + seed) for seed in (1, 2, 3)]
    [task] = analysed(capsys, *folders, "--by", "class")["tasks"]
    assert task["seeds"] == [1, 2, 3] and [clip["id"] for clip in task["hardest"]] == [
        f"demo/test/{n}" for n in range(43, 60)
    ]
    assert sum(map(sum, task["confusion"]["counts"])) == 180
    assert task["confident"] == [] and task["no_calibration"].startswith("no answer has the likelihood of every label")


def test_what_another_setting_fixes_and_breaks(make, capsys, tmp_path) -> None:
    words = ("prompting=knowledge", "knowledge=cues", "prompting.descriptions_without_media=true")
    for seed in (1, 2, 3):
        make(f"p{seed}", f"seed={seed}", correct=range(30))
        make(f"k{seed}", f"seed={seed}", *words, correct=range(6, 50))
    [task] = analysed(capsys, tmp_path / "out", "--against", "prompting=plain", "--by", "class")["tasks"]
    changes = task["changes"]
    assert (changes["right"], changes["right_there"]) == (44 / 60, 30 / 60) and len(changes["pairs"]) == 3
    assert [(c["label"], c["clips"], c["fixed"], c["broken"]) for c in changes["by_class"]] == [
        (LABELS[0], 30, 0, 6),
        (LABELS[1], 30, 20, 0),
    ]
    assert [clip["id"] for clip in changes["broken"]] == [f"demo/test/{n}" for n in range(6)]
    assert len(changes["fixed"]) == 20 and changes["fixed"][0]["answers"] == [LABELS[2]] * 3
    assert (changes["num_fixed"], changes["num_broken"]) == (20, 6)
    assert changes["mcnemar"] == pytest.approx([2 * sum_of_binomials(26, 6)] * 3)
    assert changes["low"] < 14 / 60 < changes["high"]
    out, end = errors(capsys, tmp_path / "out" / "k1", "--against", tmp_path / "out" / "p1", "--clips", "2")
    assert end == "" and "fixed: 2 of 20 clips are shown" in out and "McNemar, which takes clips for indep" in out


def sum_of_binomials(count: int, most: int) -> float:
    from scipy.stats import binom

    return float(binom.cdf(most, count, 0.5))


def test_agreement_of_single_modality_runs(make, capsys) -> None:
    whole = make("tav", "modalities=tav", correct=45)
    text, audio = make("t", "modalities=t", correct=range(50)), make("a", "modalities=a", correct=range(10, 60))
    [task] = analysed(capsys, whole, "--by", "agreement", "--single", text, audio)["tasks"]
    agree, disagree = task["slices"]
    assert (agree["value"], agree["clips"], agree["metric"]) == ("t a agree", 40, 35 / 40)
    assert (disagree["value"], disagree["clips"], disagree["metric"]) == ("t a disagree", 20, 10 / 20)
    assert errors(capsys, whole, "--single", text, whole)[1].startswith("--single names runs with modalities t, tav")
    [without] = analysed(capsys, whole, "--by", "agreement")["tasks"]
    assert without["unavailable"]["agreement"].startswith("no single-modality runs are named")


def test_an_intensity(make, capsys) -> None:
    folder = make("m", dataset="mosi", correct=30)
    [task] = analysed(capsys, folder, "--by", "class,intensity")["tasks"]
    assert task["metric"] == "mae" and task["confusion"]["rows"] == ["negative", "zero", "positive"]
    assert np.array(task["confusion"]["counts"]).sum() == 60
    assert {each["value"]: each["metric"] for each in task["slices"] if each["by"] == "class"} == {
        name: 0.5 for name in ("negative", "zero", "positive")
    }
    assert {each["by"] for each in task["slices"]} == {"class", "intensity"}
    assert task["hardest"][0]["error"] == 1.0 and task["calibration"] is None
    assert "only the labels of a classification" in task["no_calibration"]
    assert errors(capsys, folder, "--metric", "accuracy")[1].startswith("--metric accuracy is no metric of mosi.")


@pytest.fixture
def recorded(configure, tmp_path) -> Path:
    """A run on a table of clips: 60 tones, 0-19 soft, 20-39 medium, 40-59 loud; the loud ones are wrong; the first has
    no file any more."""
    rows = []
    for number in range(60):
        seconds = np.arange(4000 + 100 * number) / 16000
        tone = (0.02 * 4 ** (number // 20)) * np.sin(2 * np.pi * 200 * seconds) * (1 + 0.01 * number / 60)
        path = tmp_path / f"{number}.wav"
        if number:
            with wave.open(str(path), "wb") as file:
                file.setparams((1, 2, 16000, len(tone), "NONE", ""))
                file.writeframes((tone * 32767).astype("<i2").tobytes())
        label = "joy" if number < 30 else "anger"
        rows.append([str(number), path.name, "word " * (1 + number % 7), label, "test", f"=s{number % 3}"])
    with open(tmp_path / "clips.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "clip", "text", "label", "split", "speaker"])
        writer.writerows(rows)
    return make_run(
        configure,
        tmp_path / "out",
        "recorded",
        f"datasets.manifest.root={tmp_path / 'clips.csv'}",
        "datasets.manifest.modalities=ta",
        "datasets.manifest.options.require_clips=false",
        "datasets.manifest.task_definitions.label.labels=[joy,anger,fear]",
        f"cache_root={tmp_path / 'cache'}",
        dataset="manifest",
        correct=40,
        num=60,
        groups=20,
    )


def test_slices_by_what_is_known_of_the_clips(recorded, capsys, tmp_path) -> None:
    places = ("--cache-root", tmp_path / "cache")
    [task] = analysed(capsys, recorded, *places)["tasks"]
    assert {each["by"]: None for each in task["slices"]} == dict.fromkeys(
        ("class", "speaker", "words", "duration", "loudness")
    )
    loudness = [each for each in task["slices"] if each["by"] == "loudness"]
    assert [each["clips"] for each in loudness] == [20, 19, 20] and [each["metric"] for each in loudness] == [1, 1, 0]
    assert [each["verdict"] for each in loudness][-1] == "worse" and loudness[0]["value"].endswith("dB")
    assert [each["clips"] for each in task["slices"] if each["by"] == "speaker"] == [20, 20, 20]
    assert task["unavailable"]["face"] == "the dataset has no video"
    assert task["unavailable"]["language"] == "one slice holds all clips: en"
    [note] = [note for note in task["notes"] if note.startswith("loudness")]
    assert "unknown of 1 of 60 clips" in note and "0.wav" in note
    assert task["hardest"][0]["text"].startswith("word")


def test_annotations_that_are_gone_or_changed_are_said(recorded, capsys, tmp_path) -> None:
    table = tmp_path / "clips.csv"
    text = table.read_text()
    table.write_text(
        "".join(line for line in text.splitlines(True) if not line.startswith("59,")).replace("anger", "joy")
    )
    [task] = analysed(capsys, recorded, "--by", "words")["tasks"]
    assert task["notes"][0].startswith("1 of 60 clips are not in the annotations any more")
    assert task["notes"][1].startswith("29 of 60 clips have another label of label in the annotations now")
    table.unlink()
    [task] = analysed(capsys, recorded, "--by", "class,words,speaker")["tasks"]
    assert set(task["unavailable"]) == {"words", "speaker"} and len(task["slices"]) == 2
    assert "is not there: name the place of the data, --data-root DIR" in task["unavailable"]["words"]


HOSTILE = "\x1b[31m=cmd|' /C calc'!A0 <b>|`x`\u202e\n[bold]"


def test_hostile_ids_and_answers_are_shown_as_text(make, capsys) -> None:
    folder = make("h", correct=40)
    rewrite(
        folder,
        lambda n, row: (
            row
            | {"id": HOSTILE if n == 50 else row["id"], "answer": HOSTILE if n > 39 else row["lenient"]}
            | ({"exact": None, "outcome": "no_label", "readout": "generate"} if n > 39 else {})
        ),
    )
    change(folder / "metrics.json", lambda metrics: metrics | {"reader": "exact"})
    change(
        folder / "metrics.json",
        lambda m: m | {"tasks": {k: t | {"exact": {**t["exact"], "accuracy": 40 / 60}} for k, t in m["tasks"].items()}},
    )
    for how in ("table", "markdown"):
        out, end = errors(capsys, folder, "--by", "class", "--clips", "30", "--format", how)
        assert end == "" and "\x1b" not in out and "\u202e" not in out
        assert "<b>" not in out if how == "markdown" else "[bold]" in out
        assert all(line.count("<b>") <= 1 for line in out.splitlines())
    out, _ = errors(capsys, folder, "--by", "class", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {row["table"] for row in rows} == {"confusion", "slice", "hardest", "unreadable"}
    assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row.values() if cell)
    assert [row["id"] for row in rows if row["table"] == "hardest"].count(f"{HOSTILE}") == 1
    [task] = analysed(capsys, folder, "--by", "class")["tasks"]
    [cause] = task["unreadable"]
    assert cause["reason"].startswith("more than the bare answer") and cause["clips"] == 20


@pytest.mark.parametrize("how", ["table", "markdown", "csv", "json"])
def test_every_format_is_written_to_a_file_as_well(make, capsys, tmp_path, how) -> None:
    folder = make("a", correct=45)
    out, _ = errors(capsys, folder, "--by", "class", "--format", how)
    said, end = errors(capsys, folder, "--by", "class", "--format", how, "--output", tmp_path / "file")
    assert (said, end) == (f"{tmp_path / 'file'} written\n", "")
    assert [line.rstrip() for line in (tmp_path / "file").read_text().splitlines()] == [
        line.rstrip() for line in out.splitlines()
    ]
    _, end = errors(capsys, folder, "--by", "class", "--output", tmp_path / "no" / "file")
    assert "cannot be written" in end or (tmp_path / "no" / "file").is_file()


def test_charts_are_drawn(make, capsys, tmp_path) -> None:
    folder = make("a", correct=45)
    scored(folder)
    _, end = errors(capsys, folder, "--by", "class", "--charts", tmp_path / "charts")
    assert end == ""
    names = {
        f"demo.emotion_{name}{suffix}" for name in ("confusion", "calibration", "slices") for suffix in (".pdf", ".png")
    }
    assert {path.name for path in (tmp_path / "charts").iterdir()} == names
    assert all(path.stat().st_size > 1000 for path in (tmp_path / "charts").iterdir())


def test_mistakes_are_sentences(make, capsys, tmp_path) -> None:
    a, b = make("a", correct=45), make("b", "modalities=ta", correct=40)
    mosi = make("m", dataset="mosi")
    assert errors(capsys, a, b)[1].startswith("these runs are of 2 settings (modalities t, ta)")
    assert "--by speakers is no slice, did you mean 'speaker'" in errors(capsys, a, "--by", "speakers")[1]
    assert errors(capsys, a, "--against", mosi)[1].startswith("the runs of --against: no finished one has")
    assert errors(capsys, a, "--against", a)[1].startswith("--against names the setting that is analysed")
    assert errors(capsys, a, b, "--against", "seed=1")[1].startswith("--against seed=1: all runs have that")
    assert "--task demo.emotoin: no run has results of it" in errors(capsys, a, "--task", "demo.emotoin")[1]
    assert "accurcy is no metric of demo.emotion, did you" in errors(capsys, a, "--metric", "accurcy")[1]
    assert "nowhere does not exist: name a run folder" in errors(capsys, tmp_path / "nowhere")[1]
    assert "--clips -1 is below 0" in errors(capsys, a, "--clips", "-1")[1]
    other = make("s", "seed=2", "modalities=ta", correct=40)
    assert "have no seed in common" in errors(capsys, a, "--against", other)[1]


def test_damaged_runs_are_refused_by_name(make, capsys) -> None:
    unlabelled = make("u", labelled=False)
    assert "no finished one has labelled clips" in errors(capsys, unlabelled)[1]
    folder = make("a", correct=45)
    whole = (folder / "predictions.jsonl").read_text()
    (folder / "predictions.jsonl").write_text(whole[: len(whole) // 2])
    assert "predictions.jsonl, line" in errors(capsys, folder)[1]
    (folder / "predictions.jsonl").write_text("")
    assert "has no prediction of demo.emotion that has a label" in errors(capsys, folder)[1]
    (folder / "predictions.jsonl").unlink()
    assert "cannot be read" in errors(capsys, folder)[1]
    (folder / "predictions.jsonl").write_text(whole.replace('"lenient": "', '"lenient": "x', 1))
    assert "is not of demo.emotion" in errors(capsys, folder)[1]
    (folder / "metrics.json").write_text("{")
    assert "metrics.json cannot be read" in errors(capsys, folder)[1]


def test_it_does_without_torch() -> None:
    code = "import sys, affect.cli.errors; sys.exit(bool({'torch', 'transformers', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120).returncode == 0
