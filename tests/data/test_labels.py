"""Label cells of tables from spreadsheets and pandas, in annotations and in predictions made elsewhere."""

import json

import pytest
from dataset_fixtures import read_split as read

from affect.config import Config, DataError, DatasetConfig, Kind, Task
from affect.data import SPLITS
from affect.data.labels import closed_set, in_spelling_of, is_missing, several
from affect.data.loading import read as parts_of
from affect.evaluation.external import score

MISSING = [
    "nan",
    "NaN",
    "None",
    "NONE",
    "none",
    "NULL",
    "null",
    "<NA>",
    "#N/A",
    "N/A",
    "NaT",
    "-nan",
    "#REF!",
    "#DIV/0!",
]


@pytest.fixture
def cfg(configure, tmp_path):
    """`cfg(labels by split, *words)`: the configuration of a manifest with these label cells."""

    def made(cells: dict[str, list[str]], *words: str, program="evaluate", suffix=".csv") -> Config:
        rows = [(f"words {split} {n}", cell, split) for split in SPLITS for n, cell in enumerate(cells[split])]
        path = tmp_path / f"clips{suffix}"
        if suffix == ".jsonl":
            lines = [json.dumps(dict(zip(("text", "label", "split"), row, strict=True))) for row in rows]
        else:
            lines = ["text,label,split", *(f'{text},"{cell}",{split}' for text, cell, split in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return configure(
            "dataset=manifest",
            "modalities=t",
            f"datasets.manifest.root={path}",
            "datasets.manifest.options.require_clips=false",
            *words,
            program=program,
        )

    return made


def several_labels(config: DatasetConfig, *labels: str) -> Task:
    task = config.task_definitions["label"]
    task.kind, task.labels, task.headline = Kind.multi_label, list(labels), "micro_f1"
    return task


def test_cells_that_mean_that_there_is_none():
    assert all(map(is_missing, MISSING))
    assert not any(map(is_missing, ["", "joy", "nano", "#joy", "nothing", "0", "Nanna"]))


def test_one_number_is_one_label():
    assert closed_set(["1", "1.0", "01", "0", "-1", "joy", "nan"]) == ["-1", "0", "1", "joy", "nan"]
    assert closed_set(["01", "02", "02"]) == ["01", "02"] and closed_set(["1.0", "2.0"]) == ["1.0", "2.0"]
    assert [in_spelling_of(cell, ["0", "1"]) for cell in ("1", "1.0", "01", "+1", "2", "nan", "1_0", "joy")] == [
        *["1"] * 4,
        *[None] * 4,
    ]
    assert in_spelling_of("01", ["1", "01"]) == "01" and in_spelling_of("1.0", ["1", "01"]) is None


@pytest.mark.parametrize("cell", MISSING)
def test_a_program_s_word_for_nothing_is_no_class(cfg, cell):
    config = cfg({"train": ["joy", "anger", cell, cell], "val": ["joy"], "test": ["joy"]})
    with pytest.raises(DataError) as caught:
        parts_of(config, ["test"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 3 and lines[0] == (
        f"clips.csv, row 4: the label '{cell}' of task 'label' is what pandas and spreadsheets write for an empty cell:"
        f" write the label, or leave the cell empty where there is none, or declare '{cell}' under"
        " task_definitions.label.labels if it is a label"
    )
    assert lines[1].startswith("clips.csv, row 5: ") and "on_bad_rows=exclude" in lines[2]
    config.datasets["manifest"].task_definitions["label"].labels = ["joy", "anger", cell]  # declared, it is a label
    assert [r.labels["label"] for r in read("manifest", config.datasets["manifest"], "train")[0]][2:] == [cell, cell]


def test_what_json_has_instead_of_a_label(cfg):
    config = cfg({"train": ["joy", "anger", float("nan")], "val": ["joy"], "test": ["joy"]}, suffix=".jsonl")
    with pytest.raises(DataError, match=r"clips.jsonl, row 3: the label 'NaN' of task 'label' is what pandas"):
        parts_of(config, ["test"])
    config = cfg({"train": ["joy", "anger", None], "val": ["joy"], "test": ["joy"]}, suffix=".jsonl")
    assert read("manifest", config.datasets["manifest"], "train")[0][2].labels == {}


def test_numbers_are_one_class_over_splits_and_files(cfg):
    config = cfg({"train": ["1.0", "0", "1.0"], "val": ["1", "0.0"], "test": ["01", "0"]})
    parts = parts_of(config, list(SPLITS))
    assert config.datasets["manifest"].task_definitions["label"].labels == ["0", "1.0"]
    found = {part.split: [r.labels["label"] for r in part.records] for part in parts}
    assert found == {"train": ["1.0", "0", "1.0"], "val": ["1.0", "0"], "test": ["1.0", "0"]}
    config = cfg({"train": ["1", "0", "1.0"], "val": ["1"], "test": ["0"]})
    assert [r.labels["label"] for r in parts_of(config, ["train"])[0].records] == ["1", "0", "1"]


def test_a_decimal_comma_is_named(cfg):
    config = cfg({split: ["0,5"] for split in SPLITS})
    task = Task(name="label", kind=Kind.intensity, low=-1, high=1, step=0.1)
    config.datasets["manifest"].task_definitions["label"] = task
    with pytest.raises(DataError, match=r"the label '0,5' .* -1 to 1: write it with a decimal point, 0\.5"):
        read("manifest", config.datasets["manifest"], "train")


# ---------------------------------------------------------------- several labels, or that none applies


def test_lists_of_labels():
    task = Task(name="label", kind=Kind.multi_label, labels=["joy", "fear"], none={"zh": "无"})
    assert several(" ", task, "en") is None
    for cell in ("none", "[]", '["none"]'):
        assert several(cell, task, "en") == ()
    assert several("无", task, "zh") == () and several("无", task, "en") == ("无",)
    for cell in ("joy|fear", "joy | fear", '["joy", "fear"]', "['joy', 'fear']"):
        assert several(cell, task, "en") == ("joy", "fear")
    # A word of the set is that label; and what is no list is left as it stands, to be refused.
    assert several("none", Task(kind=Kind.multi_label, labels=["none", "joy"]), "en") == ("none",)
    assert several("[joy", task, "en") == ("[joy",) and several("[1, 2]", task, "en") == ("[1, 2]",)
    assert len(several("[" * 100_000 + "]", task, "en")) == 1


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_that_no_label_applies_is_a_label(cfg, suffix):
    cells = ["joy|fear", "none", "", "[]"] if suffix == ".csv" else [["joy", "fear"], [], None, "none"]
    config = cfg(dict.fromkeys(SPLITS, cells), suffix=suffix)
    several_labels(config.datasets["manifest"], "joy", "fear")
    [part] = parts_of(config, ["test"])
    assert [r.labels for r in part.records] == [{"label": ("fear", "joy")}, {"label": ()}, {}, {"label": ()}]


def test_a_missing_list_is_not_an_empty_one(cfg):
    config = cfg({split: ["joy", "None", "joy|None", "nan"] for split in SPLITS})
    several_labels(config.datasets["manifest"], "joy", "fear")
    with pytest.raises(DataError) as caught:
        read("manifest", config.datasets["manifest"], "train")
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == [f"clips.csv, row {row}" for row in (3, 4, 5)]
    assert all(
        "write the label, or leave the cell empty where there is none; where none of the labels applies, write none"
        in line
        for line in lines[:-1]
    )


def test_a_list_is_no_label_of_a_classification(cfg):
    config = cfg({split: [["joy"], "anger"] for split in SPLITS}, suffix=".jsonl")
    config.datasets["manifest"].task_definitions["label"].labels = ["joy", "anger"]
    with pytest.raises(DataError, match=r"""clips.jsonl, row 1: the label '\["joy"\]' .* is not one of joy, anger"""):
        read("manifest", config.datasets["manifest"], "train")


# ---------------------------------------------------------------- predictions made elsewhere


def scored(config: Config, tmp_path, text: str, name: str = "predictions.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return score(path, config, "test")["tasks"]["label"]


def test_predictions_of_numbers_as_pandas_writes_them(cfg, tmp_path):
    config = cfg({"train": ["1", "0"], "val": ["1"], "test": ["1", "0", "1"]}, program="score")
    found = scored(config, tmp_path, "id,prediction\n5,1.0\n6,0.0\n7,0\n")
    assert found["labels"] == ["0", "1"] and found["confusion"] == [[1, 0, 0], [1, 1, 0]]
    assert found["ledger"]["readable_exact"] == found["ledger"]["readable_lenient"] == 3
    config = cfg({"train": ["1", "0"], "val": ["1"], "test": ["1"]}, program="score")
    own = scored(config, tmp_path, "id,prediction,target\n1,1.0,1\n2,0,0.0\n3,1,1.0\n")
    assert own["labels"] == ["0.0", "1"] and own["confusion"] == [[1, 0, 0], [0, 2, 0]]


@pytest.mark.parametrize("cell", ["nan", "None", "<NA>", "#N/A"])
def test_targets_that_are_none(cfg, tmp_path, cell):
    config = cfg({"train": ["joy", "anger"], "val": ["joy"], "test": ["joy"]}, program="score")
    with pytest.raises(
        DataError, match=rf"predictions.csv, row 3: the target '{cell}' is what pandas and spreadsheets"
    ):
        scored(config, tmp_path, f"id,prediction,target\n1,joy,joy\n2,joy,{cell}\n3,joy,anger\n")


def test_predictions_with_another_separator(cfg, tmp_path):
    config = cfg({"train": ["joy", "anger"], "val": ["joy"], "test": ["joy"]}, program="score")
    with pytest.raises(DataError, match=r"predictions.csv is separated by semicolons: its only column contains ';'"):
        scored(config, tmp_path, "\ufeffid;prediction\r\n4;well, joy\r\n")


def test_predictions_that_are_lists(cfg, tmp_path):
    config = cfg({split: ["joy|fear", "none", "fear"] for split in SPLITS}, program="score")
    several_labels(config.datasets["manifest"], "joy", "fear")
    rows = [{"id": "8", "prediction": ["fear", "joy"]}, {"id": "9", "prediction": []}, {"id": 10, "prediction": "fear"}]
    text = "\n".join(map(json.dumps, rows))
    found = scored(config, tmp_path, text, "predictions.jsonl")
    assert found["policies"]["strict"]["subset_accuracy"]["value"] == 1
    assert found["ledger"]["readable_exact"] == 3
    own = '{"id": 1, "prediction": [], "target": []}\n{"id": 2, "prediction": ["joy"], "target": ["joy", "fear"]}\n'
    assert scored(config, tmp_path, own, "predictions.jsonl")["policies"]["strict"]["subset_accuracy"]["value"] == 0.5


# ---------------------------------------------------------------- cells that hold names


@pytest.mark.parametrize("column", ["speaker", "group"])
def test_a_speaker_or_group_that_is_none_is_no_group_of_its_own(configure, tmp_path, column):
    path = tmp_path / "clips.csv"
    path.write_text(f"text,label,{column},split\na,joy,nan,test\nb,joy,NA,test\nc,joy,,test\n", encoding="utf-8")
    words = (f"datasets.manifest.root={path}", "datasets.manifest.options.require_clips=false", "modalities=t")
    config = configure("dataset=manifest", *words).datasets["manifest"]
    with pytest.raises(DataError, match=rf"clips.csv, row 2: the {column} 'nan' in column '{column}' is what pandas"):
        read("manifest", config, "test")
    path.write_text(path.read_text(encoding="utf-8").replace("nan", ""), encoding="utf-8")
    assert [r.group for r in read("manifest", config, "test")[0]] == ["manifest/test/2", "NA", "manifest/test/4"]


def test_labels_of_a_multi_label_task_can_be_those_of_the_training_rows(cfg):
    config = cfg({"train": ["joy|fear", "none", "joy"], "val": ["fear"], "test": ["anger"]})
    task = several_labels(config.datasets["manifest"])
    assert parts_of(config, ["val"])[0].records[0].labels == {"label": ("fear",)}
    assert task.labels == ["fear", "joy"]
    with pytest.raises(DataError, match="the label 'anger' of task 'label' is not one of fear, joy"):
        parts_of(config, ["test"])
