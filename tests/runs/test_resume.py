"""A training that is stopped or killed and continued ends as if nothing had happened; and what is refused instead."""

import csv
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.loggers.csv_logs import _ExperimentWriter as ExperimentWriter
from tiny_models import tiny_manifest, tiny_words

import evaluate
import train
from affect.config import WriteError
from affect.runs import run_summary
from affect.training import alignment, checkpointing
from affect.training.module import Supervised

# 9 clips in batches of 2, two to an optimiser step: five batches an epoch, the last of them alone in its step.
WORDS = (
    "trainer.max_epochs=2",
    "trainer.batch_size=2",
    "trainer.accumulate=2",
    "trainer.log_every=1",
    "trainer.save_every_steps=1",
    "model.max_seconds=5",
    "finetuning.dropout=0.1",
)
Program = Callable[..., Path]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def words(root: Path) -> list[str]:
    table = tiny_manifest(root / "corpus", train=9)
    data = ["dataset=manifest", f"datasets.manifest.root={table}", "data_root=data"]
    return [*tiny_words(root, "composed"), *data, *WORDS]


@pytest.fixture(scope="module")
def program(root: Path) -> Iterator[Program]:
    """`program("train", *words)` runs train.py in this process and gives the folder it made, or went on with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)

        def ran(name: str, *words: str) -> Path:
            output = root / "outputs"
            before = set(output.glob("*/"))
            resumed = [Path(word.removeprefix("resume=")) for word in words if word.startswith("resume=")]
            patch.setattr(sys, "argv", [f"{name}.py", *words, *([] if resumed else [f"output_root={output}"])])
            patch.delenv("AFFECT_STAMP", raising=False)
            {"train": train.main, "evaluate": evaluate.main}[name]()
            return resumed[0] if resumed else (set(output.glob("*/")) - before).pop()

        yield ran


@pytest.fixture(scope="module")
def uninterrupted(program: Program, words: list[str]) -> Path:
    return program("train", *words)


def newest(root: Path) -> Path:
    return max((root / "outputs").glob("*/"), key=lambda folder: folder.stat().st_mtime_ns)


def status(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "status.json").read_text(encoding="utf-8"))


def differences(first: Any, second: Any, place: str = "") -> list[str]:
    """Where two nests of dictionaries, lists and tensors differ in a single bit."""
    if isinstance(first, torch.Tensor):
        return [] if isinstance(second, torch.Tensor) and torch.equal(first, second) else [place]
    if isinstance(first, dict):
        if first.keys() != second.keys():
            return [f"{place}: keys"]
        return [found for key in first for found in differences(first[key], second[key], f"{place}.{key}")]
    if isinstance(first, list):
        if len(first) != len(second):
            return [f"{place}: length"]
        pairs = enumerate(zip(first, second, strict=True))
        return [found for i, (a, b) in pairs for found in differences(a, b, f"{place}[{i}]")]
    return [] if first == second else [f"{place}: {first} {second}"]


def assert_same_run(first: Path, second: Path) -> None:
    for name in ("best", "last"):
        states = [torch.load(f / "checkpoints" / f"{name}.ckpt", weights_only=True) for f in (first, second)]
        kept = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "epoch", "global_step")
        found = differences(*[{key: state[key] for key in kept} for state in states])
        assert not found, f"{name}.ckpt: {found[:5]}"
    for name in ("predictions.jsonl", "metrics.json", "data.json", "config.yaml", "log/metrics.csv"):
        assert (first / name).read_text() == (second / name).read_text(), name


def asked_to_stop(function: Callable, at: int, signum: int = signal.SIGTERM, times: int = 1) -> Callable:
    """`function`, at whose call number `at` (from 1) a signal arrives."""
    calls = 0

    def wrapped(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            for _ in range(times):
                os.kill(os.getpid(), signum)
        return function(*arguments, **named)

    return wrapped


def test_two_equal_runs_are_the_same_run(uninterrupted: Path, program: Program, words: list[str]) -> None:
    assert_same_run(uninterrupted, program("train", *words))


@pytest.mark.parametrize(
    ("where", "at", "saved"),
    [
        ("training_step", 1, 1),  # the first of two batches of a step: left after the second
        ("training_step", 4, 2),
        ("training_step", 8, 5),
        # Left at once: what is gone on from is the state before the epoch's last step.
        ("training_step", 5, 2),
        ("validation_step", 1, 2),
        ("validation_step", 2, 5),
    ],
)
def test_a_stopped_training_goes_on_as_if_it_had_not_been(
    where: str,
    at: int,
    saved: int,
    uninterrupted: Path,
    program: Program,
    words: list[str],
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Supervised, where, asked_to_stop(getattr(Supervised, where), at))
        with pytest.raises(SystemExit) as end:
            program("train", *words)
    folder = newest(root)
    assert end.value.code == 128 + signal.SIGTERM
    assert status(folder)["state"] == "stopped" and status(folder)["by"] == "SIGTERM"
    assert f"Continue with: python train.py resume={folder}" in capsys.readouterr().err
    assert checkpointing.position(folder).step == saved
    program("train", f"resume={folder}")
    assert status(folder)["state"] == "finished"
    assert_same_run(uninterrupted, folder)
    assert len(json.loads((folder / "environment.json").read_text())["resumed"]) == 1


@pytest.mark.parametrize("module", [alignment, Supervised])
def test_ctrl_c_before_the_first_step_and_after_the_last(
    module: Any,
    uninterrupted: Path,
    program: Program,
    words: list[str],
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "align" if module is alignment else "test_step"
    with monkeypatch.context() as patch:
        patch.setattr(module, name, asked_to_stop(getattr(module, name), 1, signal.SIGINT))
        with pytest.raises(SystemExit) as end:
            program("train", *words)
    assert end.value.code == 128 + signal.SIGINT
    folder = newest(root)
    assert_same_run(uninterrupted, program("train", f"resume={folder}"))


def test_a_second_signal_does_not_wait(
    program: Program, words: list[str], root: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: Path
) -> None:
    with monkeypatch.context() as patch:
        step = asked_to_stop(Supervised.training_step, 4, signal.SIGINT, times=2)
        patch.setattr(Supervised, "training_step", step)
        with pytest.raises(SystemExit) as end:
            program("train", *words)
    assert end.value.code == 128 + signal.SIGINT
    folder = newest(root)
    assert checkpointing.position(folder) == checkpointing.Position(epoch=0, batches=2, step=1)
    assert_same_run(uninterrupted, program("train", f"resume={folder}"))


def test_the_end_of_an_epoch_remembers_which_was_the_best(
    uninterrupted: Path, program: Program, words: list[str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        # The first batch of the second epoch: what was saved last is the end of the first.
        patch.setattr(Supervised, "training_step", asked_to_stop(Supervised.training_step, 6, times=2))
        with pytest.raises(SystemExit):
            program("train", *words)
    folder = newest(root)
    assert checkpointing.position(folder) == checkpointing.Position(epoch=1, batches=0, step=3)
    kept = torch.load(folder / checkpointing.LAST, weights_only=True)["callbacks"]
    [best] = [state for key, state in kept.items() if key.startswith("ModelCheckpoint")]
    assert best["best_model_score"] is not None, "a later epoch that is no better would be taken for the best"
    assert_same_run(uninterrupted, program("train", f"resume={folder}"))


@pytest.mark.parametrize("rows", [2, 5])
def test_a_killed_training_goes_on_as_if_it_had_not_been(
    rows: int, uninterrupted: Path, program: Program, words: list[str], root: Path
) -> None:
    before = set((root / "outputs").glob("*/"))
    child = os.fork()
    if child == 0:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - ends with the process
        program("train", *words)
        os._exit(0)
    log = None
    while log is None or not log.is_file() or len(log.read_text().splitlines()) < rows:
        made = set((root / "outputs").glob("*/")) - before
        log = made.pop() / "log" / "metrics.csv" if made else None
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the training was over before it could be killed"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    folder = log.parent.parent
    assert status(folder)["state"] == "running" and run_summary.read(folder).status["state"] == "killed"
    assert_same_run(uninterrupted, program("train", f"resume={folder}"))


# --- What is refused ---


@pytest.fixture
def stopped(program: Program, words: list[str], root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that was stopped after its second step."""
    with monkeypatch.context() as patch:
        patch.setattr(Supervised, "training_step", asked_to_stop(Supervised.training_step, 4))
        with pytest.raises(SystemExit):
            program("train", *words)
    return newest(root)


def refused(program: Program, *words: str) -> str:
    with pytest.raises(SystemExit) as end:
        program("train", *words)
    return str(end.value.code)


def test_what_cannot_be_continued(uninterrupted: Path, program: Program, words: list[str], root: Path) -> None:
    assert "is finished, with 2 epochs: evaluate it, python evaluate.py" in refused(program, f"resume={uninterrupted}")
    assert "nothing does not exist: name a run folder" in refused(program, f"resume={root / 'nothing'}")
    evaluation = program("evaluate", f"run={uninterrupted}", "trainer.progress=false")
    assert "is an evaluation, and those are not continued" in refused(program, f"resume={evaluation}")


def test_another_configuration_is_refused(stopped: Path, program: Program) -> None:
    said = refused(program, f"resume={stopped}", "trainer.max_epochs=9", "model=smollm2")
    assert "trainer.max_epochs cannot be given beside resume=" in said and "model cannot be given beside" in said


def test_a_relative_root_is_kept_absolute_and_found_from_another_folder(
    uninterrupted: Path,
    program: Program,
    words: list[str],
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = Path(next(word for word in words if word.startswith("datasets.manifest.root=")).split("=", 1)[1])
    there = [word for word in words if not word.startswith("datasets.manifest.root=")]
    with monkeypatch.context() as patch:
        patch.setattr(Supervised, "training_step", asked_to_stop(Supervised.training_step, 4))
        with pytest.raises(SystemExit):
            program("train", *there, f"datasets.manifest.root={table.relative_to(root)}")
        folder = newest(root)
        patch.chdir(tmp_path)
        patch.undo()
    kept = run_summary.read(folder).config
    assert kept["datasets"]["manifest"]["root"] == str(table)
    assert (kept["data_root"], kept["output_root"]) == (str(root / "data"), str(root / "outputs"))
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        assert_same_run(uninterrupted, program("train", f"resume={folder}"))


def test_data_that_were_moved_are_found_where_resume_says(
    stopped: Path, uninterrupted: Path, program: Program, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "elsewhere"
    (root / "corpus").rename(moved)
    try:
        table = next(path.name for path in moved.glob("*.csv"))
        assert "clips.csv does not exist" in refused(program, f"resume={stopped}")
        said = refused(program, f"resume={stopped}", "datasets.demo.root=x")
        assert "datasets.demo.root: run=" in said and "is on manifest, and has no dataset demo" in said
        said = refused(program, f"resume={stopped}", "datasets.manifest.fraction=0.5")
        assert "datasets.manifest.fraction cannot be given beside resume=" in said
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            program("train", f"resume={stopped}", f"datasets.manifest.root=elsewhere/{table}")
        kept = run_summary.read(stopped).config
        assert kept["datasets"]["manifest"]["root"] == str(moved / table) and kept["resume"] is None
        for name in ("predictions.jsonl", "metrics.json"):
            assert (stopped / name).read_text() == (uninterrupted / name).read_text()
        # And so does an evaluation, of a run whose data are not where they were either.
        evaluation = program("evaluate", f"run={uninterrupted}", f"datasets.manifest.root={moved / table}")
        assert run_summary.read(evaluation).config["datasets"]["manifest"]["root"] == str(moved / table)
        assert run_summary.read(evaluation).config["run"] == str(uninterrupted)
    finally:
        moved.rename(root / "corpus")


def test_what_was_saved_is_not_taken_up_by_another_configuration(
    stopped: Path, program: Program, words: list[str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A multirun into the folder of a stopped run of another configuration."""
    folder = root / "outputs" / "again"
    shutil.copytree(stopped, folder / "job")
    before = status(folder / "job")
    own = (*words, f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=job", f"output_root={root / 'outputs'}")
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", *own, "finetuning.learning_rate=5e-3"])
    with pytest.raises(SystemExit) as end:
        train.main()
    assert "is the folder of a run with finetuning.learning_rate=0.0005, and not" in str(end.value.code)
    assert status(folder / "job") == before
    shutil.rmtree(folder)


def test_a_run_that_is_still_running_is_refused(stopped: Path, program: Program) -> None:
    alive = status(stopped) | {"state": "running"}
    (stopped / "status.json").write_text(json.dumps(alive))
    assert f"is still running, as process {os.getpid()} on " in refused(program, f"resume={stopped}")


def test_other_code_is_refused_unless_it_is_wanted(stopped: Path, program: Program, uninterrupted: Path) -> None:
    file = stopped / "environment.json"
    known = json.loads(file.read_text())
    file.write_text(json.dumps(known | {"code_sha256": "0", "versions": known["versions"] | {"torch": "1.0"}}))
    said = refused(program, f"resume={stopped}")
    assert "affect's code (begun with version" in said and "torch (1.0 then, " in said
    assert_same_run(uninterrupted, program("train", f"resume={stopped}", "resume_with_other_code=true"))


def test_a_damaged_checkpoint_is_refused(stopped: Path, program: Program, uninterrupted: Path) -> None:
    file = stopped / checkpointing.LAST
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    said = refused(program, f"resume={stopped}")
    assert re.search(r"last\.ckpt cannot be read .* delete the file to begin that run anew", said)
    file.unlink()
    assert_same_run(uninterrupted, program("train", f"resume={stopped}"))


def test_other_data_is_refused(
    stopped: Path, program: Program, words: list[str], root: Path, uninterrupted: Path
) -> None:
    table = Path(next(word for word in words if word.startswith("datasets.manifest.root=")).split("=", 1)[1])
    whole = table.read_text()
    rows = list(csv.reader(whole.splitlines()))
    lost = next(row for row in rows if "train" in row)
    table.write_text("".join(",".join(row) + "\n" for row in rows if row is not lost))
    try:
        said = refused(program, f"resume={stopped}")
    finally:
        table.write_text(whole)
    assert "manifest, split 'train', is not what run=" in said and "9 clips were used then, 8 can be now" in said
    assert status(stopped)["state"] == "failed"
    assert_same_run(uninterrupted, program("train", f"resume={stopped}"))


def of_table(words: list[str]) -> Path:
    return Path(next(word for word in words if word.startswith("datasets.manifest.root=")).split("=", 1)[1])


def test_changed_data_is_refused(
    stopped: Path, program: Program, words: list[str], root: Path, uninterrupted: Path
) -> None:
    table = of_table(words)
    whole = table.read_text()
    rows = list(csv.reader(whole.splitlines()))
    train = [number for number, row in enumerate(rows) if "train" in row]
    begin = f"manifest, split 'train', is not what run={stopped} was begun with: of 9 clips these have changed: "
    first, second = (f"manifest/train/{number + 1} (clips.csv, row {number + 1}: " for number in train[:2])

    def said(*, text: str = "", labels: bool = False, swap: bool = False) -> str:
        changed = [list(row) for row in rows]
        if text:
            changed[train[0]][1] = text
        a, b = train[:2]
        if labels:
            changed[a][2], changed[b][2] = changed[b][2], changed[a][2]
        if swap:
            changed[a], changed[b] = changed[b], changed[a]
        table.write_text("".join(",".join(row) + "\n" for row in changed))
        try:
            return refused(program, f"resume={stopped}")
        finally:
            table.write_text(whole)

    end = ": restore the data, or train anew"
    assert said(text="something else").endswith(f"{begin}{first}transcript){end}")
    assert said(labels=True).endswith(f"{begin}{first}labels), {second}labels){end}")
    assert f"{begin}{first}transcript, labels, context, speaker or language, file)" in said(swap=True)

    clips = [table.parent / rows[number][0] for number in train]
    kept = clips[0].read_bytes()
    clips[0].write_bytes(clips[1].read_bytes())
    try:
        replaced = refused(program, f"resume={stopped}")
        clips[0].write_bytes(kept)
        os.utime(clips[0])
        assert replaced.endswith(f"{begin}{first}file){end}")
    finally:
        clips[0].write_bytes(kept)
    assert_same_run(uninterrupted, program("train", f"resume={stopped}"))


def test_a_run_that_kept_only_ids_is_resumed_with_what_they_tell(
    stopped: Path, program: Program, uninterrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (stopped / "clips.json.gz").unlink()
    assert_same_run(uninterrupted, program("train", f"resume={stopped}"))
    told = f"run={stopped} was begun by a version of affect that kept no clips.json.gz: only the ids of its clips were"
    assert told in capsys.readouterr().out


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    writer = checkpointing.AtomicCheckpoints()
    writer.save_checkpoint({"step": 1}, path)

    class Unwritable:
        def __reduce__(self) -> Any:
            raise OSError(28, "No space left on device")

    said = r"last.ckpt could not be written .*No space left.*make room and continue with python train.py resume=\S+; "
    with pytest.raises(WriteError, match=said + "what was saved before is still there"):
        writer.save_checkpoint({"step": Unwritable()}, path)
    assert torch.load(path) == {"step": 1}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
    with pytest.raises(WriteError, match=said + "nothing had been saved before"):
        writer.save_checkpoint({"step": Unwritable()}, tmp_path / "other" / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize("part", ["last.ckpt", "metrics.csv"])
def test_a_full_disk_ends_a_training_with_a_sentence(
    program: Program, words: list[str], root: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def no_room(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((torch, "save") if part == "last.ckpt" else (ExperimentWriter, "save")), no_room)
    before = set((root / "outputs").glob("*/"))
    said = refused(program, *words)
    [folder] = set((root / "outputs").glob("*/")) - before
    assert re.match(rf"{folder}/\S+{part} could not be written \(.*No space left on device\): make room and", said)
    assert f"continue with python train.py resume={folder}" in said and "Traceback" not in said
    assert status(folder)["state"] == "failed" and "No space left" in status(folder)["error"]


def test_only_the_end_of_an_epoch_is_saved_unless_told_otherwise(
    program: Program, words: list[str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = []
    write = checkpointing.AtomicCheckpoints.save_checkpoint

    def noted(self: Any, checkpoint: dict, path: Any, storage_options: Any = None) -> None:
        saved.append((Path(path).name, checkpoint["global_step"]))
        write(self, checkpoint, path, storage_options)

    monkeypatch.setattr(checkpointing.AtomicCheckpoints, "save_checkpoint", noted)
    program("train", *words, "trainer.save_every_steps=null")
    assert [step for name, step in saved if name == "last.ckpt"] == [3, 6]
