"""affect.load_runs: frames that hold what the run folders hold, what is shown of them, and the example notebook."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from made_runs import make_run

import affect
from affect.config import ConfigError
from affect.runs.run_results import read_predictions

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "notebooks" / "results.ipynb"
HOSTILE = "<script>alert(1)</script>\u202e&\x1b[31m"


@pytest.fixture(scope="module")
def outputs(configure, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("frames") / "outputs"
    make = partial(make_run, configure, out, num=20, groups=10)
    for seed, correct in ((1, 14), (2, 12)):
        make(f"t{seed}", f"seed={seed}", correct=correct)
    make("hostile", "modalities=a", f"prompting.system.en='{HOSTILE}'", correct=5)
    unfinished = make("unfinished", "modalities=v")
    (unfinished / "status.json").write_text('{"state": "stopped", "by": "SIGTERM"}')
    (make("broken", "modalities=tv") / "metrics.json").write_text("[")
    return out


def test_frames_hold_what_the_run_folders_hold(outputs):
    results = affect.load_runs(str(outputs), metrics=["accuracy"])
    runs = results.runs.set_index("folder")
    assert len(runs) == 4 and runs.loc[str(outputs / "unfinished"), "state"] == "stopped"
    for folder in ("t1", "t2", "hostile"):
        row = runs.loc[str(outputs / folder)]
        stored = json.loads((outputs / folder / "metrics.json").read_text())["tasks"]["demo.emotion"]
        assert row["demo.emotion.accuracy"] == stored["lenient"]["accuracy"]
        assert row["demo.emotion.majority.uar"] == stored["majority"]["uar"]
        assert (row["state"], row["model"], row["finetuning.rank"]) == ("finished", "smollm2", 16)
        own = results.predictions[results.predictions["run"] == row["run"]]
        assert list(own["id"]) == [each.id for each in read_predictions(outputs / folder)]
        assert (own["value"] == own["target"]).mean() == pytest.approx(stored["lenient"]["accuracy"])
    table = results.tables["demo.emotion"].set_index("modalities")
    assert table.loc["t", "accuracy"] == pytest.approx(0.65) and table.loc["t", "seeds"] == [1, 2]
    assert table.loc["t", "accuracy_sd"] == pytest.approx(0.0707107, abs=1e-6)
    assert (table.loc["t", "expected"], table.loc["t", "used"], table.loc["t", "scored"]) == (21, 20, 20)


def test_damaged_folders_and_files_are_listed(outputs, tmp_path):
    results = affect.load_runs(outputs)
    assert [line for line in results.damaged if "broken/metrics.json" in line]
    assert any("not in the table" in note for note in results.notes)
    lost = outputs / "t2" / "predictions.jsonl"
    kept = lost.rename(tmp_path / "kept")
    try:
        results = affect.load_runs(outputs)
        assert any("t2/predictions.jsonl cannot be read" in line for line in results.damaged)
        assert set(results.predictions["run"]) == {1, 2} and len(results.runs) == 4
        assert affect.load_runs(outputs, predictions=False).predictions.empty
    finally:
        kept.rename(lost)
    with pytest.raises(ConfigError, match="is not a run folder"):
        affect.load_runs(tmp_path)
    with pytest.raises(ConfigError, match="no run has this metric"):
        affect.load_runs(outputs, metrics=["acuracy"])


def test_what_a_notebook_shows_is_escaped(outputs):
    results = affect.load_runs(outputs, metrics=["accuracy"])
    shown = results._repr_html_()
    assert "<script>" not in shown and not {"\u202e", "\x1b"} & set(shown)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; [31m" in shown, "a long cell is cut, or not shown"
    assert shown.count("<table") == 1 and "0.6500 ± 0.0707" in shown and "broken/metrics.json" in shown
    of_table = results.tables["demo.emotion"]._repr_html_()
    assert "<script>" not in of_table and "&lt;script&gt;" in of_table


def test_importing_affect_imports_nothing_else():
    code = "import sys, affect; print(*sorted(name for name in sys.modules if name.startswith(('affect', 'pandas'))))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["affect"]
    with pytest.raises(AttributeError, match="no attribute 'load_run'"):
        _ = affect.load_run


def test_the_notebook_runs(outputs, monkeypatch):
    nbclient = pytest.importorskip(
        "nbclient", reason="the notebook is executed with nbclient: pip install 'affect[dev]'"
    )
    pytest.importorskip("ipykernel", reason="the notebook is executed with ipykernel: pip install 'affect[dev]'")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "the notebook is kept without its outputs"
    where = {"metadata": {"path": str(outputs.parent)}}
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=where).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    html = "".join(output.get("data", {}).get("text/html", "") for output in shown)
    mean = affect.load_runs(outputs).tables["demo.emotion"]["weighted_f1"][1]
    assert "demo.emotion: " in html and f"{mean:.4f}" in html
    assert any("image/png" in output.get("data", {}) for output in shown)
