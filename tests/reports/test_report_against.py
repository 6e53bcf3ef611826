"""What the report says of knowledge: differences to a reference, what descriptions cost, and what they give away."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from made_runs import Make, change, make_run, records, remember_configurations, report

from affect.config import Config

CUES = ("prompting=knowledge", "knowledge=cues")
IN_WORDS = (*CUES, "prompting.descriptions_without_media=true")
SHUFFLED = (*CUES, "knowledge.control=shuffled")


@pytest.fixture(autouse=True)
def read_once(monkeypatch) -> None:
    remember_configurations(monkeypatch)


def maker(configure: Callable[..., Config], out: Path) -> Make:
    """`make(name, *words, …)` is made_runs.make_run in the folder `out`, with what a run with knowledge keeps."""

    def made(name: str, *words: str, **more) -> Path:
        folder = make_run(configure, out, name, *words, **{"num": 40, "groups": 12, **more})
        if "prompting=knowledge" in words:
            tell(folder)
        return folder

    return made


@pytest.fixture
def make(configure, tmp_path) -> Make:
    return maker(configure, tmp_path / "out")


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("shared")


def tell(folder: Path, tokens: float = 50.0, predicted: float = 0.5) -> None:
    """The account of knowledge of a run on the demo's emotions."""
    cost = {"tokens_per_prompt": tokens, "share_of_text_tokens": 0.4, "seconds_per_clip": 0.05, "prompts": 40}
    (folder / "knowledge.json").write_text(json.dumps({"generators": ["x"], "cost": {"test": {"demo": cost}}}))
    named = {"gold": 0.1, "both": 0.0, "other": 0.25, "none": 0.65, "label_word": 0.3}
    right = {"gold": 0.9, "both": None, "other": 0.2, "none": 0.4}
    told = {
        "named": named,
        "predicted": {"accuracy": 0.6, "uar": predicted},
        "masked": {"accuracy": 0.5, "uar": 0.375},
        "by_named": {what: {"clips": 4, "accuracy": value} for what, value in right.items()},
    }
    of_task = {"clips": 120, "of_clips": 120, "groups": 9, "folds": 5, "baseline": {"accuracy": 0.2, "uar": 0.1667}}
    descriptions = {"audio": told, "all": told}
    (folder / "leak.json").write_text(json.dumps({"demo.emotion": of_task | {"descriptions": descriptions}}))


@pytest.fixture
def grid(configure, shared) -> Path:
    """Runs 1-3 plain, 4-6 with cues, 7-9 with those of other clips, fine-tuned; 10 and 11 zero-shot without and with
    cues. Made once, and only read."""
    if not list(shared.iterdir()):
        make = maker(configure, shared)
        for k, (words, correct) in enumerate((((), 20), (CUES, 26), (SHUFFLED, 20))):
            for seed in (1, 2, 3):
                make(f"{k}{seed}", "modalities=tav", f"seed={seed}", *words, correct=correct + seed)
        make("z1", evaluate=True, correct=10)
        make("z2", *IN_WORDS, evaluate=True, correct=12)
    return shared


def tables(capsys, *words: str | Path) -> tuple[list[dict], list[str]]:
    """The tables and the notes of the JSON, without those that explain what is shown."""
    out, _, end = report(capsys, *words, "--format", "json")
    assert end == ""
    made = json.loads(out)
    return made["tables"], [note for note in made["notes"] if not re.match("difference of|cost of|leak audit", note)]


# ---------------------------------------------------------------- differences


def test_every_setting_is_compared_with_the_one_that_is_else_the_same(grid, capsys):
    [table], notes = tables(capsys, grid, "--against", "prompting=plain", "--metrics", "accuracy")
    assert table["settings"] == ["tuning", "modalities", "prompting.name", "knowledge.source", "knowledge.control"]
    rows = {tuple(row["runs"]): row for row in table["rows"]}
    assert {runs: row["is_reference"] for runs, row in rows.items()} == {
        (1, 2, 3): True,
        (4, 5, 6): False,
        (7, 8, 9): False,
        (10,): True,
        (11,): False,
    }
    found = {runs: row["difference"] for runs, row in rows.items() if row["difference"] is not None}
    assert {runs: each["against"] for runs, each in found.items()} == {
        (4, 5, 6): [1, 2, 3],
        (7, 8, 9): [1, 2, 3],
        (11,): [10],
    }
    assert [(each["num_seeds"], each["clips"], each["groups"]) for each in found.values()] == [
        (3, 40, 12),
        (3, 40, 12),
        (1, 40, 12),
    ]
    cues, shuffled, zero_shot = found.values()
    assert cues["mean"] == pytest.approx(6 / 40) and 0 < cues["low"] < 6 / 40 < cues["high"]
    assert (shuffled["mean"], shuffled["low"], shuffled["high"]) == (0, 0, 0)  # the answers of each seed are the same
    assert 0 < cues["p"] < 0.05 and cues["holm"] == pytest.approx(2 * cues["p"]) and shuffled["holm"] == 1
    assert (
        zero_shot["mean"] == pytest.approx(2 / 40) and zero_shot["low"] is zero_shot["p"] is zero_shot["holm"] is None
    )
    assert notes == [
        "11 against 10: no interval, since the answers differ in 2 of 12 groups, which cannot carry an interval: at"
        " least 5 have to tell the two apart; test on more clips",
        "11 against control shuffled: not compared, since no such row has tuning zero-shot and modalities t",
    ]


def test_descriptions_are_compared_with_their_controls_directly(grid, capsys):
    [table], _ = tables(capsys, grid, "--against", "prompting=plain", "--metrics", "accuracy")
    controls = {tuple(row["runs"]): row["controls"] for row in table["rows"]}
    assert [runs for runs, found in controls.items() if found] == [(4, 5, 6)]
    [(name, found)] = controls[4, 5, 6].items()
    assert (name, found["against"], found["num_seeds"], found["groups"]) == ("shuffled", [7, 8, 9], 3, 12)
    assert found["mean"] == pytest.approx(6 / 40) and 0 < found["low"] < 6 / 40 < found["high"]
    assert found["better"] == "yes"
    # The same numbers as when the control is asked for by its key, which then is not repeated.
    [table], _ = tables(capsys, grid, "--against", "knowledge.control=shuffled", "--metrics", "accuracy")
    [asked] = [row for row in table["rows"] if row["runs"] == [4, 5, 6]]
    assert asked["difference"] == found and asked["controls"] == {}
    out, _, _ = report(capsys, grid, "--against", "prompting=plain", "--metrics", "accuracy")
    assert "Results, demo.emotion, descriptions against their controls: split test" in out
    assert re.search(r"(?m)^ +4-6 .* shuffled +\+0\.1500 +\[\+0\.\d{4}, \+0\.\d{4}\] +0\.\d{4} +12 +3 +yes *$", out)
    assert (
        "What descriptions say helps where they are better than control shuffled with a p-value (Holm) of at most 5%"
        in out
    )
    cues = records(capsys, grid, "--against", "prompting=plain", "--metrics", "accuracy")[1]
    assert (
        float(cues["difference_to_shuffled"]) == pytest.approx(0.15) and float(cues["difference_to_shuffled_low"]) > 0
    )


def test_a_gain_without_a_control_says_nothing_of_what_descriptions_say(make, capsys, tmp_path):
    make("a", "modalities=tav")
    make("b", "modalities=tav", *CUES, correct=30)
    out, _, end = report(capsys, tmp_path / "out", "--against", "prompting=plain")
    assert end == "" and "it may come from longer prompts alone" in out and "knowledge.control=shuffled" in out
    make("c", "modalities=tav", *SHUFFLED)
    out, _, _ = report(capsys, tmp_path / "out", "--against", "prompting=plain")
    assert "it may come from longer prompts alone" not in out


@pytest.mark.parametrize(
    ("task", "groups", "seeds", "better"),
    [
        ("sentiment", 12, 3, "yes"),
        ("emotion", 4, 1, ""),
        ("emotion", 12, 1, "uncertain"),
    ],
)
def test_what_a_comparison_with_a_control_shows(make, capsys, tmp_path, task, groups, seeds, better):
    words = (f"datasets.demo.tasks=[{task}]", "modalities=tav")
    for seed in range(1, seeds + 1):
        for name, more, correct in (("c", CUES, 34), ("s", SHUFFLED, 10), ("p", (), 10)):
            make(f"{name}{seed}", *words, *more, f"seed={seed}", correct=correct, groups=groups)
    for path in (tmp_path / "out").glob("*/leak.json"):
        path.write_text(path.read_text().replace("demo.emotion", f"demo.{task}"))
    metric = "mae" if task == "sentiment" else "accuracy"
    command = ("--against", "prompting=plain", "--metrics", metric, "--format", "json")
    out, _, _ = report(capsys, tmp_path / "out", *command)
    [table] = json.loads(out)["tables"]
    found = {row["setting"]["knowledge.control"]: row for row in table["rows"]}
    assert found["none"]["controls"]["shuffled"]["better"] == better
    assert (found["none"]["controls"]["shuffled"]["mean"] < 0) == (metric == "mae")
    assert found["shuffled"]["difference"]["better"] == (better and "not shown") and found["shuffled"]["controls"] == {}


def test_the_control_is_compared_by_its_own_key(grid, capsys):
    [table], notes = tables(capsys, grid, "--against", "knowledge.control=none")
    found = {tuple(row["runs"]): row["difference"] for row in table["rows"] if not row["is_reference"]}
    assert found[7, 8, 9]["against"] == [4, 5, 6] and found[7, 8, 9]["mean"] < 0
    assert found[1, 2, 3] is None and found[10,] is None
    assert notes == [
        "1-3 against control none: not compared, since no such row has prompting plain",
        "10 against control none: not compared, since no such row has prompting plain",
    ]


def test_several_keys_choose_one_reference(grid, capsys):
    words = ("--against", "tuning=zero-shot", "--against", "modalities=t", "--against", "prompting.name=plain")
    [table], _ = tables(capsys, grid, *words)
    # A model that was not trained stands beside every seed of the others.
    assert [(row["difference"] or {}).get("against") for row in table["rows"]] == [[10], [10], [10], None, [10]]
    assert [(row["difference"] or {}).get("num_seeds") for row in table["rows"]] == [3, 3, 3, None, 1]


def test_a_difference_is_shown_beside_what_it_is_of(grid, capsys):
    out, _, end = report(capsys, grid, "--against", "prompting=plain", "--metrics", "accuracy")
    assert end == ""
    assert len(re.findall(r"\[[+-]0\.\d{4}, [+-]0\.\d{4}\] +[01]\.\d{4} *$", out, re.MULTILINE)) == 4, "one was cut"
    line = next(line for line in out.splitlines() if re.match(r" +4-6 .*0\.7000", line))
    assert re.search(r"0\.7000 ± 0\.0250 +\+0\.1500 +\[\+0\.\d{4}, \+0\.\d{4}\]", line)
    assert len(re.findall(r"(?m)^ +(?:1-3|10) .* reference", out)) == 2
    assert (
        "difference of demo.emotion: accuracy minus that of the row with prompting plain that is else the same" in out
    )
    cues = records(capsys, grid, "--against", "prompting=plain", "--metrics", "accuracy")[1]
    assert float(cues["difference"]) == pytest.approx(0.15)
    assert float(cues["difference_low"]) < 0.15 < float(cues["difference_high"])
    assert (cues["difference_clips"], cues["difference_groups"], cues["difference_num_seeds"]) == ("40", "12", "3")
    assert [Path(folder).name for folder in cues["difference_against"].split(";")] == ["01", "02", "03"]
    for how, cell in (("markdown", r"(?<!\\)\|"), ("latex", r"(?<!\\)&")):
        out, _, end = report(capsys, grid, "--against", "prompting=plain", "--format", how)
        lines = [line for line in out.splitlines() if re.match(r"\|| .*\\\\$", line)]
        assert end == "" and len(lines) >= 12
        counts = [len(re.findall(cell, line)) for line in lines]
        assert len(set(counts)) == 4 and counts.count(min(counts)) == (5 if how == "markdown" else 4), (
            "the results, the controls, the audit, and the cost, which is narrowest"
        )
    assert r"{[}$+0." in out and r"95\% interval" in out


def test_the_metric_that_is_asked_for_first_is_compared(make, capsys, tmp_path):
    make("a", correct=20)
    make("b", *IN_WORDS, correct=30)
    words = (tmp_path / "out", "--against", "prompting=plain")
    [table], _ = tables(capsys, *words, "--metrics", "uar,accuracy")
    assert table["compared"] == "uar" and table["rows"][1]["difference"]["mean"] == pytest.approx(0.25)
    [table], notes = tables(capsys, *words, "--metrics", "majority.uar")
    assert table["compared"] is None and table["rows"][1]["difference"] is None
    [said] = notes
    assert said.startswith("demo.emotion has no differences: majority.uar is not compared; give one of accuracy, weig")
    make("c", "datasets.demo.tasks=[sentiment]", correct=20)
    make("d", *IN_WORDS, "datasets.demo.tasks=[sentiment]", correct=30)
    (tmp_path / "out" / "d" / "leak.json").unlink()  # which tells of emotions alone
    out, _, _ = report(capsys, *words, "--where", "datasets.demo.tasks=[sentiment]")
    assert "difference of demo.sentiment: mae (lower is better) minus that of" in out and "-0.2500 " in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["prompting"], "--against prompting has no =: write --against KEY=VALUE, as in prompting=plain"),
        (
            ["prompting=plian"],
            "--against prompting.name=plian: no row has that: choose of knowledge, plain",
        ),
        (
            ["promptin=plain"],
            "--against promptin=plain: no run has the key 'promptin', did you mean 'prompting'? Rows differ in"
            " tuning, modalities, prompting.name, knowledge.source, knowledge.control",
        ),
        (["seed=1"], "--against seed=1: no run has the key 'seed'. Rows differ in tuning, "),
        (
            ["prompting=plain", "prompting.name=knowledge"],
            "--against has prompting.name twice, and a reference has one value of it: leave one out",
        ),
        (
            ["prompting=plain", "knowledge.control=none"],
            "--against knowledge.control=none: no row has that beside the others: choose of another key",
        ),
        (
            ["model=smollm2"],
            "--against model=smollm2: every row has that, so that none is left to compare: name what rows differ in",
        ),
    ],
)
def test_a_reference_that_cannot_be_is_refused(make, capsys, tmp_path, words, sentence):
    make("a", "modalities=tav")
    make("b", "modalities=tav", *CUES)
    make("c", "modalities=tav", *SHUFFLED)
    make("d", evaluate=True)
    out, _, end = report(capsys, tmp_path / "out", *(word for one in words for word in ("--against", one)))
    assert end.startswith(sentence) and out == ""


def test_options_that_do_not_go_together_are_refused(make, capsys):
    a = make("a")
    _, _, end = report(capsys, a, "--against", "prompting=plain", "--each")
    assert end == "--against compares settings, and --each shows single runs: leave one out"


def test_of_several_references_the_nearest_is_taken(make, capsys, tmp_path):
    for rank in (4, 8):
        make(f"p{rank}", f"finetuning.rank={rank}", correct=rank)
        make(f"k{rank}", *IN_WORDS, f"finetuning.rank={rank}", correct=20)
    [table], _ = tables(capsys, tmp_path / "out", "--against", "prompting=plain")
    against = {tuple(row["runs"]): row["difference"] and row["difference"]["against"] for row in table["rows"]}
    assert against == {(1,): [3], (2,): [4], (3,): None, (4,): None}
    [table], _ = tables(capsys, tmp_path / "out", "--against", "prompting=plain", "--against", "finetuning.rank=4")
    assert [row["difference"] and row["difference"]["against"] for row in table["rows"]] == [[3], [3], None, [3]]


def test_references_that_are_equally_near_are_named(make, capsys, tmp_path):
    """Wording of the transcript is the group's, so that it does not part rows of different prompting."""
    make("p1", "prompting.transcript.en='{text} A'")
    make("p2", "prompting.transcript.en='{text} B'")
    make("k", *IN_WORDS, "prompting.transcript.en='{text} C'")
    [table], notes = tables(capsys, tmp_path / "out", "--against", "prompting=plain")
    assert [row["difference"] for row in table["rows"]] == [None, None, None]
    assert notes == [
        "1 against prompting plain: not compared, since 2 and 3 are equally like it: add --against"
        " prompting.transcript.en={text} A or the like"
    ]
    words = ("--against", "prompting=plain", "--against", "prompting.transcript.en={text} A")
    [table], _ = tables(capsys, tmp_path / "out", *words)
    assert [row["difference"] and row["difference"]["against"] for row in table["rows"]] == [[2], None, [2]]


def test_seeds_of_one_side_alone_are_left_out_and_named(make, capsys, tmp_path):
    for seed in (1, 2):
        make(f"p{seed}", f"seed={seed}", correct=20)
    for seed in (2, 3):
        make(f"k{seed}", *IN_WORDS, f"seed={seed}", correct=20 + seed)
    [table], notes = tables(capsys, tmp_path / "out", "--against", "prompting=plain", "--metrics", "accuracy")
    [found] = [row["difference"] for row in table["rows"] if row["difference"]]
    assert (found["num_seeds"], found["mean"]) == (1, pytest.approx(2 / 40))
    assert notes[0] == "1-2 against 3-4: left out is 2-3, of seeds that only one side has"
    _, notes = tables(capsys, *(tmp_path / "out" / name for name in ("p1", "k3")), "--against", "prompting=plain")
    assert notes[-1] == "2 against 1: not compared, since they have no seed in common: run both with the same"


def test_clips_of_one_side_alone_are_left_out_and_counted(make, capsys, tmp_path):
    make("a", num=40, correct=40)
    make("b", *IN_WORDS, num=40, correct=20)
    files = [tmp_path / "out" / name / "predictions.jsonl" for name in ("a", "b")]
    whole = files[0].read_text().splitlines(keepends=True)
    files[0].write_text("".join(whole[10:]))  # all of a's are right, whichever are there
    [table], notes = tables(capsys, tmp_path / "out", "--against", "prompting=plain", "--metrics", "accuracy")
    assert (table["rows"][1]["difference"]["clips"], table["rows"][1]["difference"]["mean"]) == (30, 10 / 30 - 1)
    assert "2 against 1: compared on the 30 clips that all runs have scored, of up to 40" in notes
    files[1].write_text("".join(files[1].read_text().splitlines(keepends=True)[10:]))
    _, _, end = report(capsys, tmp_path / "out", "--against", "prompting=plain", "--metrics", "accuracy")
    assert end == (
        f"{files[1]} gives accuracy=0.333333 of demo.emotion, and metrics.json has 0.500000: restore the two files, or"
        " evaluate again"
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read (No such file or directory): is"),
        ("{}\n", "line 1 is not a prediction"),
        ("", "has no prediction of demo.emotion that has a label: restore the file, or evaluate again"),
    ],
)
def test_predictions_that_cannot_be_compared_are_named(make, capsys, tmp_path, content, why):
    make("a")
    damaged = make("b", *IN_WORDS) / "predictions.jsonl"
    make("c", *IN_WORDS, "knowledge.control=empty", correct=18)
    damaged.unlink()
    if content is not None:
        damaged.write_text(content)
    out, _, end = report(capsys, tmp_path / "out", "--against", "prompting=plain")
    assert end.startswith(str(damaged)) and why in end
    assert len(re.findall(r"(?m)^ +3 .*\[", out)) >= 1, "the other row is compared all the same"


def test_predictions_of_other_labels_are_named(make, capsys, tmp_path):
    make("a")
    damaged = make("b", *IN_WORDS) / "predictions.jsonl"
    damaged.write_text(damaged.read_text().replace('"lenient": "neutral"', '"lenient": "boredom"'))
    _, _, end = report(capsys, tmp_path / "out", "--against", "prompting=plain")
    assert end.startswith(f"{damaged} is not of demo.emotion (values[0] is 'boredom', which is not one of the labels")


# ---------------------------------------------------------------- what is a setting


def test_where_descriptions_lie_and_who_made_them_unseen_is_no_setting(make, capsys, tmp_path):
    make("a", "modalities=tav", *CUES, "knowledge.store=/here")
    make("b", "modalities=tav", *CUES, "knowledge.make=false", "knowledge.splits=[test]", "seed=2")
    make("c", "modalities=tav", *CUES, "prompting.descriptions_without_media=true", "seed=3")
    make("p1", "knowledge=cues")
    make("p2", "seed=2", "knowledge=none")
    [table], _ = tables(capsys, tmp_path / "out", "--where", "prompting=knowledge")
    assert [row["runs"] for row in table["rows"]] == [[1, 2, 3]]
    [table], _ = tables(capsys, tmp_path / "out", "--where", "prompting=plain")
    assert [row["runs"] for row in table["rows"]] == [[1, 2]]


def test_which_descriptions_are_shown_is_a_setting(make, capsys, tmp_path):
    make("a", "modalities=ta", *CUES)
    make("b", "modalities=ta", *CUES, "prompting.descriptions_without_media=true")
    make("c", "modalities=ta", *CUES, "prompting.descriptions=[audio]", "seed=2")
    [table], _ = tables(capsys, tmp_path / "out")
    assert [(row["runs"], row["setting"]) for row in table["rows"]] == [
        ([1, 3], {"prompting.descriptions": "[audio]"}),
        ([2], {"prompting.descriptions": "[audio,video]"}),
    ]


def test_a_control_at_evaluation_is_not_one_in_training(make, capsys, tmp_path):
    trained = make("a", "modalities=tav", *CUES, "evaluation.split=val")
    for name, control in (("b", "none"), ("c", "shuffled")):
        make(name, "modalities=tav", *CUES, f"knowledge.control={control}", f"run={trained}", evaluate=True)
    make("d", "modalities=tav", *SHUFFLED)
    make("e", "modalities=tav", *SHUFFLED, "knowledge.control_split=test", "seed=2")
    [table], _ = tables(capsys, tmp_path / "out", "--where", "evaluation.split=test")
    assert [(row["runs"], row["setting"]) for row in table["rows"]] == [
        ([1], {"knowledge.control": "none", "training.knowledge.control": "none"}),
        ([2, 4], {"knowledge.control": "shuffled", "training.knowledge.control": "none"}),
        ([3], {"knowledge.control": "shuffled", "training.knowledge.control": "shuffled"}),
    ]


def test_a_control_is_never_hidden_behind_what_it_is_of(make, capsys, tmp_path):
    make("a", "modalities=tav")
    make("b", "modalities=tav", *SHUFFLED)
    [table], _ = tables(capsys, tmp_path / "out")
    assert [row["setting"]["knowledge.control"] for row in table["rows"]] == [None, "shuffled"]
    make("b", "modalities=tav", *CUES)
    [table], _ = tables(capsys, tmp_path / "out")
    assert "knowledge.control" not in table["settings"]


# ---------------------------------------------------------------- cost and audit


def test_cost_and_audit_are_told_for_every_setting_with_descriptions(make, capsys, tmp_path):
    make("a", "modalities=tav")
    tell(make("b", "modalities=tav", *CUES), tokens=50, predicted=0.5)
    tell(make("c", "modalities=tav", *CUES, "seed=2"), tokens=60, predicted=0.25)
    [table], _ = tables(capsys, tmp_path / "out")
    plain, cues = table["rows"]
    assert plain["cost"] is None and plain["audits"] == []
    assert cues["cost"] == {"tokens_per_prompt": 55, "share_of_text_tokens": 0.4, "seconds_per_clip": 0.05}
    assert [audit["of"] for audit in cues["audits"]] == ["audio", "all"]
    audit = cues["audits"][0]
    assert (audit["measure"], audit["predicted"], audit["masked"], audit["baseline"]) == ("uar", 0.375, 0.375, 0.1667)
    assert audit["right"] == {"gold": pytest.approx(0.9), "both": None, "other": 0.2, "none": 0.4}
    out, _, end = report(capsys, tmp_path / "out", "--against", "prompting=plain")
    assert end == "" and "Results, demo.emotion, cost of descriptions: split test" in out
    assert re.search(r"(?m)^ +2-3 +knowledge .*55\.0 +40\.0% +0\.050 +\+0\.0000 +\[\+0\.0000, \+0\.0000\]", out)
    assert "Results, demo.emotion, leak audit: all splits of a training, test of an evaluation" in out
    line = r"audio +120 +10\.0% \(0\.90\) +0\.0% +25\.0% \(0\.20\) +65\.0% \(0\.40\) +0\.3750 +0\.3750 +0\.1667"
    assert re.search(rf"(?m)^ +2-3 +knowledge .*{line}", out)
    assert "leak audit: share of descriptions that name only the right label (gold)" in out
    assert records(capsys, tmp_path / "out")[1]["tokens_per_prompt"] == "55.0"


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("leak.json", None, "No such file or directory"),
        ("leak.json", "{", "Expecting property name"),
        ("leak.json", "{}", "it lacks 'demo.emotion'"),
        ("leak.json", "[]", "list indices must be integers"),
        ("knowledge.json", None, "No such file or directory"),
        ("knowledge.json", '{"cost": {"val": {}}}', "it lacks 'test'"),
    ],
)
def test_an_account_that_is_missing_or_damaged_is_named(make, capsys, tmp_path, file, content, why):
    make("a", "modalities=tav", *CUES)
    damaged = make("b", "modalities=tav", *CUES, "seed=2") / file
    damaged.unlink()
    if content is not None:
        damaged.write_text(content)
    out, _, end = report(capsys, tmp_path / "out")
    assert re.match(
        rf"{damaged} cannot be used \({why}.*\), so its row has no cost and audit of descriptions: restore the", end
    )
    gone, kept = ("leak audit:", "cost of d") if file == "leak.json" else ("cost of d", "leak audit:")
    assert f", {gone}" not in out and f", {kept}" in out


def test_clips_of_a_single_group_have_an_audit_without_predictions(make, capsys, tmp_path):
    folder = make("a", "modalities=tav", *CUES)

    def without(found: dict) -> dict:
        found["demo.emotion"]["baseline"] = None
        for told in found["demo.emotion"]["descriptions"].values():
            told |= dict.fromkeys(("predicted", "masked", "by_named"))
        return found

    change(folder / "leak.json", without)
    out, _, end = report(capsys, folder)
    assert end == "" and re.search(r"(?m)^.* audio +120 +10\.0% +0\.0% +25\.0% +65\.0% +- +- +- *$", out)
