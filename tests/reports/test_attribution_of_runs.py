"""affect attribution: which runs belong together, what their numbers are, and what is said where some are missing."""

import csv
import io
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from made_runs import Make, change, make_run, remember_configurations

from affect.cli.attribution import main
from affect.config import Config
from affect.evaluation.attribution import subsets
from affect.reports.attribution.families import Flavour, families, intervention
from affect.reports.attribution.results import attributed
from affect.reports.attribution.tables import charts
from affect.reports.collect import find, load
from affect.reports.console import print_results

RIGHT = {"t": 22, "a": 18, "v": 12, "ta": 26, "tv": 24, "av": 20, "tav": 32}
"""How many of 40 clips are answered rightly; the constant answer, the label of the first 20, is right for 20."""


@pytest.fixture(autouse=True)
def read_once(monkeypatch) -> None:
    remember_configurations(monkeypatch)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("shared")


def maker(configure: Callable[..., Config], out: Path) -> Make:
    def made(name: str, *words: str, **more) -> Path:
        return make_run(configure, out, name, *words, **{"num": 40, "groups": 8, **more})

    return made


@pytest.fixture
def make(configure, tmp_path) -> Make:
    return maker(configure, tmp_path / "out")


def told(folder: Path, words: list[str]) -> None:
    """Notes what command a run came from."""
    change(folder / "environment.json", lambda known: known | {"command": ["x.py", *words]})


def with_scores(folder: Path, gold: float) -> None:
    """Gives the answers of a run log-likelihoods: `gold` of the gold label, 0 of the others."""
    path = folder / "predictions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    labels = json.loads((folder / "metrics.json").read_text())["tasks"]["demo.emotion"]["labels"]
    for row in rows:
        row["scores"] = {label: gold if label == row["target"] else 0.0 for label in labels}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def evaluated(configure, shared) -> Path:
    """A model that was trained on all modalities, and is evaluated on every subset: audio moves the scores, video never
    does. Made once, and only read."""
    if (shared / "one").is_dir():
        return shared / "one"
    make = maker(configure, shared / "one")
    training = make("tav", "modalities=tav", correct=RIGHT["tav"])
    (training / "priors.json").write_text(json.dumps({"demo.emotion": {"neutral": 9, "joy": 1}}))
    with_scores(training, 2.0)
    for subset, correct in RIGHT.items():
        if subset != "tav":
            folder = make(subset, f"run={training}", f"modalities={subset}", evaluate=True, correct=correct)
            with_scores(folder, 2.0 if subset == "ta" else 1.0)
    return shared / "one"


@pytest.fixture
def trained(configure, shared) -> Path:
    """A model trained on each subset of two modalities, with three seeds. Made once, and only read."""
    if not (shared / "each").is_dir():
        make = maker(configure, shared / "each")
        for subset, correct in (("t", 20), ("a", 16), ("ta", 26)):
            for seed in (1, 2, 3):
                make(f"{subset}{seed}", f"modalities={subset}", f"seed={seed}", correct=correct + seed)
    return shared / "each"


@pytest.fixture
def copied(trained, tmp_path) -> Path:
    """One seed of those, to be damaged."""
    for subset in ("t", "a", "ta"):
        shutil.copytree(trained / f"{subset}1", tmp_path / "out" / subset)
    return tmp_path / "out"


def attribution(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[str, str, str]:
    """What the command prints, what it says on stderr, and what it says at its end ("" where it ended well)."""
    try:
        main([str(word) for word in words])
        end = ""
    except SystemExit as stop:
        end = str(stop.code)
    said = capsys.readouterr()
    return said.out, said.err, end


def found_in(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[list[dict], list[str]]:
    """The attributions and the notes of the JSON."""
    out, _, end = attribution(capsys, *words, "--format", "json")
    assert end == ""
    content = json.loads(out)
    return content["attributions"], content["notes"]


# ---------------------------------------------------------------- one model, evaluated on subsets


def test_values_are_those_of_the_runs_and_add_up(evaluated, capsys):
    [found], notes = found_in(capsys, evaluated, "--metric", "accuracy")
    v = {subset: count / 40 for subset, count in (RIGHT | {"": 20}).items()}
    expected = {
        "text": 2 * (v["t"] - v[""]) + (v["ta"] - v["a"]) + (v["tv"] - v["v"]) + 2 * (v["tav"] - v["av"]),
        "audio": 2 * (v["a"] - v[""]) + (v["ta"] - v["t"]) + (v["av"] - v["v"]) + 2 * (v["tav"] - v["tv"]),
        "video": 2 * (v["v"] - v[""]) + (v["tv"] - v["t"]) + (v["av"] - v["a"]) + 2 * (v["tav"] - v["ta"]),
    }
    *values, total = found["contributions"]
    assert {one["of"]: one["value"]["mean"] for one in values} == {
        name: pytest.approx(value / 6) for name, value in expected.items()
    }
    assert total["of"] == "all - none" and total["value"]["mean"] == pytest.approx(12 / 40)
    assert sum(one["value"]["mean"] for one in values) == pytest.approx(total["value"]["mean"], abs=1e-12)
    assert found["flavour"] == "one trained model evaluated on every subset"
    assert {subset: number["mean"] for subset, number in found["values"].items()} == pytest.approx(v)
    assert (found["seeds"], found["modalities"], found["metric"]) == ([1], "tav", "accuracy")
    assert [one["value"]["clips"] for one in values] == [40] * 3 and values[0]["value"]["groups"] == 8
    assert (
        "demo.emotion, one trained model evaluated on every subset: none is always neutral, the most frequent"
        in (notes[0])
    )
    assert any("a single seed" in note for note in notes)


def test_classes_add_up_to_their_recall(evaluated, capsys):
    [found], _ = found_in(capsys, evaluated, "--metric", "accuracy")
    assert [(each["label"], each["clips"]) for each in found["classes"]] == [("neutral", 20), ("joy", 20)]
    for place in range(4):
        whole = found["contributions"][place]["value"]["mean"]
        weighted = [each["clips"] / 40 * each["contributions"][place]["value"]["mean"] for each in found["classes"]]
        assert sum(weighted) == pytest.approx(whole, abs=1e-12)
    # The first 20 clips are neutral, the constant answer is right for them, and all of them are with text.
    [neutral, joy] = found["classes"]
    assert neutral["contributions"][-1]["value"]["mean"] == 0 and joy["contributions"][-1]["value"]["mean"] == 0.6


def test_a_probe_tells_what_reaches_the_answers(evaluated, capsys):
    [found], notes = found_in(capsys, evaluated)
    probes = {each["removed"]: each["probe"] for each in found["reach"]}
    assert {name: probe["moved"] for name, probe in probes.items()} == {"text": 1, "audio": 1, "video": 0}
    share = [np.exp(score) / (np.exp(score) + 5) for score in (2.0, 1.0)]
    assert probes["audio"]["median"] == pytest.approx(np.log(share[0] / share[1]))
    assert [note for note in notes if "never reaches" in note] == [
        "demo.emotion, one trained model evaluated on every subset: video never reaches the answers: of 40 clips none"
        " moves"
    ]


def test_clips_in_conflict_stand_beside_the_rest(evaluated, capsys):
    [found], _ = found_in(capsys, evaluated, "--metric", "accuracy")
    # Clip i is answered rightly by text below 22, by audio below 18, by video below 12; all wrong answers are alike.
    whole = found["conflicts"][0]
    assert (whole["modalities"], whole["conflict"], whole["rest"]) == ("tav", 10, 30)
    assert whole["on_conflict"]["mean"] == 1 and whole["on_rest"]["mean"] == pytest.approx(22 / 30)
    assert whole["difference"]["mean"] == pytest.approx(8 / 30) and whole["difference"]["clips"] == 10
    assert len(found["conflicts"]) == 7


def test_values_of_clips_are_written_and_have_those_of_the_dataset_as_their_mean(evaluated, capsys, tmp_path):
    [found], _ = found_in(capsys, evaluated, "--metric", "accuracy")
    out, _, end = attribution(capsys, evaluated, "--clips", tmp_path / "clips.csv", "--format", "csv")
    rows = list(csv.DictReader((tmp_path / "clips.csv").open()))
    assert end == "" and len(rows) == 40 and {row["metric"] for row in rows} == {"accuracy"}
    for one in found["contributions"][:-1]:
        assert np.mean([float(row[one["of"]]) for row in rows]) == pytest.approx(one["value"]["mean"])
    assert sum(float(row["conflict"]) for row in rows) == 10
    assert {row["shift_video"] for row in rows} == {"0.0"}
    table = list(csv.DictReader(io.StringIO(out)))
    blocks = dict.fromkeys(row["block"] for row in table)
    assert list(blocks) == ["contribution", "difference", "class", "subset", "reach", "conflict"]
    assert [row["of"] for row in table if row["block"] == "subset"] == ["none", "t", "a", "v", "ta", "tv", "av", "tav"]


def test_tables_say_which_kind_of_models_they_are_of(evaluated, capsys):
    out, _, end = attribution(capsys, evaluated, "--metric", "accuracy", "--per-class")
    assert end == "" and "one trained model" in out
    assert re.search(r"(?m)^ +1-7 +text +\+0\.\d{4} +\[[+-]0\.\d{4}, \+0\.\d{4}\] +\S+ +40 +8 +1 *$", out)
    assert re.search(r"(?m)^ +\S+ +text \+ audio \+ video +0\.8000 *$", out)
    assert re.search(r"(?m)^ +1-7 +neutral +all - none ", out)
    shown, _, _ = attribution(capsys, evaluated, "--metric", "accuracy", "--format", "markdown")
    assert "**demo.emotion, contribution of modalities (Shapley): accuracy; smollm2, one trained model" in shown
    assert re.search(r"(?m)^\| text +\| +\+0", shown) and "recall of each class" not in shown


def test_charts_have_a_bar_for_every_modality_with_its_interval(evaluated):
    runs, _ = load(find([evaluated])[0])
    [family] = families(runs, "demo.emotion")
    result = attributed(family, "demo.emotion", "accuracy")
    whole, by_class = charts([result])
    [bars] = whole.series
    assert (whole.kind, bars.x, whole.y_label) == ("bar", ["text", "audio", "video"], "contribution to accuracy")
    assert bars.y == [one.value.mean for one in result.contributions[:-1]]
    assert bars.high == [one.value.high for one in result.contributions[:-1]]
    assert [(each.name, each.x) for each in by_class.series] == [
        (name, ["neutral", "joy"]) for name in ("text", "audio", "video")
    ]


def test_a_change_of_the_clips_is_a_probe_too(evaluated, make, capsys):
    words = (f"run={evaluated / 'tav'}", "modalities=tav", "intervention=mute")
    mute = make("mute", *words, evaluate=True, correct=RIGHT["tav"])
    with_scores(mute, 2.0)
    [found], notes = found_in(capsys, evaluated, mute)
    assert [each["removed"] for each in found["reach"]] == ["text", "audio", "video", "mute"]
    assert found["reach"][-1]["probe"]["moved"] == 0 and any(
        "with mute of 40 clips none moves" in note for note in notes
    )
    assert intervention({"intervention": {"name": "noise_audio", "snr": 10, "seed": 0}}) == "noise_audio(snr=10,seed=0)"
    assert [intervention(old) for old in ({}, {"intervention": "none"}, {"intervention": "mute"})] == ["", "", "mute"]


def test_an_evaluation_says_at_its_end_what_it_has_moved(evaluated, make, capsys):
    printed = {}
    for name in ("ta", "tv", "t", "tav"):
        print_results(evaluated / name)
        printed[name] = [line for line in capsys.readouterr().out.splitlines() if "the answers:" in line]
    assert printed["ta"] == ["1 demo.emotion: video never reaches the answers: of 40 clips none moves"]
    assert printed["tv"] == [
        "1 demo.emotion: audio reaches the answers: 100.0% of 40 clips move, median shift 0.527 nats, and 20.0% get"
        " another answer"
    ]
    assert [line[:51] for line in printed["t"]] == ["1 demo.emotion: audio and video reach the answers: "]
    assert printed["tav"] == [], "a training has nothing to be held against"


# ---------------------------------------------------------------- a model trained on each subset


def test_models_of_each_subset_are_held_together_over_their_seeds(trained, capsys):
    [found], notes = found_in(capsys, trained, "--metric", "accuracy")
    assert (found["flavour"], found["seeds"], found["modalities"]) == (
        "a model trained on every subset",
        [1, 2, 3],
        "ta",
    )
    text, audio, total = (one["value"] for one in found["contributions"])
    # means of t, a, ta and none: 22, 18, 28 and 20 of 40
    assert text["mean"] == pytest.approx((2 + 10) / 2 / 40) and audio["mean"] == pytest.approx((-2 + 6) / 2 / 40)
    assert total["mean"] == pytest.approx(8 / 40) and total["seeds"] == 3
    assert found["reach"] == [], "two models differ in more than what they are given"
    assert "knows nothing" not in str(notes)
    # Without counts of the training's labels, the constant answer is that of the scored clips.
    assert "by their gold labels" in notes[0]


def test_the_two_kinds_are_never_mixed(evaluated, make, capsys, tmp_path):
    for subset in subsets("tav")[1:-1]:
        make(f"own_{subset}", f"modalities={subset}", correct=RIGHT[subset] - 4)
    found, _ = found_in(capsys, evaluated, tmp_path / "out", "--metric", "accuracy")
    by_kind = {each["flavour"]: each for each in found}
    assert set(by_kind) == {Flavour.evaluated.value, Flavour.trained.value}
    values = {kind: each["values"]["t"]["mean"] for kind, each in by_kind.items()}
    assert values == {Flavour.evaluated.value: 22 / 40, Flavour.trained.value: 18 / 40}
    assert all(each["values"]["tav"]["mean"] == 32 / 40 for each in found), "the whole model is in both"


def test_zero_shot_models_are_a_kind_of_their_own(make, capsys, tmp_path):
    for subset in ("t", "a", "ta"):
        make(subset, f"modalities={subset}", "model=qwen2_5_omni_7b", evaluate=True, correct=RIGHT[subset])
    [found], _ = found_in(capsys, tmp_path / "out")
    assert found["flavour"] == Flavour.zero_shot.value and [each["removed"] for each in found["reach"]] == [
        "text",
        "audio",
    ]


def test_numbers_have_a_median_as_constant_answer(make, capsys, tmp_path):
    for subset, correct in (("t", 20), ("a", 16), ("ta", 30)):
        make(subset, f"modalities={subset}", dataset="mosi", correct=correct)
    [found], notes = found_in(capsys, tmp_path / "out", "--metric", "mae")
    assert (found["higher_is_better"], found["clip_metric"]) == (False, "mae")
    assert "always 0, the median of the gold values" in notes[0]
    assert sum(one["value"]["mean"] for one in found["contributions"][:-1]) == pytest.approx(
        found["values"]["ta"]["mean"] - found["values"][""]["mean"]
    )
    [found], notes = found_in(capsys, tmp_path / "out", "--metric", "pearson")
    assert found["values"][""]["mean"] == 0 and "pearson is undefined for it, and counts as 0" in notes[0]


# ---------------------------------------------------------------- what is missing, and what is damaged


def test_missing_subsets_are_named_with_the_command_that_makes_them(evaluated, capsys):
    there = [word for subset in ("t", "v", "ta", "av", "tav") for word in ("--where", f"modalities={subset}")]
    out, _, end = attribution(capsys, evaluated, *there)
    assert out == "" and "there is no finished run with modalities=a,tv, and contributions need every" in end
    assert end.endswith(f"\n  python evaluate.py -m run={evaluated / 'tav'} modalities=a,tv")


def test_a_training_alone_is_told_how_it_is_evaluated(make, capsys):
    training = make("it's one", "modalities=ta")
    _, _, end = attribution(capsys, training)
    assert "modalities=t,a, and contributions need every subset of ta" in end
    *_, given, subsets_given = shlex.split(end.splitlines()[-1])
    [override] = OverridesParser.create().parse_overrides([given])
    assert (override.value(), subsets_given) == (str(training), "modalities=t,a")


def test_trainings_of_some_subsets_are_told_the_command_of_the_others(make, capsys, tmp_path):
    for seed in (1, 2):
        for subset in ("t", "ta"):
            folder = make(f"{subset}{seed}", f"modalities={subset}", f"seed={seed}")
            told(folder, ["experiment=demo", f"modalities={subset}", f"seed={seed}", "trainer.max_epochs=2"])
    _, _, end = attribution(capsys, tmp_path / "out")
    assert end.endswith("python train.py -m experiment=demo trainer.max_epochs=2 modalities=a seed=1,2")


def test_seeds_that_not_every_subset_has_are_left_out_by_name(make, trained, capsys, tmp_path):
    make("more", "modalities=ta", "seed=9")
    [found], notes = found_in(capsys, trained, tmp_path / "out")
    assert found["seeds"] == [1, 2, 3] and any("left out are the seeds 9" in note for note in notes)


def test_runs_of_no_common_seed_are_refused(make, capsys, tmp_path):
    for seed, subset in enumerate(("t", "a", "ta")):
        make(subset, f"modalities={subset}", f"seed={seed}")
    _, _, end = attribution(capsys, tmp_path / "out")
    assert "no seed has a run of every subset" in end and "modalities=t,a,ta seed=0,1,2" in end


def test_evaluations_of_another_checkpoint_are_not_mixed_in(evaluated, make, capsys, tmp_path):
    other = make("other", "modalities=tav", correct=3)
    make("other_t", f"run={other}", "modalities=t", evaluate=True, correct=3)
    [found], notes = found_in(capsys, evaluated, tmp_path / "out", "--metric", "accuracy")
    assert found["values"]["t"]["mean"] == 22 / 40 and found["values"]["tav"]["mean"] == 32 / 40
    assert any("they are of another training of the same configuration and seed 1" in note for note in notes)


def test_subsets_of_other_clips_are_compared_on_those_of_all(copied, capsys):
    path = copied / "a" / "predictions.jsonl"
    path.write_text(path.read_text().replace('"demo/test/1', '"demo/test/other/1'))  # 1, and 10 to 19
    [found], notes = found_in(capsys, copied)
    assert any("computed on the 29 clips that all runs have scored, of up to 40" in note for note in notes)
    assert found["contributions"][0]["value"]["clips"] == 29


def test_subsets_without_a_clip_in_common_are_refused(copied, capsys):
    path = copied / "a" / "predictions.jsonl"
    path.write_text(path.read_text().replace('"demo/test/', '"demo/test/other/'))
    _, _, end = attribution(capsys, copied)
    assert "have no clip in common: evaluate every subset on the same split and subset of clips" in end


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("predictions.jsonl", "{}\n", "predictions.jsonl, line 1 is not a prediction"),
        ("predictions.jsonl", "", "has no prediction of demo.emotion that has a label"),
        ("priors.json", "{", "priors.json cannot be read"),
        ("metrics.json", "{", "metrics.json cannot be read"),
    ],
)
def test_damaged_files_are_named(copied, capsys, file, content, says):
    (copied / "ta" / file).write_text(content)
    _, _, end = attribution(capsys, copied)
    assert says in end and str(copied / "ta") in end


def test_predictions_that_are_not_those_of_the_numbers_are_refused(copied, capsys):
    path = copied / "t" / "predictions.jsonl"
    path.write_text(path.read_text().replace('"lenient": "joy"', '"lenient": "anger"'))
    _, _, end = attribution(capsys, copied)
    assert f"{path} gives" in end and "restore the two files, or evaluate again" in end


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--metric", "mae"], "--metric mae: demo.emotion has no such metric: choose of accuracy, weighted_f1"),
        (["--metric", "colour"], "--metric colour: demo.emotion has no such metric"),
        (["--where", "seed=7"], "no run has seed=7: choose of 1, 2, 3"),
        (["--where", "modalities=t"], "no finished run has two modalities or more"),
        (["--output", "/nowhere/x.txt"], "--output /nowhere/x.txt cannot be written"),
        (["--figure", "x.gif"], "x.gif: charts are written as .pdf, .png, .svg"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(trained, capsys, words, says):
    _, _, end = attribution(capsys, trained, *words)
    assert says in end


def test_a_folder_without_runs_is_refused(capsys, tmp_path):
    _, _, end = attribution(capsys, tmp_path)
    assert "is not a run folder" in end


def test_hostile_names_are_shown_literally(make, capsys, tmp_path):
    labels = 'datasets.demo.task_definitions.emotion.labels=["\\x1b[31mred","=cmd()","a|b"]'
    for subset in ("t", "a", "ta"):
        make(subset, f"modalities={subset}", labels.replace("\\x1b", "\x1b"), correct=20)
    out, _, _ = attribution(capsys, tmp_path / "out", "--per-class")
    assert "\x1b" not in out and "[31mred" in out
    shown, _, _ = attribution(capsys, tmp_path / "out", "--per-class", "--format", "markdown")
    assert "\x1b" not in shown
    table, _, _ = attribution(capsys, tmp_path / "out", "--format", "csv")
    assert {row["class"] for row in csv.DictReader(io.StringIO(table))} >= {"'=cmd()"}
