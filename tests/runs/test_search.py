"""Searches by Optuna: what is drawn, what is refused, how one that was killed goes on, and what ends a trial early."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

import lightning as L
import optuna
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from affect.cli.entry import entry
from affect.config import ConfigError
from affect.runs import search
from affect.runs.lifecycle import Pruned
from affect.training.pruning import ReportToSearch

TFIDF = ("model=tfidf", "modalities=t", "model.strength=tag(log,interval(0.01,100.0))", "model.ngrams=1,2")


# ---------------------------------------------------------------- what is drawn


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("a=tag(log,interval(1e-5,1e-3))", FloatDistribution(1e-5, 1e-3, log=True)),
        ("a=interval(0.1,0.9)", FloatDistribution(0.1, 0.9)),
        ("a=interval(0,0.5)", FloatDistribution(0, 0.5)),
        ("a=int(interval(1,9))", IntDistribution(1, 9)),
        ("a=tag(log,int(interval(1,64)))", IntDistribution(1, 64, log=True)),
        ("a=range(2,10,3)", IntDistribution(2, 8, step=3)),
        ("a=4,16,64", CategoricalDistribution(["4", "16", "64"])),
        ("a='x y',[1,2]", CategoricalDistribution(["'x y'", "[1,2]"])),
    ],
)  # fmt: skip
def test_words_of_hydra_are_distributions_of_optuna(word, expected):
    assert search.distribution(OverridesParser.create().parse_override(word)) == expected


@pytest.mark.parametrize("word", ["a=tag(log,interval(0,1))", "a=interval(3,1)"])
def test_what_is_no_range_is_refused(word):
    with pytest.raises(ConfigError, match="is not a range"):
        search.distribution(OverridesParser.create().parse_override(word))


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("program", "words", "sentence"),
    [
        ("evaluate", ["prompting=plain,cot"], "evaluate.py with evaluation.split=test would choose a point by"),
        ("train", ["hydra.sweeper.objective=test", "seed=1,2"], "hydra.sweeper.objective=test: a search chooses by"),
        ("train", ["evaluation.selection=mean_headline,min_headline"], "cannot be compared: give it one value"),
        ("train", ["seed=3"], "there is nothing to search: give a key a range"),
        ("train", ["hydra.sweeper.n_trials=0", "seed=1,2"], "hydra.sweeper.n_trials=0 has to be a whole number"),
        ("train", ["hydra.sweeper.sampler=cmaes", "seed=1,2"], "hydra.sweeper.sampler=cmaes is not a choice: tpe or"),
        ("train", ["finetuning.rank=int(interval(0,8))"], "finetuning.rank=0: finetuning.rank=0 has to be"),
        ("doctor", ["seed=1,2"], "a search needs numbers to choose by, and doctor makes none"),
    ],
)  # fmt: skip
def test_a_search_that_would_leak_or_cannot_be_made_is_refused(command, program, words, sentence):
    configs, said = command("-m", "hydra/sweeper=optuna", *words, program=program)
    assert sentence in said and not configs


def test_optuna_that_is_not_installed_is_named_with_its_extra(command, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "optuna" else find(name, *rest)
    )
    _, said = command("-m", "sweep=learning_rate_search")
    assert "needs Optuna, which is not installed: pip install 'affect[optuna]'" in said


def test_a_dry_run_checks_the_ends_of_all_ranges(command, capsys):
    configs, said = command("-m", "sweep=learning_rate_search", "dry_run=true")
    assert (configs, said) == (
        [],
        "",
    ) and "Checked were all values, and of ranges the two ends." in capsys.readouterr().out


# ---------------------------------------------------------------- goes on


class Killed(BaseException):
    """Ends the process where it is, as far as a test in one process can."""


@pytest.fixture
def searched(monkeypatch, tmp_path) -> Callable[..., list[tuple[str, float | None]]]:
    """`searched(folder, n_trials, killed_at=None)` runs a search whose numbers follow a formula, and gives the state
    and value of each trial."""
    monkeypatch.chdir(tmp_path)

    def run(folder: Path, n_trials: int, *more: str, killed_at: int | None = None) -> list[tuple]:
        begun = 0

        def main(cfg, job_folder):
            nonlocal begun
            begun += 1
            if begun == killed_at:
                raise Killed
            if cfg.model.max_terms == 1:
                raise RuntimeError("no numbers")
            number = 1 - abs(cfg.model.strength - 3) / 100 - 0.1 * cfg.model.ngrams
            results = {"split": "test", "selection": 1.0 - number, "validation": {"selection": number}, "tasks": {}}
            Path(job_folder, "metrics.json").write_text(json.dumps(results))

        words = [*TFIDF, "hydra/sweeper=optuna", f"hydra.sweep.dir={folder}", f"hydra.sweeper.n_trials={n_trials}"]
        monkeypatch.setattr(sys, "argv", ["train.py", "-m", *words, *more])
        monkeypatch.delenv("AFFECT_STAMP", raising=False)
        try:
            entry("train", "About.")(main)()
        except Killed:
            assert killed_at is not None
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "search.log")))
        trials = optuna.load_study(study_name="search", storage=storage).trials
        return [(trial.state.name, trial.params, trial.value) for trial in trials]

    return run


def test_a_search_maximises_the_validation_and_goes_on_where_it_was_killed(searched, tmp_path):
    options = ("hydra.sweeper.n_startup_trials=2",)
    undisturbed = searched(tmp_path / "a", 6, *options)
    for state, params, value in undisturbed:
        assert state == "COMPLETE"
        assert value == pytest.approx(1 - abs(params["model.strength"] - 3) / 100 - 0.1 * int(params["model.ngrams"]))
    assert len({params["model.strength"] for _, params, _ in undisturbed}) == 6

    stopped = searched(tmp_path / "b", 6, *options, killed_at=4)
    assert [state for state, _, _ in stopped] == ["COMPLETE"] * 3 + ["RUNNING"]
    with (tmp_path / "b" / "search.log").open("ab") as file:
        file.write(b'{"op_code":6,"worker')  # the kill came in the middle of a line
    assert searched(tmp_path / "b", 6, *options) == undisturbed
    # A search that is done runs nothing, and a longer one what is more.
    assert searched(tmp_path / "b", 6, *options, killed_at=1) == undisturbed
    assert searched(tmp_path / "b", 7, *options, "logger.project=x")[:6] == undisturbed


def test_another_search_and_a_damaged_one_are_refused(searched, tmp_path):
    searched(tmp_path / "a", 2)
    with pytest.raises(SystemExit, match=r"has a search with model.ngrams=1,2.*give the same words, or begin another"):
        searched(tmp_path / "a", 2, "model.ngrams=1,2,3")
    journal = tmp_path / "a" / "search.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], b"{damaged\n", *lines[4:]]))
    with pytest.raises(SystemExit, match=r"search\.log is damaged \(.*\): restore it, or begin the search in another"):
        searched(tmp_path / "a", 3)


def test_a_search_of_which_all_trials_fail_ends(searched, tmp_path):
    with pytest.raises(
        SystemExit, match="the first 5 trials all failed, so there is nothing to choose further ones by"
    ):
        searched(tmp_path / "a", 50, "model.max_terms=1")


# ---------------------------------------------------------------- pruned


class Rising(L.LightningModule):
    """Its validation number is `slope` times the epochs that it was trained."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.weight, self.slope = torch.nn.Parameter(torch.zeros(1)), slope

    def training_step(self, batch, index):
        return self.weight.sum()

    def validation_step(self, batch, index):
        self.log("val/selection", self.slope * (self.current_epoch + 1))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_trial_below_the_median_of_those_before_ends_early(tmp_path):
    journal = tmp_path / "search.log"
    clips = torch.utils.data.DataLoader(torch.zeros(1, 1))

    def trained(slope: float) -> int:
        with search.opened(journal) as study:
            study.set_user_attr("prune", True)
            trial = study.ask({"slope": CategoricalDistribution([slope])} if not study.trials else None)
        reporting = ReportToSearch(search.Trial(trial.number, str(journal)))
        trainer = L.Trainer(
            max_epochs=3, callbacks=[reporting], logger=False, enable_checkpointing=False, accelerator="cpu",
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        )  # fmt: skip
        try:
            trainer.fit(Rising(slope), clips, clips)
            trainer.validate(Rising(slope), clips, verbose=False)  # which is no part of the training
            study.tell(trial, 3 * slope)
        except Pruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return trainer.current_epoch

    assert [trained(slope) for slope in (0.1, 0.2, 0.3, 0.2, 0.2)] == [3] * 5
    assert trained(0.25) == 3
    assert trained(0.15) == 0
    with search.opened(journal) as study:
        last = study.trials[-1]
        assert last.state.name == "PRUNED" and last.intermediate_values == {0: pytest.approx(0.15)}
