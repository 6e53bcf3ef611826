"""Multiruns: every point is checked before the first job begins, one job's end is not that of the others, and the table
says what became of each; and the files for `wandb sweep`, expanded by wandb's own agent."""

import csv
import gc
import itertools
import json
import os
import random
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import composed_once
import pytest
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, run_job
from hydra.plugins.launcher import Launcher
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict

from affect.cli import sweep, wandb_sweep
from affect.cli.checked import checked
from affect.cli.entry import entry
from affect.cli.programs import TRANSFERS
from affect.config import Config, ConfigError, DataError, groups
from affect.data import Prediction
from affect.data import files as atomic
from affect.runs import jobs, lifecycle, run_folder, run_results, run_summary, sweep_points

ROOT = Path(__file__).resolve().parents[2]
LISTS = {path.stem for path in (ROOT / "conf" / "sweep").glob("*.yaml") if not path.stem.endswith("_search")}
SWEEPS = sorted(LISTS - set(TRANSFERS))  # those have no points of their own, see test_transfer.py
INTERVENTIONS = [n for n in SWEEPS if "intervention" in (groups.CONF / "sweep" / f"{n}.yaml").read_text("utf-8")]
"""Those of evaluations; trainings have none."""

ABOUT = {"ravdess_folds": ["dataset=[ravdess]", "modalities=a"]}
"""What has to be chosen beside a sweep that is about something other than the defaults."""


def write_sweep(conf: Path, text: str) -> None:
    (conf / "sweep" / "own.yaml").write_text(f"# @package _global_\n{text}")


@pytest.fixture
def own_conf(tmp_path, monkeypatch):
    """A copy of conf that a test can write into, in use in its place."""
    copy = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", copy)
    monkeypatch.setattr("affect.cli.program.CONF", copy)
    monkeypatch.setattr(groups, "CONF", copy)
    return copy


# ---------------------------------------------------------------- points


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["seed=3"], [["seed=3"]]),
        (["seed=1,2", "modalities=t"], [["seed=1", "modalities=t"], ["seed=2", "modalities=t"]]),
        (["-m", "seed=choice(1,2)"], [["seed=1"], ["seed=2"]]),
        (["seed=range(1,4)"], [["seed=1"], ["seed=2"], ["seed=3"]]),
        (["evaluation=glob(sc*)"], [["evaluation=score"]]),
        (["finetuning.targets=[q],[k,v]"], [["finetuning.targets=[q]"], ["finetuning.targets=[k,v]"]]),
        (["prompting.name='a, b','[c] \"d\"'"], [["prompting.name='a, b'"], ["prompting.name='[c] \"d\"'"]]),
        (
            ["sweep=seeds", "seed=8,9", "modalities=t"],  # the command line wins
            [[f"seed={seed}", "sweep=seeds", "modalities=t"] for seed in (8, 9)],
        ),
    ],
)  # fmt: skip
def test_the_points_are_those_of_hydra(words, expected):
    assert sweep_points.Composer(words).points() == expected


@pytest.mark.parametrize("name", SWEEPS)
def test_every_point_of_every_committed_sweep_is_sound(name, configure):
    words = [f"sweep={name}", *ABOUT.get(name, [])]
    program = "train"
    if name in INTERVENTIONS:
        program = "evaluate"
        words.append("model=qwen2_5_omni_3b")  # which hears and sees as it comes
    composer = sweep_points.Composer(words)
    found = composer.points()
    assert len(found) > 1
    for cfg, point in zip(
        sweep_points.check(found, lambda p: checked(composer.compose(p), p, program), []), found, strict=True
    ):
        for key, value in (word.split("=") for word in point if word not in words):
            if key == "experiment":
                alone = configure(f"experiment={value}")
                assert (cfg.prompting, cfg.knowledge, cfg.datasets) == (
                    alone.prompting,
                    alone.knowledge,
                    alone.datasets,
                )
                continue
            node = cfg
            for part in key.split("."):
                node = node[part] if isinstance(node, dict) else getattr(node, part)
            node = getattr(node, "name", node)  # of a group
            arrived = str(node) == value or node == OverridesParser.create().parse_override(f"{key}={value}").value()
            assert arrived, f"{key} of {point} did not arrive"


def test_there_are_sweeps():
    assert {"learning_rate", "modalities", "seeds"} <= set(SWEEPS)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["seed=choice()"], "seed=choice() has no values, so there is nothing to run: name at least"),
        (["seed=range(3,3)"], "seed=range(3,3) has no values, so there is nothing to run"),
        (["model=glob(zz*)"], "model=glob(zz*) has no values, so there is nothing to run"),
        (["seed=range(1,9,0)"], "seed=range(1,9,0) cannot be counted (range() arg 3 must not be zero): corr"),
        (["finetuning.dropout=interval(0,1)"], "is a range without end of values: a multirun takes single ones"),
        (["finetuning.rankk=2,3"], "  - the key 'finetuning.rankk' is not in FinetuningConfig, did you mean 'rank'?"),
        (["seed=1,2", "trainer=nosuch"], "  - trainer=nosuch does not exist"),
        (["model=smollm2,nosuch"], "  - #1 model=nosuch: model=nosuch does not exist"),
        (["output_root=a,b"], "output_root=a at one point alone: output_root is the same for a whole multirun"),
        (["dry_run=true,false"], "#0 dry_run=True: dry_run=True at one point alone"),
    ],
)  # fmt: skip
def test_a_multirun_of_nothing_or_of_nonsense_is_refused(command, capsys, words, sentence):
    called, said = command("-m", *words)
    assert called == [] and said.startswith("The configuration cannot be run:\n  - ")
    assert sentence in said
    assert "Traceback" not in capsys.readouterr().err
    assert list(Path.cwd().iterdir()) == [], "something was made all the same"


def test_a_sweep_file_without_points_is_refused(command, own_conf):
    write_sweep(own_conf, "hydra: {sweeper: {params: {seed: 'range(2,2)'}}}\n")
    assert "seed=range(2,2) has no values" in command("-m", "sweep=own")[1]


def test_all_refused_points_are_named_before_anything_is_run(command):
    called, said = command("-m", "modalities=x,t,y,a", "seed=1,-2")
    assert called == []
    lines = said.splitlines()
    assert lines[1].startswith("  - #0 modalities=x seed=1, #1 modalities=x seed=-2: modalities=x has to be made of")
    assert "  - #1 modalities=x seed=-2, #3 modalities=t seed=-2, #5" in said and "seed=-2 must not be below 0" in said
    assert any(
        line.startswith("  - #4 modalities=y seed=1, #5 modalities=y seed=-2: modalities=y has") for line in lines
    )
    assert lines[-1] == "  - none of the 8 points was run: correct these, or leave them out"
    assert list(Path.cwd().iterdir()) == []


def test_what_holds_for_every_point_is_said_once(command):
    _, said = command("-m", "seed=1,2,3", "trainer.max_epochs=0")
    assert said == "The configuration cannot be run:\n  - trainer.max_epochs=0 has to be at least 1"


def test_files_are_composed_once_for_each_choice_of_them(monkeypatch):
    calls = []
    original = ConfigLoaderImpl.load_configuration

    def counted(self, *arguments, **more):
        calls.append(arguments)
        return original(self, *arguments, **more)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", counted)
    composer = sweep_points.Composer(["seed=range(0,20)", "trainer=default,smoke"])
    found = composer.points()
    configurations = [composer.compose(point) for point in found]
    assert [(raw.seed, raw.trainer.name) for raw in configurations] == list(
        itertools.product(range(20), ["default", "smoke"])
    )
    assert len(calls) == 1 + 2  # the whole, and the two trainers


@pytest.mark.parametrize(
    "words",
    [
        ["seed=7", "trainer=smoke", "trainer.max_epochs=4", "dataset=[demo,meld]"],
        ["~datasets.demo.task_definitions.humour", "+datasets.demo.options={}", "experiment=demo"],
        ["prompting.system.en='a, \"b\" [c] {d} \\'e\\''", "finetuning.targets=[q_proj,v_proj]"],
    ],
)
def test_a_point_is_composed_as_hydra_does(words):
    composer = sweep_points.Composer(words)
    with composed_once.left_out():
        theirs = composer.loader.load_configuration("config", words, RunMode.RUN)
    for _ in range(2):  # what is composed a second time was remembered (composed_once.py)
        assert composer.loader.load_configuration("config", words, RunMode.RUN) == theirs
    with open_dict(theirs):
        del theirs["hydra"]
    assert OmegaConf.to_container(composer.compose(words)) == OmegaConf.to_container(theirs)


def test_a_dry_run_shows_every_point(command, capsys):
    _, said = command("-m", "sweep=new_towers", "dry_run=true")
    printed = capsys.readouterr().out
    assert (
        said == ""
        and printed.count("nothing was run") == len(sweep_points.Composer(["sweep=new_towers"]).points()) == 9
    )
    assert "#8 finetuning.alignment_epochs=5 finetuning.new_learning_rate=0.001\ntrain: " in printed
    assert list(Path.cwd().iterdir()) == []


# ---------------------------------------------------------------- jobs

Main = Callable[[Config, str], None]


@pytest.fixture
def multirun(monkeypatch, tmp_path):
    """`multirun(main, *words)` runs `train.py -m WORDS` with this main in this process. Gives the multirun's folder and
    what was said at the end, or the exit status."""

    def start(main: Main, *words: str) -> tuple[Path, str | int | None]:
        monkeypatch.delenv("AFFECT_STAMP", raising=False)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["train.py", "-m", *words, f"output_root={tmp_path / 'out'}"])
        code: str | int | None = None
        try:
            entry("train", "About.")(main)()
        except SystemExit as end:
            code = end.code
        assert (tmp_path / "out").exists(), code
        [folder] = (tmp_path / "out" / "sweeps").iterdir()
        return folder, code

    return start


def train(cfg: Config, job_folder: str | None, score: float | None = 0.5) -> Path:
    """A training of no time, whose folder has what the table reads."""
    folder = run_folder.create(cfg, "train", job_folder)
    with lifecycle.running(folder):
        tasks = {"demo.emotion": {"headline": "weighted_f1", "value": score}}
        atomic.write_json(folder / "metrics.json", {"tasks": tasks})
    return folder


def table(folder: Path) -> list[dict]:
    return json.loads((folder / "jobs.json").read_text())


def states(folder: Path) -> list[str]:
    return [job["state"] for job in table(folder)]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "jobs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_jobs_end_is_not_that_of_the_others_and_the_table_tells_all(multirun, capsys):
    during = []

    def main(cfg: Config, job_folder: str) -> None:
        during.append(states(Path(job_folder).parent))
        if cfg.seed == 1:
            raise DataError("clips.csv, row 3: no label: add it\nclips.csv, row 9: no label: add it")
        if cfg.seed == 2:
            with lifecycle.running(run_folder.create(cfg, "train", job_folder)):
                raise RuntimeError("boom [bold]")
        if cfg.seed == 3:
            raise MemoryError
        if cfg.seed == 4:
            sys.exit("ended itself")
        train(cfg, job_folder, None if cfg.seed == 5 else cfg.seed / 10)

    folder, said = multirun(main, "seed=0,1,2,3,4,5,6")
    assert said == "Not finished, for the reason above: #1, #2, #3, #4"
    assert states(folder) == ["finished", "refused", "failed", "failed", "failed", "finished", "finished"]
    assert during[0] == ["running", *["not begun"] * 6]
    assert during[6] == ["finished", "refused", "failed", "failed", "failed", "finished", "running"]

    jobs = table(folder)
    assert [job["number"] for job in jobs] == list(range(7))
    assert jobs[2]["words"][0] == "seed=2" and jobs[2]["error"] == "RuntimeError: boom [bold]"
    assert jobs[1]["error"] == "DataError: clips.csv, row 3: no label: add it"
    assert jobs[0]["metrics"] == {"demo.emotion": {"metric": "weighted_f1", "value": 0.0}}
    assert re.fullmatch(r"smollm2_tav_s0_[0-9a-f]{8}", jobs[0]["folder"]) and 0 <= jobs[0]["seconds"] < 60
    status = json.loads((folder / jobs[1]["folder"] / "status.json").read_text())
    assert status["state"] == "failed" and status["error"].endswith("row 9: no label: add it")

    written = rows(folder)
    assert [row["test demo.emotion weighted_f1"] for row in written] == ["0.0", "", "", "", "", "undefined", "0.6"]
    assert [row["state"] for row in written] == states(folder)

    printed = capsys.readouterr()
    assert re.search(r"│ +6 │ finished +│ seed=6 │ +0\.6000 │", printed.out)
    assert re.search(r"│ +2 │ failed +│ seed=2 .*boom \[bold\]", printed.out)
    assert "#1: The data cannot be used:\nclips.csv, row 3" in printed.err
    assert "MemoryError" in printed.err and "SystemExit: ended itself" in printed.err


def test_a_job_without_any_answer_has_failed_and_was_not_refused(multirun, capsys):
    def main(cfg: Config, job_folder: str) -> None:
        folder = run_folder.create(cfg, "train", job_folder)
        with lifecycle.running(folder):
            run_results.check_answered(folder, [nothing] if cfg.seed else [nothing, replace(nothing, outcome="empty")])

    nothing = Prediction(
        id="a", dataset="demo", split="test", task="emotion", group="g", target="joy", answer=None, exact=None,
        lenient=None, outcome="error", readout="score", error="NaN",
    )  # fmt: skip
    folder, _ = multirun(main, "seed=0,1")
    assert states(folder) == ["finished", "failed"]
    said = capsys.readouterr().err
    assert "#1: None of the 1 predictions of" in said and "so the run has failed: NaN. All" in said
    assert "Traceback" not in said


def test_a_multirun_that_ends_well_has_its_table_too(multirun, capsys):
    folder, said = multirun(train, "seed=2", "modalities=t,a")
    assert said is None and states(folder) == ["finished"] * 2
    assert "│ modalities=a │" in capsys.readouterr().out
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    assert [name for name in files if name[0] != "."] == ["jobs.csv", "jobs.json", "multirun.yaml", "sweep.json"]


def test_values_with_commas_quotes_and_brackets_survive(multirun, tmp_path):
    seen = []

    def main(cfg: Config, job_folder: str) -> None:
        seen.append((cfg.prompting.system["en"], cfg.datasets["demo"].tasks))
        train(cfg, job_folder)

    systems = ['a, "b" [c]', "it's {d}: $e"]
    words = [
        "prompting.system.en=" + ",".join(json.dumps(system) for system in systems),
        "datasets.demo.tasks=[emotion,humour]",
    ]
    folder, said = multirun(main, *words)
    assert said is None and seen == [(system, ["emotion", "humour"]) for system in systems]
    again = [shlex.split(row["words"]) for row in rows(folder)]
    assert (
        again
        == [job["words"] for job in table(folder)]
        == [json.loads((folder / job["folder"] / "job.json").read_text())["words"] for job in table(folder)]
    )
    composer = sweep_points.Composer([])
    assert [composer.compose(point).prompting.system.en for point in again] == systems


def test_shuffled_points_are_checked_and_run_in_one_order(multirun):
    seeds = []

    def main(cfg: Config, job_folder: str) -> None:
        planned = table(Path(job_folder).parent)
        seeds.append((f"seed={cfg.seed}", planned[len(seeds)]["words"][0]))

    random.seed(1)
    multirun(main, "seed=shuffle(range(0,5))")
    assert [ran for ran, _ in seeds] == [planned for _, planned in seeds] != [f"seed={n}" for n in range(5)]


class Model:
    """Something large, in a circle as a Trainer and its module are."""

    def __init__(self) -> None:
        self.trainer = self


def test_a_failed_job_leaves_no_model_behind(multirun):
    models: list[weakref.ref] = []
    alive = []

    def main(cfg: Config, job_folder: str) -> None:
        alive.append(sum(model() is not None for model in models))
        model = Model()
        models.append(weakref.ref(model))
        try:
            raise ValueError("in the kernel")
        except ValueError as error:
            model.failure = error
            raise MemoryError("out of memory") from error

    gc.disable()  # what is gone then is gone because a job was cleared away, not by chance
    try:
        _, said = multirun(main, "seed=1,2")
    finally:
        gc.enable()
    assert said == "Not finished, for the reason above: #0, #1"
    assert alive == [0, 0]


def test_ctrl_c_ends_the_whole_multirun(multirun, capsys):
    def main(cfg: Config, job_folder: str) -> None:
        if cfg.seed == 2:
            raise KeyboardInterrupt
        train(cfg, job_folder)

    folder, code = multirun(main, "seed=1,2,3")
    assert code == 130
    assert states(folder) == ["finished", "stopped", "not begun"]
    printed = capsys.readouterr()
    assert re.search(r"│ +1 │ stopped", printed.out) and re.search(r"│ +2 │ not begun", printed.out)
    assert "Traceback" not in printed.err


def test_a_run_that_is_told_to_stop_ends_the_whole_multirun(multirun):
    def main(cfg: Config, job_folder: str) -> None:
        with lifecycle.running(run_folder.create(cfg, "train", job_folder)):
            os.kill(os.getpid(), signal.SIGINT)
            signal.sigtimedwait([], 1)  # the signal is met between two steps of the interpreter

    folder, code = multirun(main, "seed=1,2")
    assert code == 128 + signal.SIGINT
    assert states(folder) == ["stopped", "not begun"]


KILLED = """
import os, signal, sys
from affect.cli.entry import entry
from affect.runs import run_folder

def main(cfg, job_folder):
    if cfg.seed == 2:
        run_folder.create(cfg, "train", job_folder)
        os.kill(os.getpid(), signal.SIGKILL)

entry("train", "About.")(main)()
"""


def test_after_a_kill_the_table_is_made_again(tmp_path, capsys):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, "-m", "seed=1,2,3"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    [folder] = (tmp_path / "outputs" / "sweeps").iterdir()
    assert states(folder) == ["finished", "running", "not begun"], "as it was when it was written last"
    sweep.tabulate([str(folder)])
    assert states(folder) == ["finished", "killed", "not begun"]
    assert re.search(r"│ +1 │ killed +│ seed=2", capsys.readouterr().out)
    with pytest.raises(SystemExit, match=r"is not the folder of a multirun, it has no sweep\.json: name one of"):
        sweep.tabulate([str(tmp_path)])


class Forking(Launcher):
    """Runs every job in a process of its own, and hears nothing of it, like one that hands jobs to a cluster."""

    def __init__(self) -> None:
        pass

    def setup(self, *, hydra_context, task_function, config) -> None:
        self.context, self.function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides, initial_job_idx):
        for number, words in enumerate(job_overrides, initial_job_idx):
            config = self.context.config_loader.load_sweep_config(self.config, list(words))
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
            child = os.fork()
            if child == 0:
                try:
                    run_job(self.function, config, "hydra.sweep.dir", "hydra.sweep.subdir", self.context)
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
        return [JobReturn(status=JobStatus.COMPLETED, overrides=list(words)) for words in job_overrides]


def test_jobs_in_other_processes_are_in_the_table(multirun, monkeypatch):
    # Hydra takes plugins from the namespace package hydra_plugins alone.
    package, module = ModuleType("hydra_plugins"), ModuleType("hydra_plugins.forking")
    package.forking, module.Forking = module, Forking
    monkeypatch.setitem(sys.modules, "hydra_plugins", package)
    monkeypatch.setitem(sys.modules, "hydra_plugins.forking", module)
    monkeypatch.setattr(Forking, "__module__", "hydra_plugins.forking")
    Plugins.instance().register(Forking)
    ConfigStore.instance().store("forking", {"_target_": "hydra_plugins.forking.Forking"}, group="hydra/launcher")

    def main(cfg: Config, job_folder: str) -> None:
        if cfg.seed == 2:
            raise DataError("no clips")
        if cfg.seed == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        train(cfg, job_folder)

    # With a folder for jobs whose name does not begin with the number.
    folder, said = multirun(main, "seed=1,2,3,4", "hydra/launcher=forking", "hydra.sweep.subdir=jobs/s${seed}")
    assert states(folder) == ["finished", "refused", "killed", "finished"]
    assert [job["folder"] for job in table(folder)] == [f"jobs/s{seed}" for seed in (1, 2, 3, 4)]
    assert said == "Not finished, for the reason above: #1, #2"


def test_the_table_of_a_multirun_of_an_older_version_is_made_from_its_own(tmp_path):
    noted = []
    for number, state in ((0, "finished"), (2, "failed")):
        (tmp_path / f"{number}_x").mkdir()
        atomic.write_json(
            tmp_path / f"{number}_x" / "status.json", {"state": state, "error": "ConfigError: wrong\nvery"}
        )
    for number in range(3):
        noted.append(
            {"number": number, "words": [f"seed={number + 1}"], "folder": f"{number}_x" if number != 1 else None}
        )
    atomic.write_json(tmp_path / "jobs.json", noted)
    made = jobs.jobs(tmp_path)
    assert [(job.state, job.words, job.error) for job in made] == [
        ("finished", ["seed=1"], None),
        ("not begun", ["seed=2"], None),
        ("refused", ["seed=3"], "ConfigError: wrong"),
    ]
    full = {"state": "failed", "error": "WriteError: last.ckpt could not be written"}
    atomic.write_json(tmp_path / "2_x" / "status.json", full)
    assert jobs.jobs(tmp_path)[-1].state == "failed", "a full disk is neither configuration nor data"
    (tmp_path / "0_x" / "status.json").write_text('{"state":')
    damaged = jobs.jobs(tmp_path)[0]
    assert (damaged.state, damaged.folder) == ("failed", "0_x")
    assert damaged.error is not None
    assert re.search(r"0_x/status\.json cannot be read .*: restore the file, or delete", damaged.error)


# ---------------------------------------------------------------- Weights & Biases


def yaml_of(*arguments: str, capsys: pytest.CaptureFixture[str]) -> dict:
    wandb_sweep.main(list(arguments))
    return yaml.safe_load(capsys.readouterr().out)


AGENT_SETS = ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_SWEEP_ID")


@pytest.fixture
def agent(monkeypatch, tmp_path):
    """`agent(document, arguments)`: the command line that wandb's own agent starts for one run of the sweep."""
    for name in AGENT_SETS:
        monkeypatch.setenv(name, "test")  # the agent sets them for good
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    from wandb import wandb_agent

    started: list[list[str]] = []

    class Process:
        def __init__(self, command, **_) -> None:
            started.append(command)

    monkeypatch.setattr(wandb_agent, "AgentProcess", Process)

    def expanded(document: dict, arguments: dict) -> list[str]:
        theirs = wandb_agent.Agent(None, None, sweep_id="test")
        theirs._sweep_command = list(document["command"])
        # The server keeps the file as JSON.
        values = json.loads(json.dumps({key: {"value": value} for key, value in arguments.items()}))
        theirs._command_run({"run_id": "test", "program": document["program"], "args": values})
        return started[-1]

    return expanded


def choices(document: dict) -> list[dict]:
    """What a grid, or an extreme search, would try."""
    values = [p["values"] if "values" in p else [p["min"], p["max"]] for p in document["parameters"].values()]
    return [dict(zip(document["parameters"], point, strict=True)) for point in itertools.product(*values)]


@pytest.mark.parametrize("name", sorted({*SWEEPS} - {*INTERVENTIONS}))
def test_the_commands_of_a_committed_sweep_are_sound(command, agent, capsys, name):
    words = [f"sweep={name}", *ABOUT.get(name, ["dataset=demo"])]
    document = yaml_of(*words, capsys=capsys)
    assert list(document) == ["name", "project", "program", "method", "metric", "parameters", "command"]
    assert (document["name"], document["method"]) == (name, "grid")
    assert document["metric"] == {"name": "val/selection", "goal": "maximize"}
    points = choices(document)
    assert len(points) == len(sweep_points.Composer(words).points())
    started = agent(document, points[-1])
    assert started[:3] == ["/usr/bin/env", "python", "train.py"]
    called, said = command(*started[3:])
    assert said == "" and [cfg.logger.kind.value for cfg in called] == ["wandb"]


def test_every_kind_of_value_arrives(command, agent, capsys):
    system = 'a, "b" [c] it\'s {d}'
    document = yaml_of(
        f"prompting.system.en={json.dumps(system)},short",
        "finetuning.targets=[q_proj],[q_proj,v_proj]",
        "trainer.progress=true,false",
        "trainer.max_batches=null,3",
        "datasets.demo.tasks=[emotion,humour]",
        capsys=capsys,
    )
    assert document["parameters"]["trainer.progress"] == {"values": [True, False]}
    assert document["command"][-2:] == ["logger=wandb", "datasets.demo.tasks=[emotion,humour]"]
    [cfg], said = command(*agent(document, choices(document)[0])[3:])
    assert said == ""
    assert (cfg.prompting.system["en"], cfg.finetuning.targets) == (system, ["q_proj"])
    assert (cfg.trainer.progress, cfg.trainer.max_batches) == (True, None)
    assert cfg.datasets["demo"].tasks == ["emotion", "humour"]
    [cfg], _ = command(*agent(document, choices(document)[-1])[3:])
    assert (cfg.prompting.system["en"], cfg.finetuning.targets) == ("short", ["q_proj", "v_proj"])
    assert (cfg.trainer.progress, cfg.trainer.max_batches) == (False, 3)


def test_ranges_arrive(command, agent, tmp_path):
    file = tmp_path / "sweep.yaml"
    words = [
        "finetuning.learning_rate=tag(log,interval(1e-5,1e-3))",
        "finetuning.dropout=interval(0,0.5)",
        "finetuning.rank=int(interval(2,8))",
        "trainer=smoke,default",
    ]
    wandb_sweep.main([*words, "--method", "bayes", "--output", str(file), "modalities=t"])
    document = yaml.safe_load(file.read_text())
    assert document["method"] == "bayes" and wandb_sweep.document(words, None)["method"] == "random"
    assert document["parameters"] == {
        "finetuning.learning_rate": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-3},
        "finetuning.dropout": {"distribution": "uniform", "min": 0.0, "max": 0.5},
        "finetuning.rank": {"distribution": "int_uniform", "min": 2, "max": 8},
        "trainer": {"values": ["smoke", "default"]},
    }
    assert f"wandb sweep {file}" in file.read_text().splitlines()[1]
    [cfg], said = command(*agent(document, choices(document)[0])[3:])
    assert said == ""
    assert (cfg.finetuning.learning_rate, cfg.finetuning.dropout, cfg.finetuning.rank) == (1e-5, 0.0, 2)
    assert (cfg.trainer.name, cfg.modalities) == ("smoke", "t")


def test_a_command_of_the_agent_trains(agent, capsys, tmp_path, monkeypatch):
    from tiny_models import tiny_words  # here, since it waits for torch, which nothing else in this file does

    from affect.data.demo_corpus.generate import Settings, generate

    generate(tmp_path / "demo", Settings(num_train=4, num_val=4, num_test=4))
    places = [f"datasets.demo.root={tmp_path / 'demo'}", f"output_root={tmp_path / 'out'}"]
    model = tiny_words(tmp_path)
    capsys.readouterr()  # DeepSpeed, where it is installed, says on stdout that there is no GPU
    document = yaml_of("sweep=seeds", "modalities=t", "trainer=smoke", *model, *places, capsys=capsys)
    started = agent(document, choices(document)[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", started[2:])
    for name in AGENT_SETS:
        monkeypatch.delenv(name)  # there is no server that knows of this run
    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    [folder] = (tmp_path / "out").glob("*/")
    trained = run_summary.read(folder)
    assert (trained.status["state"], trained.config["seed"], trained.config["logger"]["kind"]) == (
        "finished",
        2,
        "wandb",
    )
    assert "val/selection" in (folder / "log" / "metrics.csv").read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["seed=3"], "there is nothing to sweep: give sweep=…, or a key with several values"),
        (["seed=choice()"], "seed=choice() has no values"),
        (["finetuning.rankk=2,3"], "'finetuning.rankk' is not in FinetuningConfig, did you mean 'rank'?"),
        (["seed=int(interval(-1,5))"], "#0 seed=-1: seed=-1 must not be below 0"),
        (["finetuning.dropout=interval(0,1)"], "#1 finetuning.dropout=1.0: finetuning.dropout=1.0 has to be below 1"),
        (["finetuning.dropout=interval(0,0.5)", "--method", "grid"], "a range has no end of values, and --method grid"),
        (["finetuning.dropout=interval(0.5,0)"], "is not a range: its first number has to be the smaller"),
        (["finetuning.dropout=tag(log,interval(0,0.5))"], "a logarithm is taken of numbers above 0"),
        (["finetuning.dropout=tag(cube,interval(0,0.5))"], "has the tag cube: only log is known here"),
        (["finetuning.rank=tag(log,int(interval(1,64)))"], "draws no whole numbers uniformly in the logarithm"),
        (["seed=1,2", "logger=csv"], "logger.kind=csv would log nothing to Weights & Biases: leave it out"),
        (["seed=1,2", "hydra.sweep.dir=x"], "hydra.sweep.dir=x: the runs are not started by Hydra's multirun"),
        (["seed=1,2", "run=outputs/x"], "run=outputs/x is for `python evaluate.py`"),
        (["sweep=nosuch"], "sweep=nosuch does not exist"),
    ],
)  # fmt: skip
def test_what_weights_and_biases_could_not_run_is_refused(arguments, sentence, tmp_path):
    file = tmp_path / "sweep.yaml"
    with pytest.raises(SystemExit) as end:
        wandb_sweep.main([*arguments, "--output", str(file)])
    assert str(end.value).startswith("The configuration cannot be run:\n  - ") and sentence in str(end.value)
    assert not file.exists()


def test_a_sweep_file_with_more_than_points_is_refused(own_conf):
    write_sweep(own_conf, "hydra: {sweeper: {params: {seed: '1,2'}}}\ntrainer: {max_epochs: 1}\n")
    with pytest.raises(ConfigError, match=r"conf/sweep/own\.yaml sets trainer beside its points.* conf/experiment"):
        wandb_sweep.document(["sweep=own"], None)


def test_a_sweep_file_alone_is_still_no_run(command):
    called, said = command("sweep=seeds")
    assert called == [] and "sweep=seeds is a list of runs: add -m, or leave it out" in said


# ---------------------------------------------------------------- one folder, one configuration


def test_a_folder_of_another_configuration_is_refused_and_left_as_it_is(multirun, tmp_path):
    own = f"hydra.sweep.dir={tmp_path / 'out' / 'sweeps' / 'X'}", "hydra.sweep.subdir=s${seed}"
    folder, said = multirun(train, "seed=1,2", "finetuning.learning_rate=1e-6", *own)
    assert said is None
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    _, said = multirun(train, "seed=1,2", "finetuning.learning_rate=5e-3", *own)
    assert said.startswith("The configuration cannot be run:\n  - #0 seed=1: ")
    assert f"{folder / 's1'} is the folder of a run with finetuning.learning_rate=1e-06, and not" in said
    assert "finetuning.learning_rate=0.005, as this job has" in said and "#1 seed=2" in said
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_multirun_started_again_keeps_what_is_done_and_makes_the_rest(multirun, tmp_path, capsys):
    own = f"hydra.sweep.dir={tmp_path / 'out' / 'sweeps' / 'X'}"
    begun = []

    def main(cfg: Config, job_folder: str) -> None:
        begun.append(cfg.seed)
        if begun == [1, 2]:
            raise MemoryError
        train(cfg, job_folder, cfg.seed / 10)

    folder, _ = multirun(main, "seed=1,2", own)
    assert states(folder) == ["finished", "failed"]
    folder, said = multirun(main, "seed=1,2", own, "trainer.num_workers=1")  # which changes no number
    assert said is None and states(folder) == ["finished"] * 2 and begun == [1, 2, 2]
    assert [job["attempts"] for job in table(folder)] == [1, 2]


@pytest.mark.parametrize(
    ("state", "changed", "sentence"),
    [
        ("stopped", {}, "was stopped and has saved its training: continue it, python train.py resume="),
        ("finished", {"code_sha256": "other"}, "made by other code or libraries (affect's code"),
        ("running", {}, "is the folder of a run that is still running"),
    ],
)
def test_what_is_saved_in_a_folder_is_not_overwritten(configure, tmp_path, state, changed, sentence):
    cfg = configure("experiment=demo")
    folder = train(cfg, str(tmp_path / "job"))
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").write_text("weights")
    for name, change in (("status.json", {"state": state}), ("environment.json", changed)):
        atomic.write_json(folder / name, json.loads((folder / name).read_text()) | change)
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        run_folder.create(cfg, "train", str(folder))
    assert (folder / "checkpoints" / "last.ckpt").read_text() == "weights"


@pytest.mark.parametrize("subdir", ["one", "s${seed}", "${model.name}_${modalities}"])
def test_two_points_in_one_folder_are_refused(command, subdir):
    called, said = command("-m", "finetuning.rank=4,8", "modalities=t", f"hydra.sweep.subdir={subdir}")
    assert called == []
    assert "would be the run folder of finetuning.rank=4 and of finetuning.rank=8: let hydra.sweep.subdir tell" in said


def test_a_subdir_that_tells_points_apart_is_none_of_our_business(multirun):
    folder, said = multirun(train, "seed=1,2", "hydra.sweep.subdir=${hydra.job.override_dirname}")
    assert said is None and states(folder) == ["finished"] * 2


def test_a_folder_that_only_the_running_job_knows_is_not_used_twice(multirun, monkeypatch):
    monkeypatch.setattr(sweep_points.Composer, "folder", lambda *_: None)
    folder, said = multirun(train, "seed=1,2", "hydra.sweep.subdir=one")
    assert said == "Not finished, for the reason above: #1"
    assert json.loads((folder / "one" / "job.json").read_text())["words"][0] == "seed=1"


# ---------------------------------------------------------------- one point once, one sweep at a time


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sweep=seeds,learning_rate"], "sweep=seeds,learning_rate: a multirun has one list of points"),
        (["sweep=[seeds,learning_rate]"], "a multirun has one list of points"),
        (["sweep=choice(seeds,modalities)"], "a multirun has one list of points"),
        (["sweep=glob(*)"], "a multirun has one list of points"),
        (["sweep=seeds", "sweep=learning_rate"], "sweep=seeds sweep=learning_rate: a multirun has one list"),
        (["experiment=demo", "experiment=cues"], "the last one alone would be taken"),
        (
            ["finetuning.learning_rate=1e-5,0.00001"],
            "#0 and #1 are the same run, made twice (finetuning.learning_rate=",
        ),
        (["seed=1,2,1"], "#0 seed=1 and #2 seed=1 are the same run, made twice"),
        (["modalities=ta,t,at"], "#0 modalities=ta and #2 modalities=at are the same run, made twice"),
        (["experiment=demo,plain,demo"], "#0 experiment=demo and #2 experiment=demo are the same run"),
    ],
)
def test_no_run_is_made_twice_or_left_out_without_a_word(command, words, sentence):
    called, said = command("-m", *words)
    assert called == [] and said.startswith("The configuration cannot be run:\n  - ") and sentence in said
    assert list(Path.cwd().iterdir()) == [], "something was made all the same"


# ---------------------------------------------------------------- which number may choose


def validated(cfg: Config, job_folder: str | None, val: float, test: float, task: str = "demo.emotion") -> None:
    folder = run_folder.create(cfg, "train", job_folder)
    with lifecycle.running(folder):
        numbers = [{"tasks": {task: {"headline": "weighted_f1", "value": value}}} for value in (test, val)]
        found = {
            "split": cfg.evaluation.split,
            **numbers[0],
            "validation": {"selection": val, "epoch": 2, **numbers[1]},
        }
        atomic.write_json(folder / "metrics.json", found)


def test_validation_numbers_stand_beside_the_test_numbers(multirun, capsys):
    folder, said = multirun(
        lambda cfg, folder: validated(cfg, folder, cfg.finetuning.rank / 100, cfg.seed / 10),
        "finetuning.rank=4,16",
        "seed=1,2",
    )
    assert said is None
    written = rows(folder)
    assert list(written[0])[3:6] == ["val selection", "val demo.emotion weighted_f1", "test demo.emotion weighted_f1"]
    assert [float(row["val demo.emotion weighted_f1"]) for row in written] == [0.04, 0.04, 0.16, 0.16]
    printed = capsys.readouterr().out
    assert f"Points differ in finetuning.rank. For a choice by validation alone: affect sweep best {folder}" in printed
    assert re.search(r"│ +2 │ finished │ finetuning.rank=16 seed=1 │ +0\.1600 │ +0\.1000 │", printed)


def test_nothing_is_said_of_choosing_where_only_seeds_differ(multirun, capsys):
    multirun(lambda cfg, folder: validated(cfg, folder, cfg.seed / 10, 0.1), "seed=1,2")
    assert "Points differ" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        ("test", "all numbers are of the test split: who chooses a point by them chooses on the test data"),
        ("val", "Points differ in evaluation.length_normalised. For a choice by validation alone: affect sweep best "),
    ],
)
def test_evaluations_say_what_may_be_chosen_by_their_numbers(multirun, capsys, split, sentence):
    def main(cfg: Config, job_folder: str) -> None:
        folder = run_folder.create(cfg, "evaluate", job_folder)
        with lifecycle.running(folder):
            tasks = {"demo.emotion": {"headline": "weighted_f1", "value": 0.5}}
            atomic.write_json(folder / "metrics.json", {"split": cfg.evaluation.split, "tasks": tasks})

    multirun(main, "evaluation.length_normalised=true,false", f"evaluation.split={split}")
    assert sentence in capsys.readouterr().out
