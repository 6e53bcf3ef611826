"""`make knowledge_grid` itself: its commands, run in this process with a tiny model and a few clips, to the differences
between its settings; and that a job of it which was stopped is continued where it is."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from test_readme import PROJECT, start

from affect.cli import sweep
from affect.data.demo_corpus.generate import Settings, generate
from affect.runs import run_summary


def commands() -> list[list[str]]:
    """What make would run, without the interpreter."""
    said = subprocess.run(["make", "-n", "knowledge_grid"], cwd=PROJECT, capture_output=True, text=True, check=True)
    lines = [
        line
        for line in said.stdout.splitlines()
        if line.split()[0].endswith(("/python", "/affect")) and " -m pip " not in line
    ]
    return [shlex.split(line)[1:] for line in lines]


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of the grid's runs, and the words of its report."""
    root = tmp_path_factory.mktemp("grid")
    generate(root / "demo", Settings(num_train=6, num_val=4, num_test=4))
    evaluating, training, report = commands()
    assert "seed=1" in evaluating and "sweep=knowledge_grid" in evaluating, "three seeds of one untrained model"
    [output] = [word.split("=")[1] for word in training if word.startswith("output_root=")]
    assert f"output_root={output}" in evaluating and output in report
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for words in (evaluating, training):
            start(words, root, patch)
    return root / output, report


def test_the_grid_ends_in_the_differences_that_descriptions_make(
    grid: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report = grid
    monkeypatch.chdir(folder.parents[2])
    start([*report, "--format", "json"], folder, monkeypatch)
    made = json.loads(capsys.readouterr().out)
    [table] = made["tables"]
    assert table["settings"] == ["tuning", "modalities", "prompting.name", "knowledge.source", "knowledge.control"]
    rows = {tuple(row["setting"].values()): row for row in table["rows"]}
    named = {number: setting for setting, row in rows.items() for number in row["runs"]}
    for tuning, modalities in (("zero-shot", "t"), ("fine-tuned", "tav")):
        plain = rows[tuning, modalities, "plain", None, None]
        assert plain["is_reference"] and plain["cost"] is None
        for control in ("none", "shuffled"):
            row = rows[tuning, modalities, "knowledge", "cues", control]
            [reference] = row["difference"]["against"]
            assert named[reference] == (tuning, modalities, "plain", None, None)
            assert row["difference"]["clips"] == 4 and row["cost"]["tokens_per_prompt"] > 20
            assert [audit["of"] for audit in row["audits"]] == ["audio", "video", "all"]
            assert row["audits"][0]["clips"] == ([4, 4] if tuning == "zero-shot" else [14, 14])
        cues, shuffled = (rows[tuning, modalities, "knowledge", "cues", control] for control in ("none", "shuffled"))
        assert cues["controls"]["shuffled"]["against"] == shuffled["runs"] and shuffled["controls"] == {}
    assert len(rows) == 6


def test_a_job_that_was_stopped_is_continued_in_its_place(
    grid: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = grid
    [job] = [
        path.parent
        for path in folder.rglob("job.json")
        if {"experiment=cues_shuffled"} <= set(json.loads(path.read_text())["words"])
        and (path.parent / "checkpoints").exists()
    ]
    before = {name: (job / name).read_bytes() for name in ("predictions.jsonl", "leak.json")}
    for name in before:
        (job / name).unlink()
    (job / "status.json").write_text('{"state": "stopped", "by": "SIGTERM"}')
    monkeypatch.chdir(folder.parents[2])
    start(["train.py", f"resume={job}"], folder, monkeypatch)
    assert run_summary.read(job).status["state"] == "finished"
    assert {name: (job / name).read_bytes() for name in before} == before
    sweep.tabulate([str(job.parent)])
    assert capsys.readouterr().out.count("finished") >= 3
