"""Scoring predictions that were made elsewhere: what is matched, what is counted, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.metrics import f1_score

from affect.config import ConfigError, DataError, Kind
from affect.evaluation.external import score
from affect.prompting.thoughts import UNCLOSED

ROOT = Path(__file__).resolve().parents[2]

CLIPS = """id,clip,text,mood,level,feelings,split
a1,,Hello,happy,1.0,"joy, fear",test
a2,,No,sad,-0.5,none,test
a3,,Well,neutral,0.0,fear,test
a4,,Oh,happy,,joy,test
b1,,Train,sad,0.2,joy,train
"""

DEFINED = """{
  mood: {kind: classification, labels: [happy, sad, neutral], headline: uar, dialects: [meld], question: {en: "Mood?"}},
  level: {kind: intensity, low: -1, high: 1, step: 0.1, headline: mmsa_sims.acc2, dialects: [mmsa_sims],
          question: {en: "Level?"}}}"""


@pytest.fixture
def cfg(configure, tmp_path):
    """`cfg(*words)`: the configuration of a small dataset `manifest` with the tasks mood and level."""
    table = tmp_path / "clips.csv"
    table.write_text(CLIPS, encoding="utf-8")

    def made(*words):
        return configure(
            "dataset=manifest",
            f"datasets.manifest.root={table}",
            "datasets.manifest.options.require_clips=false",
            "datasets.manifest.options.labels=[mood,level]",
            f"+datasets.manifest.task_definitions={' '.join(DEFINED.split())}",
            "datasets.manifest.tasks=[mood]",
            *words,
            program="score",
        )

    return made


@pytest.fixture
def table(tmp_path):
    def written(text, name="predictions.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return written


LEVEL = "datasets.manifest.tasks=[level]"


def test_labels_come_from_the_dataset_and_ids_may_be_short(cfg, table):
    path = table("id,prediction\na1,Happy.\nmanifest/test/a2,It sounds happy\na3, neutral \na4,sad\n")
    result = score(path, cfg(), "test")
    found = result["tasks"]["mood"]
    # happy: 1 right of 2 gold and 2 named; sad 0 of 1 and 1; neutral 1 of 1 and 1.
    assert found["headline"] == "uar" and found["value"] == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert found["policies"]["strict"]["meld.weighted_f1"]["value"] == pytest.approx((2 * 1 / 2 + 0 + 1) / 4)
    assert found["policies"]["strict"]["meld.f1_neutral"]["value"] == 1.0
    assert found["signature"] == (
        "uar|rows:4/4|used:4|scored:4|unreadable:0|policy:strict|readout:file|reader:lenient|affect:0.1.0"
    )
    assert found["ledger"]["outcomes"]["valid"] == 4 and found["ledger"]["readable_exact"] == 3
    assert result["notes"] == []
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_the_reader_of_the_configuration_is_used(cfg, table):
    path = table("id,prediction\na1,Happy.\na2,It sounds happy\na3, neutral \na4,sad\n")
    found = score(path, cfg("evaluation.reader=exact"), "test")["tasks"]["mood"]
    assert found["reader"] == "exact" and "|unreadable:1|" in found["signature"]


def test_jsonl_numbers_in_any_spelling_and_out_of_range(cfg, table):
    rows = [{"id": "a1", "prediction": 2.5}, {"id": "a2", "prediction": -1e-05}, {"id": "a3", "prediction": "0,4"}]
    path = table("".join(json.dumps(row) + "\n" for row in rows), "predictions.jsonl")
    result = score(path, cfg(LEVEL), "test")
    found = result["tasks"]["level"]
    # 2.5 is clipped to 1 by the dialect, not by the plain metric. The fourth record has no gold label.
    assert found["policies"]["strict"]["mae"]["value"] == pytest.approx((1.5 + 0.49999 + 0.4) / 3)
    assert found["policies"]["strict"]["mmsa_sims.mae"]["value"] == pytest.approx((0 + 0.49999 + 0.4) / 3, abs=1e-6)
    assert found["value"] == pytest.approx(2 / 3)
    assert found["ledger"]["outcomes"] | {"valid": 2, "out_of_range": 1} == found["ledger"]["outcomes"]
    assert found["ledger"]["unlabelled"] == 1


def test_thoughts_in_answers_do_not_count_and_unclosed_ones_are_counted_with_the_reason(cfg, table):
    path = table(
        "id,prediction,target\n"
        'x1,"<think>Happy or neutral? The voice is flat.</think>sad",sad\n'
        'x2,"<think>This could be happy.</think>She is sad.",sad\n'
        'x3,"</think>\n\nneutral",neutral\n'
        'x4,"could be happy</think>sad",happy\n'
        'x5,"<think>This could be happy",happy\n'
    )
    result = score(path, cfg(), "test")
    found = result["tasks"]["mood"]
    assert found["ledger"]["outcomes"]["valid"] == 4 and found["ledger"]["outcomes"]["no_label"] == 1
    assert found["ledger"]["errors"] == {UNCLOSED: 1} and found["ledger"]["unreadable_ids"] == {"no_label": ["x5"]}
    # Right are x1 to x3; of exact readings x2 is none.
    assert found["policies"]["strict"]["accuracy"]["value"] == pytest.approx(3 / 5)
    assert found["ledger"]["readable_exact"] == 3
    assert any(UNCLOSED in note for note in result["notes"])


def test_what_is_missing_or_not_read_is_counted_and_said(cfg, table):
    path = table("id,prediction\na1,hapy\na2,\na3,happy or sad\n")
    result = score(path, cfg(), "test")
    found = result["tasks"]["mood"]
    assert found["ledger"]["outcomes"] == dict.fromkeys(found["ledger"]["outcomes"], 0) | {
        "no_label": 1,
        "several_labels": 1,
        "empty": 1,
        "error": 1,
    }
    assert found["ledger"]["errors"] == {"no row in predictions.csv": 1}
    assert found["ledger"]["unreadable_ids"]["error"] == ["manifest/test/a4"]
    assert (found["ledger"]["expected"], found["ledger"]["used"]) == (4, 3)
    assert result["notes"] == [
        "1 of 4 records of manifest, split 'test', have no row for task 'mood' in predictions.csv: they count as"
        " unreadable (outcome `error`)",
        "1 predictions name no label of task 'mood' (happy, sad, neutral), the first in predictions.csv, row 2: 'hapy'"
        " (did you mean 'happy'?): they count as unreadable",
    ]
    assert [found["policies"][policy]["n"] for policy in ("strict", "exclude", "fallback")] == [4, 0, 4]
    assert found["policies"]["exclude"]["uar"]["value"] is None
    # Always happy is right for two of the four.
    assert found["policies"]["fallback"]["accuracy"]["value"] == 0.5 and found["fallback_answer"] == "happy"


def test_targets_of_the_file_need_no_dataset(cfg, table):
    path = table("id,prediction,target\nx,happy,happy\ny,sad,neutral\nz,sad,\n")
    found = score(path, cfg("datasets.manifest.root=nowhere.csv"), "test")["tasks"]["mood"]
    gold, read = ["happy", "neutral"], ["happy", "sad"]
    assert found["policies"]["strict"]["weighted_f1"]["value"] == pytest.approx(
        f1_score(gold, read, average="weighted")
    )
    assert (found["ledger"]["scored"], found["ledger"]["unlabelled"], found["ledger"]["expected"]) == (2, 1, 3)


def test_labels_that_nobody_declared_are_those_of_the_targets(cfg, table):
    path = table("id,prediction,target\nx,yes,yes\ny,no,yes\nz,no,no\n")
    configured = cfg()
    configured.datasets["manifest"].task_definitions["mood"].labels = []
    assert score(path, configured, "test")["tasks"]["mood"]["labels"] == ["no", "yes"]


def test_several_tasks_stand_in_a_column(cfg, table):
    path = table("id,task,prediction\na1,mood,happy\na1,level,1.0\na2,level,-1\na3,level,0\na4,level,0\n")
    both = cfg("datasets.manifest.tasks=[mood,level]")
    result = score(path, both, "test")
    assert set(result["tasks"]) == {"mood", "level"} and result["tasks"]["level"]["value"] == 1.0
    assert ["have no row for task 'mood'" in note for note in result["notes"]] == [True]
    result = score(table("id,task,prediction\na1,mood,happy\n"), both, "test")
    assert "task 'level' of manifest has no row in predictions.csv: it is not scored" in result["notes"]
    with pytest.raises(
        DataError, match=r"no column 'task', and 2 tasks are chosen \(mood, level\): add the column, or"
    ):
        score(table("id,prediction\na1,happy\n"), both, "test")
    with pytest.raises(
        DataError, match=r"row 2: the task 'mod' is not one of mood, level \(did you mean 'mood'\?\): cor"
    ):
        score(table("id,task,prediction\na1,mod,happy\n"), both, "test")


def test_lists_of_labels_are_scored(cfg, table):
    configured = cfg()
    task = configured.datasets["manifest"].task_definitions["mood"]
    task.kind, task.labels, task.dialects, task.headline = Kind.multi_label, ["joy", "fear"], [], "micro_f1"
    path = table('id,prediction,target\nx,"joy, fear",joy\ny,none,none\nz,fear,"fear, joy"\n')
    found = score(path, configured, "test")["tasks"]["mood"]
    # 2 right of 3 gold and 3 named.
    assert found["value"] == pytest.approx(2 / 3)
    assert found["policies"]["strict"]["subset_accuracy"]["value"] == pytest.approx(1 / 3)
    with pytest.raises(
        DataError, match=r"row 2: the target 'calm' is not a list of joy, fear: part the labels by commas"
    ):
        score(table("id,prediction,target\nx,joy,calm\n"), configured, "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"predictions\.csv is empty"),
        ("id,prediction\n", r"predictions\.csv has a header but no rows"),
        (
            "id,predicton\na1,sad\n",
            r"has no column 'prediction' \(did you mean 'predicton'\?\); it has: id, predicton\.",
        ),
        ("clip,label\na1,sad\n", r"has no column 'id' and no 'prediction'; it has: clip, label\. Remedy: rename"),
        (
            "id,prediction\na1,sad\nmanifest/test/a44,sad\nzz,sad\n",
            r"\.csv: 2 of 3 ids are no record's of manifest/test, the first in row 3: 'manifest/test/a44' \(did you",
        ),
        (
            "id,prediction\na1,sad\nmanifest/test/a1,happy\n",
            r"row 3: has the id 'manifest/test/a1' of predictions\.csv, row 2: keep one prediction for each record",
        ),
        (
            "id,prediction,target\nx,sad,sadd\n",
            r"row 2: the target 'sadd' is not one of .* \(did you mean 'sad'\?\): corr",
        ),
        ("id,prediction,target\nx,sad,sad\nx,sad,sad\n", r"row 3: has the id 'x' of predictions\.csv, row 2"),
        ("id,prediction\na1\n", r"row 2: has 1 cells where the header has 2"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(cfg, table, text, message):
    with pytest.raises(DataError, match=message):
        score(table(text), cfg(), "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "id,prediction\na1,nan\n",
            r"row 2: the prediction 'nan' is not a finite number: leave the cell empty where there",
        ),
        ("id,prediction\na1,-inf\n", "the prediction '-inf' is not a finite number"),
        ("id,prediction,target\nx,1,NaN\n", r"row 2: the target 'NaN' is not a number: correct it, or leave the cell"),
        ("id,prediction,target\nx,1,high\n", r"row 2: the target 'high' is not a number"),
    ],
)
def test_a_number_that_is_none_is_refused(cfg, table, text, message):
    with pytest.raises(DataError, match=message):
        score(table(text), cfg(LEVEL), "test")


def test_a_file_that_is_not_there_and_two_datasets_are_refused(cfg, tmp_path):
    with pytest.raises(DataError, match=r"none\.csv does not exist: name the table of predictions, predictions=FILE"):
        score(tmp_path / "none.csv", cfg(), "test")
    configured = cfg()
    configured.datasets["other"] = configured.datasets["manifest"]
    with pytest.raises(
        ConfigError, match=r"dataset=manifest\+other is 2 datasets, but a file has the predictions of one"
    ):
        score(tmp_path / "none.csv", configured, "test")


def test_the_command_prints_json_and_never_imports_torch(tmp_path):
    (tmp_path / "clips.csv").write_text("id,clip,text,label,split\n1,,Hi,yes,test\n2,,Hm,no,test\n3,,Oh,yes,train\n")
    (tmp_path / "clips.csv").open("a").write("4,,Oh,no,train\n")
    (tmp_path / "predictions.csv").write_text("id,prediction\n1,yes\n")
    words = [
        f"predictions={tmp_path / 'predictions.csv'}",
        "dataset=manifest",
        f"datasets.manifest.root={tmp_path / 'clips.csv'}",
        "datasets.manifest.options.require_clips=false",
    ]
    code = (
        "import atexit, runpy, sys\n"
        "atexit.register(lambda: print(sorted({'torch', 'transformers', 'av'} & set(sys.modules)), file=sys.stderr))\n"
        f"sys.argv = ['affect', 'score', *{words!r}]\n"
        "runpy.run_module('affect', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["tasks"]["label"]["policies"]["strict"]["accuracy"]["value"] == 0.5
    # The labels are those of the training rows, and saying so does not spoil the JSON.
    assert "declares no labels" in done.stderr and "have no row" in done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
