"""Choosing a setting of a sweep: by validation alone, over seeds, and not where the numbers cannot be held against each
other."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from made_runs import Make, change, make_run, remember_configurations

from affect.cli import sweep_best
from affect.reports.choice import choose
from affect.reports.collect import find, load
from affect.runs import ledger


@pytest.fixture(autouse=True)
def read_once(monkeypatch) -> None:
    remember_configurations(monkeypatch)


@pytest.fixture
def make(configure, tmp_path) -> Make:
    """`make(name, *words, …)` is made_runs.make_run in the folder `out`, of one task, evaluated on the validation split
    unless a word says otherwise."""

    def made(name: str, *words: str, **more) -> Path:
        split = [] if any(word.startswith("evaluation.split=") for word in words) else ["evaluation.split=val"]
        return make_run(configure, tmp_path / "out", name, "datasets.demo.tasks=[emotion]", *split, *words, **more)

    return made


@pytest.fixture
def grid(make, tmp_path) -> Path:
    """Rank 4, 8 and 16 with two seeds. The mean is best for 8, a single run for 16."""
    for rank, correct in ((4, (5, 5)), (8, (8, 9)), (16, (10, 6))):
        for seed in (1, 2):
            make(f"r{rank}_s{seed}", f"finetuning.rank={rank}", f"seed={seed}", correct=correct[seed - 1])
    return tmp_path / "out"


@pytest.fixture
def best(capsys) -> Callable[..., tuple[str, str]]:
    """`best(*words)`: what `affect sweep best WORDS` prints, and what it says at its end."""

    def run(*words: str | Path) -> tuple[str, str]:
        try:
            sweep_best.main([str(word) for word in words])
            end = ""
        except SystemExit as stop:
            end = str(stop.code)
        return capsys.readouterr().out, end

    return run


def test_the_greatest_mean_over_seeds_is_chosen_and_its_distance_held_against_the_spread(grid, best):
    choice = choose(load(find([grid])[0])[0])
    assert [point.name for point in choice.points] == [f"finetuning.rank={rank}" for rank in (8, 16, 4)]
    first, second, _ = choice.points
    assert first.selection.mean == pytest.approx(first.headlines["demo.emotion"].mean)
    assert [run.seed for run in first.runs] == [1, 2]
    # The distance is smaller than the standard deviation of rank 16, and greater than those of 8 and of 4.
    assert first.selection.mean - second.selection.mean < second.selection.sd
    assert choice.within_spread() == [second]
    said, end = best(grid, "--no-test")
    assert end == "" and "Best by validation, mean over 2 seeds: finetuning.rank=8" in said
    assert "1 of the others is within the spread: the distance to the best is not greater than a standard" in said
    assert said.index(f"{first.selection.mean:.4f} ± {first.selection.sd:.4f}") < said.index(", within the spread")
    assert not (grid / ledger.FILE).exists(), "the test split was not opened"


def test_one_seed_has_no_spread_and_one_setting_no_choice(make, best, tmp_path):
    make("a", "finetuning.rank=4", correct=5)
    assert "All runs have one setting, so that there was nothing to choose." in best(tmp_path / "out", "--no-test")[0]
    make("b", "finetuning.rank=8", correct=6)
    assert "With one seed a setting the spread is not known" in best(tmp_path / "out", "--no-test")[0]


def test_test_numbers_choose_nothing(make, best, tmp_path):
    make("a", "finetuning.rank=4", "evaluation.split=test")
    make("b", "finetuning.rank=8", "evaluation.split=test")
    _, end = best(tmp_path / "out")
    assert end.startswith("2 of 2 runs have numbers of the test split alone, so that no setting can be chosen by valid")
    assert end.endswith("b): run them with evaluation.split=val")


def validated(folder: Path, value: float) -> None:
    """Makes a run of the test split one that has chosen its checkpoint by validation, as trainings have."""
    tasks = {"demo.emotion": {"headline": "weighted_f1", "value": value}}
    change(folder / "metrics.json", lambda m: m | {"validation": {"epoch": 1, "selection": value, "tasks": tasks}})


def test_test_numbers_that_are_there_are_taken_and_said_to_be_of_all(make, best, tmp_path):
    validated(make("a", "finetuning.rank=4", "evaluation.split=test", correct=9), 0.3)
    validated(make("b", "finetuning.rank=8", "evaluation.split=test", correct=2), 0.4)
    before = (tmp_path / "out" / ledger.FILE).read_text()
    said, end = best(tmp_path / "out")
    assert end == "" and "Best by validation, mean over 1 seed: finetuning.rank=8" in said
    assert "are those that its runs have already. All 2 settings have opened it, not this one alone" in said
    assert "split test" in said and "1 smollm2, " in said and "out/b\n" in said.replace("\r", "")
    assert (tmp_path / "out" / ledger.FILE).read_text() == before


def test_what_has_not_finished_ends_the_choice_unless_it_is_asked_for(grid, best):
    change(grid / "r4_s2" / "status.json", lambda status: status | {"state": "failed"})
    (grid / "r16_s1" / "metrics.json").write_text("{")
    (grid / "jobs.json").write_text(json.dumps([{"words": ["finetuning.rank=32"], "folder": None}]))
    _, end = best(grid, "--no-test")
    assert end.startswith(f"3 jobs of {grid} have not finished: {grid / 'r4_s2'} (failed), {grid / 'r16_s1'}/metrics.j")
    assert "finetuning.rank=32 (not begun)" in end and end.endswith("among those that finished with --finished")
    _, end = best(grid, "--no-test", "--finished")
    assert end.startswith("the settings have different numbers of seeds (")
    assert "finetuning.rank=16 has 2" in end and end.endswith("common seeds with --where seed=N")
    said, end = best(grid, "--no-test", "--finished", "--where", "seed=2")
    assert end == "" and "mean over 1 seed: finetuning.rank=8" in said


def test_numbers_of_other_clips_tasks_or_readers_are_not_held_against_each_other(grid, make, best):
    make("other", "finetuning.rank=64", "seed=1", num=8)
    make("other2", "finetuning.rank=64", "seed=2", num=8)
    _, end = best(grid, "--no-test")
    assert end.startswith("the runs were validated on different clips (data.json), as ") and "out/other," in end
    for name in ("other", "other2"):
        shutil.rmtree(grid / name)
    make("other", "finetuning.rank=64", "evaluation.reader=exact")
    assert "have different values of evaluation.reader, which defines the number" in best(grid, "--no-test")[1]
    make("other", "finetuning.rank=64", "datasets.demo.tasks=[emotion,sentiment]")
    assert "were validated on different tasks or headline metrics" in best(grid, "--no-test")[1]


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (True, "has no run folders in it: name the folder of a sweep"),
        (False, "empty does not exist: name a run folder"),
    ],
)
def test_a_folder_without_runs_is_refused(best, tmp_path, made, sentence):
    folder = tmp_path / "x" / "empty"
    folder.mkdir(parents=True) if made else None
    assert sentence in best(folder)[1]
