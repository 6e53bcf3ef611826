"""Every command of the README: run to its result in this process, with a tiny model and a few clips in place of what it
names; or, for make, looked up."""

import csv
import json
import math
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_models import tiny_manifest, tiny_recogniser, tiny_words

from affect.cli import commands
from affect.config import FAMILIES, BaselineConfig, ModelConfig
from affect.data.demo_corpus.generate import Settings, generate
from affect.data.readers.meld import FILES
from affect.data.readers.ravdess import EMOTIONS
from affect.runs import ledger, run_results, run_summary

PROJECT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(?:console|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


ROW = re.compile(r"^\|.*\| `((?:python|affect) .*)` \|$", re.MULTILINE)


def documented_commands() -> list[str]:
    """The lines of console blocks and the commands of tables in README.md and docs/, each once."""
    found: list[str] = []
    pages = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
    assert len(pages) > 10
    for page in pages:
        text = page.read_text(encoding="utf-8")
        lines = [line.strip().removeprefix("$ ") for block in BLOCK.findall(text) for line in block.splitlines()]
        found += [line for line in (*lines, *ROW.findall(text)) if line and not line.startswith("#")]
    return list(dict.fromkeys(found))


COMMANDS = documented_commands()


def test_the_documentation_has_commands_of_every_kind() -> None:
    assert len(COMMANDS) >= 40
    for beginning in ("make ", "python train.py ", "python evaluate.py ", "affect "):
        assert any(command.startswith(beginning) for command in COMMANDS), beginning


def test_files_named_in_the_documentation_are_there() -> None:
    pages = [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")]
    named = {
        path for page in pages for path in re.findall(r"`((?:affect|benchmarks|conf)/[\w/]+\.\w+)", page.read_text())
    }
    named |= {f"docs/{path}" for path in re.findall(r"\]\(docs/([\w/]+\.md)\)", (PROJECT / "README.md").read_text())}
    assert len(named) > 20
    assert [path for path in named if not (PROJECT / path).exists() and "NAME" not in path] == []


def is_baseline(model: str) -> bool:
    family = re.search(r"/schema/(\w+)@", (PROJECT / "conf" / "model" / f"{model}.yaml").read_text())
    return family is not None and issubclass(FAMILIES.get(family[1], ModelConfig), BaselineConfig)


def write_ravdess(root: Path) -> None:
    """One loud and one quiet emotion of actors of every split; what else belongs to them is excluded by the reader."""
    for actor in (1, 2, 9, 10, 11, 12):
        (root / f"Actor_{actor:02d}").mkdir(parents=True)
        for i, emotion in enumerate(EMOTIONS):
            # The actor begins at a moment of her own: equal recordings would be one clip in several splits.
            sound = (3000 * np.sin((np.arange(8_000) + actor) * 0.05 * (i + 1))).astype("<i2")
            with wave.open(
                str(root / f"Actor_{actor:02d}" / f"03-01-{emotion}-01-01-01-{actor:02d}.wav"), "wb"
            ) as file:
                file.setparams((1, 2, 16_000, 0, "NONE", ""))
                file.writeframes(sound.tobytes())


def write_meld(root: Path) -> None:
    root.mkdir(parents=True)
    emotions = {"joy": "positive", "anger": "negative", "neutral": "neutral"}
    for name in FILES.values():
        with open(root / name, "w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"))
            for i in range(6):
                emotion = list(emotions)[i % 3]
                rows.writerow((i + 1, f"What number {i}?", "Monica", emotion, emotions[emotion], i // 3, i % 3))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory in which what the README takes for granted exists: data, a table of clips, a finished run."""
    root = tmp_path_factory.mktemp("readme")
    write_ravdess(root / "data" / "ravdess")
    write_meld(root / "data" / "meld")
    generate(root / "demo", Settings(num_train=4, num_val=4, num_test=4))
    table = tiny_manifest(root / "mine", train=6, val=3, test=3)
    shutil.copytree(table.parent / "clips", root / "clips")
    shutil.copy(table, root / "clips.csv")
    rows = [line.split(",") for line in table.read_text().splitlines() if ",test," in line]
    (root / "unlabelled.csv").write_text("clip,text\n" + "".join(f"{row[0]},{row[1]}\n" for row in rows))
    (root / "recordings.csv").write_text("clip\n" + "".join(f"{row[0]}\n" for row in rows))
    tiny_recogniser(root / "whisper")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        start(shlex.split("train.py dataset=manifest datasets.manifest.root=clips.csv"), root, patch)
        start(shlex.split("knowledge dataset=demo knowledge=cues"), root, patch)
    [made] = (root / "outputs").glob("*/")
    made.rename(root / "outputs" / "my_run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        first = "train.py -m model=majority modalities=t seed=1,2 hydra.sweep.dir=outputs/sweeps/first"
        start(shlex.split(first), root, patch)
    stopped = root / "outputs" / "stopped"
    shutil.copytree(root / "outputs" / "my_run", stopped)
    (stopped / "status.json").write_text('{"state": "stopped", "by": "SIGTERM"}')
    with (
        open(root / "data" / "meld" / FILES["test"], encoding="utf-8") as file,
        open(root / "predictions.csv", "w") as out,
    ):
        rows = [(f"{row['Dialogue_ID']}/{row['Utterance_ID']}", "joy") for row in csv.DictReader(file)]
        csv.writer(out).writerows([("id", "prediction"), *rows])
    return root


BASELINES = [path.stem for path in (PROJECT / "conf" / "model").glob("*.yaml") if is_baseline(path.stem)]
assert "mult" in BASELINES


def shrink(words: list[str], root: Path) -> list[str]:
    """`words` of a command, and after them those that make it small; what it says itself it says unchanged."""
    keys = {word.split("=")[0] for word in words}
    if "dry_run=true" in words or "resume" in keys:
        return words
    words = [f"data_root={root / 'data'}" if word.startswith("data_root=") else word for word in words]
    if "run" in keys:
        recogniser = f"transcription.model={root / 'whisper'}"
        return [*words, recogniser, "trainer.progress=false", f"cache_root={root / 'cache'}"]
    tiny = tiny_words(root)
    if "model" in keys or "sweep=baselines" in words:
        named = [word for word in words if word.startswith("model=")]
        assert not set(named) - {f"model={name}" for name in BASELINES}, "give the command dry_run=true"
        [language] = [word.removeprefix("model.language=") for word in tiny if word.startswith("model.language=")]
        tiny = [f"features.text={language}"]
    if "sweep=baselines" in words:  # three of its points
        tiny += ["hydra.sweeper.params.seed='1'", "hydra.sweeper.params.model='majority,vectors,mult'"]
    extra = ["trainer=smoke", *tiny, f"cache_root={root / 'cache'}"]
    if not keys & {"dataset", "experiment"} or set(words) & {"dataset=demo", "experiment=demo", "experiment=cues"}:
        extra.append(f"datasets.demo.root={root / 'demo'}")
    if "experiment=meld_text" in words:
        extra += [f"datasets.meld.subset.{split}=4" for split in ("train", "val", "test")]
    if "sweep=modalities" in words:  # two of its points
        extra += ["hydra.sweeper.params.modalities='t,av'", "hydra.sweeper.params.seed='1'"]
    if "sweep=knowledge_grid" in words:  # three of its points
        extra.append("hydra.sweeper.params.seed='1'")
    return [*words, *(word for word in extra if word.split("=")[0] not in keys)]


def prepared(name: str, words: list[str], root: Path) -> list[str]:
    """The words for `affect NAME`: those that load a model get a small one."""
    if name in ("report", "paper", "errors", "study", "sweep", "config", "corpus", "ledger"):
        return words
    if name == "knowledge" and words[0] in ("ls", "show"):
        return [*words, "--store", str(root / "cache" / "knowledge")]
    if name in ("doctor", "score", "transcribe"):
        small = [f"transcription.model={root / 'whisper'}"] if name == "transcribe" else []
        words = [*words, *small]
        places = (f"data_root={root / 'data'}", f"cache_root={root / 'cache'}")
        return [*(word for word in words if not word.startswith("data_root=")), *places]
    return shrink(words, root)


def start(words: list[str], root: Path, patch: pytest.MonkeyPatch) -> None:
    """Runs `affect WORDS`, or `python WORDS`, in this process."""
    patch.delenv("AFFECT_STAMP", raising=False)
    patch.syspath_prepend(str(PROJECT))
    if words[0] in commands.COMMANDS:
        patch.setattr(sys, "argv", ["affect", words[0], *prepared(words[0], words[1:], root)])
        commands.main()
    else:
        patch.setattr(sys, "argv", [words[0], *shrink(words[1:], root)])
        runpy.run_path(str(PROJECT / words[0]), run_name="__main__")


def finished(root: Path) -> Iterator[Path]:
    for file in (root / "outputs").rglob("status.json"):
        if run_summary.read(file.parent).status["state"] == "finished":
            yield file.parent


@pytest.mark.filterwarnings("ignore:.*found in sys.modules.*:RuntimeWarning")  # runpy's, of modules imported before
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_works(
    command: str, world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *words = shlex.split(command, comments=True)
    if program == "make":
        done = subprocess.run(["make", "-n", *words], cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and done.stdout.strip(), done.stderr
        return
    assert program in ("python", "affect"), f"the README has a command this test does not know: {command}"
    monkeypatch.chdir(world)
    before = set(finished(world)) - ({world / "outputs" / "stopped"} if "resume=outputs/stopped" in words else set())
    start(words, world, monkeypatch)
    made, said = set(finished(world)) - before, capsys.readouterr().out
    if "dry_run=true" in words:
        assert "The configuration is sound; nothing was run." in said and not made
    elif words[0] == "show":
        *parts, whole = [int(number) for number in re.findall(r"(?m)^│.*│ +(\d+) +│$", said)]
        assert not made and sum(parts) == whole > 0
        assert {"video", "audio", "transcript", "question"} <= set(re.findall(r"(?m)^│ (\w+)", said))
        assert re.search(r"(?m)^Which emotion\? Answer with one word: .*disgust\.", said)  # not folded
    elif words[0] == "knowledge":
        kinds = {"ls": "12 audio", "show": "audio, by cues-", "quality": "claims against measured cues"}
        assert kinds.get(words[1], "24 descriptions were in the store, 0 made") in said and not made
    elif words[0] == "transcribe":
        rate = "word error rate against its own transcripts" in said
        assert " 0 failed\nby whisper-" in said and rate == ("dataset=ravdess" in words) and not made
    elif words[0] == "export":
        assert "written: its README.md says how it is loaded" in said and not made
    elif words[0] == "report" and "html" in words:
        assert " written: open it in a browser" in said and not made
    elif words[0] == "report":
        assert "Results" in said or r"\begin{table}" in said
        assert ("demo.emotion" if "outputs/sweeps" in words else "manifest.label") in said and not made
        assert "--against" not in words or (said.count("leak audit") == 2 and "reference" in said)
    elif words[0] == "paper":
        assert " written, with " in said and "begin with its README.md" in said and not made
    elif words[0] == "errors":
        assert ('"confusion": {' if "json" in words else "of answers are right") in said and not made
    elif words[0] == "doctor":
        assert "meld" in said and "9,989" in said, "what was published is not held against what is there"
    elif words[0] == "score":
        result = json.loads(said)
        assert result["tasks"]["emotion"]["ledger"]["scored"] == 6
        noted = ledger.read(world / "outputs" / ledger.FILE)[0][-1]
        assert (noted.program, noted.clips, noted.ids_sha256) == ("score", 6, result["ids_sha256"])
    elif words[0] == "study":
        assert "data_efficiency" in said and not made
    elif words[0] == "ledger":
        assert "split test" in said and "): evaluated " in said and not made
    elif words[:2] == ["sweep", "best"]:
        assert "Best by validation, mean over 1 seed: model.strength=" in said
        assert len(made) == ("--no-test" not in words) == said.count(" on the test split.")
    elif words[:2] == ["sweep", "status"]:
        assert "3 jobs: 3 finished" in said and "All done" in said and not made
    elif words[:2] == ["sweep", "wandb"]:
        assert "finetuning.learning_rate" in said and "${args_no_hyphens}" in said
    elif words[:2] == ["sweep", "resume"]:
        assert len(made) == sum(word.startswith("seed=") for word in words) and "Jobs" in said
    else:
        points = math.prod(len(word.split("=")[1].split(",")) for word in words if "=" in word) if "-m" in words else 1
        sweep = {"sweep=modalities": 2, "sweep=knowledge_grid": 3, "sweep=baselines": 3}
        points = next((count for word, count in sweep.items() if word in words), points)
        results = (
            "clips without labels are predicted"
            if words[-1].endswith(("unlabelled.csv", "recordings.csv"))
            else "Results"
        )
        assert len(made) == points and results in said
        for folder in made:
            numbers = run_summary.read(folder).metrics
            assert numbers is not None and run_results.read_predictions(folder)
            assert all(task["n_scored"] + task["n_unlabelled"] > 0 for task in numbers["tasks"].values())
