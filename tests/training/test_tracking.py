"""Weights & Biases: what an offline run holds when it is read back by W&B's own reader, and that no failure of W&B's
reaches the training. Nothing goes to the network."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import wandb
from lightning.pytorch.loggers import CSVLogger
from wandb.sdk import wandb_setup
from wandb.util import get_core_path

from affect.config import Config, Kind, Task, read_yaml
from affect.data import Prediction, Record
from affect.data.media import SAMPLING_RATE, write_clip
from affect.evaluation.metrics.summary import summarise
from affect.runs import lifecycle, run_folder
from affect.training import samples, wandb_content, wandb_logger

Configure = Callable[..., Config]
GOLD = ["joy", "anger", "neutral", "joy", "sadness", "anger", "joy", "neutral"]
SAID = ["joy", "joy", None, "joy", None, "anger", "anger", "neutral"]


@pytest.fixture(autouse=True)
def nobody_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_") and name != "WANDB_SERVICE"]:
        monkeypatch.delenv(name)
    monkeypatch.delenv(wandb_logger.UNREACHABLE, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "no_settings"))


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """W&B reads its environment once a process."""
    wandb.teardown()
    yield
    monkeypatch.undo()
    wandb.teardown()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """film.mp4, film.mov, sound.mp4 (no picture), speech.wav, empty.mp4; all but the last of one second."""
    folder = tmp_path_factory.mktemp("clips")
    sound = 0.2 * np.sin(np.arange(SAMPLING_RATE) / 20).astype(np.float32)
    frames = np.full((8, 32, 32, 3), 90, dtype=np.uint8)
    write_clip(folder / "film.mp4", frames=frames, fps=8, waveform=sound, sampling_rate=SAMPLING_RATE)
    write_clip(folder / "sound.mp4", frames=None, fps=8, waveform=sound, sampling_rate=SAMPLING_RATE)
    shutil.copy(folder / "film.mp4", folder / "film.mov")
    with wave.open(str(folder / "speech.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_RATE)
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    (folder / "empty.mp4").touch()
    return folder


@pytest.fixture
def made(configure: Configure, tmp_path: Path) -> Callable[..., tuple[Config, Path]]:
    """`made(name, *words)`: a configuration and the run folder of a new job called `name`."""

    def make(name: str, *words: str) -> tuple[Config, Path]:
        cfg = configure("logger=wandb", *words)
        return cfg, run_folder.create(cfg, "train", str(tmp_path / "sweep one" / name))

    return make


def record(i: int, **media: Any) -> Record:
    return Record(id=f"demo/test/{i}", dataset="demo", split="test", text=f"turn {i}", group=str(i), **media)


def prediction(i: int, target: Any, value: Any, task: str = "emotion", **more: Any) -> Prediction:
    fixed = {"dataset": "demo", "split": "test", "group": str(i), "readout": "generate"}
    outcome = "valid" if value is not None else "no_label"
    given = {"target": target, "exact": value, "lenient": value, "outcome": outcome, "answer": str(value), **more}
    return Prediction(id=f"demo/test/{i}", task=task, **fixed, **given)


def inspected(folder: Path, which: int = -1) -> dict[str, list[dict[str, Any]]]:
    """The records of a run folder's W&B file by their type, as `wandb leet inspect` prints them."""
    file = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))[which]
    core = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file", str(file)]
    lines = subprocess.run([*core, str(folder / "wandb")], capture_output=True, text=True, check=True).stdout
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines.splitlines():
        entry = json.loads(line)
        found.setdefault(entry["type"], []).append(entry[entry["type"]])
    return found


def service() -> subprocess.Popen:
    return wandb_setup.singleton()._connection._proc._process


def test_what_is_recorded_of_a_job(made, clips, capsys):
    cfg, folder = made("0_smollm2", "logger.num_samples=7", "seed=3")
    media: list[dict[str, Any]] = [
        {"media": str(clips / "film.mp4")},
        {"media": str(clips / "film.mp4"), "start": 0.25, "end": 0.75},
        {"media": str(clips / "film.mov")},
        {"media": str(clips / "speech.wav")},
        {"media": str(clips / "empty.mp4")},
        {"media": str(clips / "absent.mp4")},
        {"media": None},
        {"media": None},
    ]
    records = {r.id: r for r in (record(i, **m) for i, m in enumerate(media))}
    predictions = [prediction(i, gold, said) for i, (gold, said) in enumerate(zip(GOLD, SAID, strict=True))]
    summary = summarise(predictions, cfg.datasets, cfg.evaluation)
    summary["tasks"]["demo.emotion"] |= {"expected": 9, "outside_subset": 0, "excluded": 1, "used": 8}
    hooks = sys.excepthook, sys.exit, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with wandb_logger.open(cfg, folder, "train", "outputs/sweeps/sweep one/0_job") as tracker:
        assert (sys.excepthook, sys.exit, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == hooks
        for step, loss in ((4, 2.0), (9, float("nan")), (14, 0.5)):
            tracker.log_metrics({"train/loss": loss}, step)
        tracker.results(summary, predictions, records)
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out == (
        f"Weights & Biases has this run offline; to upload it: wandb sync '{folder / 'wandb'}'\n"  # it has a space
    )

    found = inspected(folder)
    (begun,) = found["run"]
    assert {key: value for key, value in begun["config"]["update"].items() if key != "_wandb"} == read_yaml(
        folder / "config.yaml"
    )
    assert (begun["display_name"], begun["run_group"], begun["job_type"]) == ("0_smollm2", "sweep one", "train")
    assert begun["project"] == "affect"
    assert set(begun["tags"]) >= {"model=smollm2", "dataset=demo", "task=demo.emotion", "modalities=tav", "seed=3"}
    assert "sweep=sweep one" in begun["tags"]
    noted = json.loads((folder / "wandb.json").read_text())
    assert noted["id"] == begun["run_id"]
    assert [(folder / each).is_dir() for each in noted["folders"]] == [True]

    assert {
        "glob_name": "*",
        "options": {"defined": True, "step_sync": True},
        "step_metric": wandb_logger.STEP,
    } in found["metric"]
    history = [row["item"] for row in found["history"]]
    losses = [(row[wandb_logger.STEP], row.get("train/loss")) for row in history]
    assert losses == [(4, 2), (9, "NaN"), (14, 0.5), (14, None)]
    final: dict[str, Any] = {}
    for each in found["summary"]:
        final |= each["update"]
    numbers = summary["tasks"]["demo.emotion"]
    assert final["test/demo.emotion/weighted_f1"] == pytest.approx(numbers["lenient"]["weighted_f1"])
    assert final["test/demo.emotion/signature/weighted_f1"] == numbers["signatures"]["lenient"]["weighted_f1"]
    assert final["test/demo.emotion/signature/weighted_f1"].startswith("weighted_f1|rows:8/8|used:8|")
    assert final["test/demo.emotion/exact/uar"] == pytest.approx(numbers["exact"]["uar"])
    counts = {name: final[f"test/demo.emotion/n_{name}"] for name in ("expected", "used", "scored", "no_label")}
    assert counts == {"expected": 9, "used": 8, "scored": 8, "no_label": 2}
    assert [each["exit_code"] for each in found["exit"]] == [0]

    contents = {
        entry["path"]: Path(entry["local_path"]) for each in found["artifact"] for entry in each["manifest"]["contents"]
    }
    assert all(path.is_relative_to(folder) for path in contents.values()), "what is uploaded lies in the run folder"
    table = json.loads(contents["test/samples.table.json"].read_text())
    assert table["columns"] == wandb_content.COLUMNS
    assert len(table["data"]) == 7
    by_id = {int(row[0].rsplit("/", 1)[1]): row for row in table["data"]}
    assert {row[6] for row in table["data"]} == {"right", "wrong", "no_label"}
    kinds = ["video-file", "audio-file", "audio-file", "audio-file", None, None, None, None]
    for i, row in by_id.items():
        assert row[2:5] == [f"turn {i}", GOLD[i], SAID[i]]
        assert (None if row[7] is None else row[7]["_type"]) == kinds[i]
        if row[7] is not None:
            assert contents[row[7]["path"]].stat().st_size > 0
    (matrix,) = (path for path in (folder / "wandb").glob("offline-run-*/files/media/table/test/*/confusion_table*"))
    cells = {(gold, value): n for gold, value, n in json.loads(matrix.read_text())["data"]}
    assert sum(cells.values()) == len(GOLD)
    assert (cells["joy", "joy"], cells["joy", "anger"], cells["sadness", "unreadable"]) == (2, 1, 1)
    files = {path.name for path in (folder / "wandb").rglob("*")}
    assert not files & {"requirements.txt", "output.log", "code.py"}
    assert not list((folder / "wandb").glob(".clips-*"))


class Counting(L.LightningModule):
    """One weight and four steps; the last one raises where it is asked to."""

    def __init__(self, broken: bool) -> None:
        super().__init__()
        self.weight, self.broken = torch.nn.Parameter(torch.ones(1)), broken

    def training_step(self, batch: torch.Tensor, number: int) -> torch.Tensor:
        if self.broken and number == 3:
            raise FloatingPointError("the loss is nan")
        loss = (self.weight * batch).sum()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_a_trainer_logs_to_it_and_an_exception_ends_the_run_as_failed(made, broken, capsys):
    cfg, folder = made("0")
    ends = pytest.raises(FloatingPointError, match="the loss is nan") if broken else nullcontext()
    with ends, wandb_logger.open(cfg, folder, "train", None) as tracker:
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=[CSVLogger(folder, "log", ""), tracker],
            log_every_n_steps=1,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Counting(broken), torch.utils.data.DataLoader(torch.ones(4, 1)))
    found = inspected(folder)
    steps = [row["item"][wandb_logger.STEP] for row in found["history"]]
    assert steps == list(range(3 if broken else 4))
    assert [each["exit_code"] for each in found["exit"]] == [int(broken)]
    assert "Weights & Biases failed" not in capsys.readouterr().err


def test_two_jobs_of_a_process_are_two_runs_of_one_group_and_one_service(made):
    ids, services = [], []
    for name in ("0", "1"):
        cfg, folder = made(name)
        with wandb_logger.open(cfg, folder, "evaluate", "outputs/sweeps/sweep one/0_job") as tracker:
            ids.append(tracker.version)
            services.append(service().pid)
        begun = inspected(folder)["run"][0]
        assert (begun["run_id"], begun["run_group"], begun["job_type"]) == (ids[-1], "sweep one", "evaluate")
    assert len(set(ids)) == 2
    assert len(set(services)) == 1, "starting the service takes longer than all the rest"


def test_a_resumed_job_goes_on_in_the_same_run(made):
    cfg, folder = made("0")
    for step in (1, 2):
        with wandb_logger.open(cfg, folder, "train", None) as tracker:
            tracker.log_metrics({"train/loss": 1.0}, step)
    noted = json.loads((folder / "wandb.json").read_text())
    assert len(set(noted["folders"])) == 2
    first, second = inspected(folder, 0), inspected(folder, 1)
    assert [each["run"][0]["run_id"] for each in (first, second)] == [noted["id"]] * 2
    assert [each["run"][0].get("resume", False) for each in (first, second)] == [False, True]
    assert [each["history"][0]["item"][wandb_logger.STEP] for each in (first, second)] == [1, 2]


def test_a_folder_that_cannot_be_written_is_said_once_and_nothing_else_happens(made, capsys):
    cfg, folder = made("0")
    (folder / "wandb").write_text("in the way")
    with wandb_logger.open(cfg, folder, "train", None) as tracker:
        tracker.log_metrics({"train/loss": 1.0}, 1)
        tracker.results({}, [], {})
        tracker.experiment.log({"a": 1})
    said = capsys.readouterr()
    assert said.err.startswith("Weights & Biases failed at starting its run (FileExistsError: ")
    assert (said.err.count("\n"), said.out, tracker.version) == (1, "", None)
    assert not (folder / "wandb.json").exists()


def test_a_note_that_cannot_be_read_is_named(made, capsys):
    cfg, folder = made("0")
    (folder / "wandb.json").write_text("{}")
    wandb_logger.open(cfg, folder, "train", None).close()
    assert f"(ConfigError: {folder / 'wandb.json'} names no run of Weights & Biases: restore it, or delete it" in (
        capsys.readouterr().err
    )


def test_what_the_service_could_not_write_is_said(made, capsys):
    cfg, folder = made("0")
    with wandb_logger.open(cfg, folder, "train", None) as tracker:
        log = Path(tracker.experiment.settings.log_internal)
        log.write_text('{"msg":"writer: failed to save record: transactionlog: no space left on device"}')
    said = capsys.readouterr()
    assert said.err.startswith(f"Weights & Biases failed at finishing its run (OSError: see {log}: ")
    assert said.out == ""


def test_a_run_that_is_closed_is_in_its_file(made, monkeypatch):
    cfg, folder = made("0")
    with wandb_logger.open(cfg, folder, "train", None) as tracker:
        tracker.log_metrics({"train/loss": 1.0}, 1)
        connection, process = wandb_setup.singleton()._connection, service()
        inform = connection.inform_finish

        def inform_one_that_is_slow(**run: str) -> None:
            process.send_signal(signal.SIGSTOP)
            inform(**run)
            threading.Timer(0.5, process.send_signal, [signal.SIGCONT]).start()

        monkeypatch.setattr(connection, "inform_finish", inform_one_that_is_slow)
    found = inspected(folder)
    assert len(found["history"]) == len(found["exit"]) == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_service_that_dies_or_hangs_does_not_stop_the_job(made, how, capsys, monkeypatch):
    cfg, folder = made("0")
    with wandb_logger.open(cfg, folder, "train", None) as tracker:
        monkeypatch.setattr(wandb_logger, "ANSWER_SECONDS", 1.0)
        tracker.log_metrics({"train/loss": 1.0}, 1)
        process = service()
        process.send_signal(how)
        before = time.monotonic()
        for step in range(2, 3000):  # more than the socket between the processes holds
            tracker.log_metrics({"train/loss": 1.0}, step)
        assert time.monotonic() - before < 2.0
        tracker.close()
        assert time.monotonic() - before < 6.0
    said = capsys.readouterr()
    why = "logging (ConnectionResetError" if how == signal.SIGKILL else "finishing its run (TimeoutError: no answer"
    assert said.err.startswith(f"Weights & Biases failed at {why}")
    assert said.err.count("\n") == 1
    assert said.err.endswith(f"; what it has until now is uploaded by wandb sync '{folder / 'wandb'}'\n")
    assert process.poll() is not None, "a service that hangs would hold up the end of the process"

    cfg, folder = made("1")
    with wandb_logger.open(cfg, folder, "train", None) as tracker:  # the next job starts another one
        tracker.log_metrics({"train/loss": 1.0}, 1)
    assert len(inspected(folder)["history"]) == 1


def test_being_stopped_while_waiting_for_the_service_ends_the_wait(made, monkeypatch):
    cfg, folder = made("0")
    tracker = wandb_logger.open(cfg, folder, "train", None)
    process = service()
    process.send_signal(signal.SIGSTOP)

    def stopped(*_: Any) -> None:
        raise lifecycle.Stopped(signal.SIGTERM, folder)

    before = signal.signal(signal.SIGALRM, stopped)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(lifecycle.Stopped, match="SIGTERM"):
            tracker.close()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert process.poll() is not None


def test_without_a_network_the_run_is_recorded_offline(made, fresh, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens on the port of "discard"
    monkeypatch.setattr(wandb_logger, "INIT_SECONDS", 1.0)
    cfg, folder = made("0")
    assert wandb_logger.mode(cfg.logger) == "online"
    with wandb_logger.open(cfg, folder, "train", None) as tracker:
        tracker.log_metrics({"train/loss": 1.0}, 1)
    said = capsys.readouterr()
    assert said.err.startswith("Weights & Biases cannot be reached (CommError: ")
    assert said.err.count("\n") == 1
    assert "wandb sync" in said.out
    assert len(inspected(folder)["history"]) == 1

    # The next jobs of this process do not wait for it again, nor say it again.
    monkeypatch.setattr(wandb_logger, "INIT_SECONDS", 60.0)
    cfg, folder = made("1")
    began = time.monotonic()
    with wandb_logger.open(cfg, folder, "train", None) as tracker:
        tracker.log_metrics({"train/loss": 1.0}, 1)
    assert time.monotonic() - began < 30 and capsys.readouterr().err == ""
    assert len(inspected(folder)["history"]) == 1


def test_who_is_asked_where_a_run_goes(configure, fresh, tmp_path, monkeypatch):
    auto = configure("logger=wandb").logger
    assert wandb_logger.mode(auto) == "offline", "nobody is logged in"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + "k" * 40)
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "https://api.wandb.ai")
    wandb.teardown()
    assert wandb_logger.mode(auto) == "online"
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    assert wandb_logger.mode(auto) == "offline"
    assert wandb_logger.mode(configure("logger=wandb", "logger.mode=online").logger) == "online"
    monkeypatch.delenv("WANDB_MODE")
    (tmp_path / "settings_folder").mkdir()
    (tmp_path / "settings_folder" / "settings").write_text("[default]\nmode = offline\n")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings_folder"))
    wandb.teardown()
    assert wandb_logger.mode(auto) == "offline", "`wandb offline` was said"


def test_it_can_be_switched_off_by_the_environment(made, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    cfg, folder = made("0")
    with wandb_logger.open(cfg, folder, "train", None) as tracker:
        tracker.log_metrics({"train/loss": 1.0}, 1)
    assert capsys.readouterr().err == "Weights & Biases is switched off (WANDB_MODE=disabled)\n"
    assert not (folder / "wandb.json").exists()


def test_only_the_first_process_of_a_run_has_one(made, monkeypatch):
    cfg, folder = made("0")
    monkeypatch.setattr(wandb_logger, "is_first", lambda: False)
    with wandb_logger.open(cfg, folder, "train", None) as tracker:
        tracker.log_metrics({"train/loss": 1.0}, 1)
        tracker.results({}, [], {})
    assert (tracker.version, (folder / "wandb").exists()) == (None, False)


def test_an_agent_of_a_sweep_keeps_what_it_has_chosen(made, fresh, tmp_path, capsys, monkeypatch):
    (tmp_path / "parameters.yaml").write_text("wandb_version: 1\nseed: {value: 1}\nfinetuning.rank: {value: 4}\n")
    for name, value in {
        "SWEEP_ID": "sweep123",
        "RUN_ID": "agent123",
        "PROJECT": "theirs",
        "SWEEP_PARAM_PATH": str(tmp_path / "parameters.yaml"),
    }.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    cfg, folder = made("0", "finetuning.rank=4")
    with wandb_logger.open(cfg, folder, "train", "outputs/sweeps/sweep one/0_job"):
        pass
    begun = inspected(folder)["run"][0]
    assert (begun["run_id"], begun["sweep_id"], begun["project"]) == ("agent123", "sweep123", "theirs")
    assert "run_group" not in begun
    assert begun["config"]["update"]["seed"] == 1
    assert begun["config"]["update"]["finetuning"]["rank"] == 4
    assert capsys.readouterr().err == ""


def test_samples_are_dealt_evenly_and_are_the_same_in_every_order():
    emotion = Task(name="emotion", labels=["a", "b"])
    level = Task(name="level", kind=Kind.intensity, low=-3, high=3, step=1)
    tasks = {"demo.emotion": emotion, "demo.level": level}
    predictions = [prediction(i, "a", "a") for i in range(50)]
    predictions += [prediction(i, "a", "b") for i in range(50, 53)]
    predictions += [prediction(53, "a", None, outcome="refusal"), prediction(54, None, "a")]
    predictions += [prediction(55, 1.0, 1.5, "level"), prediction(56, 1.0, -1.0, "level")]
    chosen = samples.choose(predictions, tasks, "lenient", 12)
    said = [verdict for _, verdict in chosen]
    assert {each: said.count(each) for each in said} == {"right": 6, "wrong": 4, "refusal": 1, "unlabelled": 1}
    assert [p.id for p, _ in samples.choose(predictions[::-1], tasks, "lenient", 12)] == [p.id for p, _ in chosen]
    assert samples.choose(predictions, tasks, "lenient", 0) == []
    assert len(samples.choose(predictions, tasks, "lenient", 1000)) == len(predictions)


def test_a_verdict_is_that_of_the_reader_of_the_headline():
    task = Task(name="emotion", labels=["a", "b"])
    rambling = prediction(1, "a", "a", exact=None)
    assert samples.verdict(rambling, task, "lenient") == "right"
    assert samples.verdict(rambling, task, "exact") == "not exact"
    several = Task(name="emotion", labels=["a", "b"], kind=Kind.multi_label)
    assert samples.verdict(prediction(1, ("a", "b"), ("a", "b")), several, "exact") == "right"
    assert samples.verdict(prediction(1, ("a", "b"), ("a",)), several, "exact") == "wrong"


@pytest.mark.parametrize(
    ("media", "ends"),
    [
        ({"media": "film.mp4"}, "film.mp4"),
        ({"media": "speech.wav"}, "speech.wav"),
        ({"media": "sound.mp4"}, 1.0),
        ({"media": "film.mov"}, 1.0),
        ({"media": "film.mp4", "start": 0.25, "end": 0.75}, 0.5),
        ({"media": "speech.wav", "start": 0.5}, 0.5),
        ({"media": "film.mp4", "start": 7.0, "end": 8.0}, None),
        ({"media": "empty.mp4"}, None),
        ({"media": "absent.wav"}, None),
        ({"media": None}, None),
    ],
)
def test_a_clip_is_shown_as_it_is_or_as_its_sound_or_not_at_all(clips, tmp_path, media, ends):
    given = {**media, "media": None if media["media"] is None else str(clips / media["media"])}
    path = samples.playable(record(1, **given), 30.0, tmp_path)
    if not isinstance(ends, float):
        assert path == (None if ends is None else clips / ends)
        return
    assert path is not None and path.parent == tmp_path
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, SAMPLING_RATE)
        assert file.getnframes() / SAMPLING_RATE == pytest.approx(ends, abs=0.1)
        assert np.abs(np.frombuffer(file.readframes(file.getnframes()), "<i2")).max() > 3000


def test_scores_are_shown_with_the_likeliest_label_first():
    scored = prediction(1, "a", "b", answer=None, scores={"a": -2.0, "b": -0.5})
    assert samples.described(scored) == "b -0.50, a -2.00"
    assert samples.described(prediction(1, "a", None, answer=None, outcome="error", error="no such file")) == (
        "no such file"
    )


def test_tags_are_short_enough_for_weights_and_biases(configure):
    cfg = configure("logger=wandb")
    cfg.model.name = "m" * 90
    assert "model=" + "m" * 58 in wandb_content.tags(cfg)
    assert all(1 <= len(tag) <= 64 for tag in wandb_content.tags(cfg))
