"""on_bad_rows: rows of the annotations that are wrong are refused together, or left out, listed and counted, by every
reader."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from dataset_fixtures import DAMAGES, FIXTURES, append
from dataset_fixtures import read_split as read

from affect.config import DataError
from affect.config.groups import CONF
from affect.data import SPLITS, loading, part
from affect.data.audit.examine import examine
from affect.data.demo_corpus.generate import Settings, generate
from affect.evaluation.external import score
from affect.reports.console import bad_rows
from affect.runs.run_results import write_results
from affect.runs.run_summary import RunSummary

Configure = Callable[..., object]


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def manifest(root: Path) -> None:
    root.mkdir()
    rows = [f",words {n},{'joy' if n % 2 else 'anger'},{split}" for n in range(4) for split in SPLITS]
    (root / "clips.csv").write_text("\n".join(["clip,text,label,split", *rows, ""]), encoding="utf-8")


WRITERS = {name: FIXTURES[name].write for name in FIXTURES} | {
    "manifest": manifest,
    "demo": lambda root: generate(root, Settings(num_train=2, num_val=1, num_test=1)),
}


def test_every_reader_has_a_case():
    assert {reader for reader, _, _ in DAMAGES.values()} == {path.stem for path in (CONF / "dataset").glob("*.yaml")}


LABELS = "datasets.manifest.task_definitions.label.labels=[joy,anger]"


def configured(configure: Configure, name: str, root: Path, *words: str):
    place = root / "clips.csv" if name == "manifest" else root
    lacking = {"mer2023": "av", "manifest": "t"}.get(name, "ta" if name == "ravdess" else "tav")
    return configure(f"dataset={name}", f"modalities={lacking}", f"datasets.{name}.root={place}", *words)


@pytest.mark.parametrize("case", DAMAGES)
def test_rows_that_are_wrong_are_refused_or_left_out_and_counted(case, configure, tmp_path):
    name, damage, expected = DAMAGES[case]
    root = tmp_path / name
    WRITERS[name](root)
    exclude = f"datasets.{name}.on_bad_rows=exclude"
    config = configured(configure, name, root).datasets[name]
    whole = {split: read(name, config, split) for split in SPLITS}
    damage(root)
    with pytest.raises(DataError, match=rf"leave them out, listed and counted, with {exclude}$"):
        for split in SPLITS:
            read(name, config, split)
    config = configured(configure, name, root, exclude).datasets[name]
    counts = {}
    for split in SPLITS:
        records, excluded = read(name, config, split)
        bad = [item for item in excluded if item.bad_row]
        lost = {record.id for record in whole[split][0]} - {record.id for record in records}
        assert lost == ({"mustard/test/2_02"} if case == "mustard, an id twice" and split == "test" else set())
        assert len(excluded) - len(bad) == len(whole[split][1])
        if bad:
            counts[split] = sum(item.count for item in bad)
            assert all(item.source and item.reason and item.id.startswith(f"{name}/{split}/") for item in bad)
            assert ("is not known: it counts in each" in bad[0].reason) == (len(expected) > 1)
    assert counts == expected


def test_a_file_that_is_wrong_as_a_whole_is_refused_all_the_same(configure, tmp_path):
    manifest(tmp_path / "m")
    config = configured(configure, "manifest", tmp_path / "m", "datasets.manifest.on_bad_rows=exclude")
    path = tmp_path / "m" / "clips.csv"
    replace(path, "clip,text,label,split", "clip,text,lable,split")
    with pytest.raises(DataError, match="lacks the column 'label'"):
        read("manifest", config.datasets["manifest"], "train")
    path.write_text("clip,text,label,split\n,a,joy\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"no clip in split 'train' \(has 3 cells where the header has 4"):
        read("manifest", config.datasets["manifest"], "train")


def test_a_run_is_refused_for_wrong_rows_of_its_own_splits_only(configure, tmp_path):
    manifest(tmp_path / "m")
    path = tmp_path / "m" / "clips.csv"
    append(path, ",words,NULL,train\nabsent.mp4,words,joy,val\n")
    cfg = configured(configure, "manifest", tmp_path / "m")
    [part] = loading.read(configured(configure, "manifest", tmp_path / "m", LABELS), ["test"])
    assert (len(part.records), part.excluded) == (4, [])
    with pytest.raises(DataError) as caught:
        loading.read(cfg, ["train", "val", "test"])
    assert "row 14: the label 'NULL'" in str(caught.value), "labels are taken from the training rows"
    with pytest.raises(DataError) as caught:
        loading.read(configured(configure, "manifest", tmp_path / "m", LABELS), ["train", "val", "test"])
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("clips.csv, row 15: the clip") and lines[1].startswith("clips.csv, row 14: the label")
    append(path, ",words,joy,tset\n")
    with pytest.raises(DataError, match=r"^clips.csv, row 16: the split 'tset' is not one of train, valid, val,"):
        loading.read(configured(configure, "manifest", tmp_path / "m", LABELS), ["test"])


@pytest.fixture
def damaged(configure, tmp_path):
    """The configuration of a manifest of which two test rows are wrong."""
    manifest(tmp_path / "m")
    append(tmp_path / "m" / "clips.csv", ",what,angry,test\n,more,NULL,test\n")
    return lambda *words, program="evaluate": configure(
        "dataset=manifest",
        "modalities=t",
        f"datasets.manifest.root={tmp_path / 'm' / 'clips.csv'}",
        "datasets.manifest.on_bad_rows=exclude",
        *words,
        program=program,
    )


def test_they_stand_beside_every_number(damaged, tmp_path, capsys):
    cfg = damaged()
    parts = loading.read(cfg, ["test"])
    said = capsys.readouterr().out
    assert (
        "manifest test: 2 rows are wrong and left out, with 2 of 6 clips (datasets.manifest.on_bad_rows=exclude;"
        in said
    )
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "environment.json").write_text('{"program": "evaluate"}', encoding="utf-8")
    summary = {"tasks": {"manifest.label": {"n_scored": 4}}}
    write_results(folder, cfg, parts, [], summary, {})
    [account] = json.loads((folder / "data.json").read_text(encoding="utf-8"))["parts"]
    counts = ("expected", "excluded", "bad_rows", "used")
    assert [account[key] for key in counts] == [6, 2, 2, 4]
    assert account["reasons"] == {part.BAD_ROW: 2}
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert [metrics["tasks"]["manifest.label"][key] for key in counts] == [6, 2, 2, 4]
    listed = (folder / "exclusions.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert len(listed) == 2 and all("clips.csv, row 1" in line for line in listed)
    assert "the label 'angry' of task 'label' is not one of anger, joy" in listed[0]
    assert "the label 'NULL' of task 'label' is what pandas and spreadsheets write" in listed[1]
    [line] = bad_rows(RunSummary(folder=folder, config={}, status={}, metrics=metrics))
    assert line.startswith("manifest.label: 2 of 6 rows of the annotations are wrong and left out")


def test_predictions_made_elsewhere_may_have_rows_for_them(damaged, tmp_path):
    cfg = damaged(program="score")
    ids = [f"manifest/test/{row}" for row in (4, 7, 10, 13, 14)]  # the last is of a row that is wrong
    path = tmp_path / "predictions.csv"
    path.write_text("id,prediction\n" + "".join(f"{one},joy\n" for one in ids), encoding="utf-8")
    found = score(path, cfg, "test")
    assert "2 of 6 rows of manifest, split 'test', are wrong and left out" in found["notes"][0]
    ledger = found["tasks"]["label"]["ledger"]
    assert (ledger["expected"], ledger["bad_rows"], ledger["scored"]) == (6, 2, 4)


def test_the_doctor_examines_the_other_rows_and_says_both(damaged, tmp_path):
    for on_bad_rows, severity, words in (
        ("refuse", "error", "test cannot be read: clips.csv, row 14: the label 'angry'"),
        ("exclude", "warning", "test 2: rows that are wrong and left out"),
    ):
        cfg = damaged(f"datasets.manifest.on_bad_rows={on_bad_rows}", program="doctor")
        found = examine(
            "manifest", cfg.datasets["manifest"], modalities="t", cache_root=tmp_path, max_seconds=30, num_workers=1
        )
        [finding] = [each for each in found.findings if words in each.what]
        assert (finding.severity, finding.count) == (severity, 2)
        assert [(row["found"], row["left_out"]) for row in found.sizes] == [(4, 0), (4, 0), (4, 2), (12, 2)]
