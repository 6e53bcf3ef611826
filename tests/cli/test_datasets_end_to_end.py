"""Every dataset that is shipped, from its files on disk to the numbers: trained and evaluated with a tiny model."""

import json
import sys
import wave
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from dataset_fixtures import FIXTURES, Fixture
from omegaconf import OmegaConf
from tiny_models import tiny_manifest, tiny_words

import evaluate
import train
from affect.config.groups import CONF
from affect.data.demo_corpus.generate import Settings, generate
from affect.data.media import SAMPLING_RATE, write_clip
from affect.runs import run_results

OWN = {
    "demo": Fixture(
        write=lambda root: generate(root, Settings(num_train=4, num_val=2, num_test=3)),
        clips=[],
        expected={"train": 4, "val": 2, "test": 3},
        tasks=("emotion", "sentiment", "humour"),
    ),
    "manifest": Fixture(
        write=lambda root: tiny_manifest(root, train=4, val=2, test=3),
        clips=[],
        expected={"train": 4, "val": 2, "test": 3},
        tasks=("label",),
    ),
}
"""Datasets whose writers make their clips too."""

ALL = FIXTURES | OWN
TABLE = {"manifest": "clips.csv"}
"""Datasets whose root is a file of the folder."""

SECONDS = 8
"""Of the films: an IEMOCAP dialogue of the fixture ends at 7.25 s."""

Start = Callable[..., Path]


def sound(seconds: float, seed: int) -> np.ndarray:
    """A tone with noise of its own: clips with equal tracks would be one clip in several splits."""
    size = round(seconds * SAMPLING_RATE)
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(size) / SAMPLING_RATE)
    return tone + 0.01 * np.random.default_rng(seed).standard_normal(size)


def write_avi(path: Path, seed: int) -> None:
    """MPEG-4 video with PCM sound, as DivX files of their time have it but for the compressed sound."""
    with av.open(str(path), "w", format="avi") as container:
        video = container.add_stream("mpeg4", rate=Fraction(4))
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=SAMPLING_RATE, layout="mono")
        for shade in np.linspace(0, 255, 4 * SECONDS):
            pixels = np.full((32, 32, 3), round(shade), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode(None))
        samples = (sound(SECONDS, seed) * 32767).astype(np.int16)[np.newaxis]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLING_RATE, 0
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


def write_wav(path: Path, seed: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_RATE)
        file.writeframes((sound(0.8, seed) * 32767).astype("<i2").tobytes())


def write_mp4(path: Path, seed: int) -> None:
    frames = np.repeat(np.linspace(0, 255, 6).astype(np.uint8), 32 * 32 * 3).reshape(6, 32, 32, 3)
    waveform = sound(0.8, seed).astype(np.float32)
    write_clip(path, frames=frames, fps=7.5, waveform=waveform, sampling_rate=SAMPLING_RATE)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("end_to_end")


WRITERS = {"mp4": write_mp4, "avi": write_avi, "wav": write_wav}


@pytest.fixture(scope="module")
def start(root: Path) -> Iterator[Start]:
    """`start("train", *words)` runs train.py in this process and gives the folder it made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)

        def started(program: str, *words: str) -> Path:
            output = root / "outputs"
            before = set(output.glob("*/"))
            patch.setattr(sys, "argv", [f"{program}.py", f"output_root={output}", *words])
            patch.delenv("AFFECT_STAMP", raising=False)
            {"train": train.main, "evaluate": evaluate.main}[program]()
            return (set(output.glob("*/")) - before).pop()

        yield started


def dataset_of(case: str) -> str:
    return case.split(",")[0]


def test_every_dataset_that_is_shipped_is_tested() -> None:
    assert sorted({dataset_of(case) for case in ALL}) == sorted(p.stem for p in (CONF / "dataset").glob("*.yaml"))


@pytest.mark.parametrize("name", sorted({dataset_of(case) for case in ALL}))
def test_every_task_and_modality_of_a_dataset_is_tested(name: str) -> None:
    shipped = OmegaConf.load(CONF / "dataset" / f"{name}.yaml")
    cases = [fixture for case, fixture in ALL.items() if dataset_of(case) == name]
    assert {task for fixture in cases for task in fixture.tasks} == set(shipped.task_definitions)
    assert cases[0].modalities == shipped.modalities


@pytest.mark.parametrize("case", ALL)
def test_a_dataset_is_trained_on_and_evaluated(case: str, root: Path, start: Start) -> None:
    name, fixture = dataset_of(case), ALL[case]
    folder = root / case.replace(", ", "_").replace(" ", "_")
    fixture.write(folder)
    for seed, clip in enumerate(fixture.clips):
        (folder / clip).parent.mkdir(parents=True, exist_ok=True)
        (folder / clip).unlink(missing_ok=True)
        WRITERS[clip.rpartition(".")[2]](folder / clip, seed)
    data_root = folder / TABLE[name] if name in TABLE else folder
    words = [f"datasets.{name}.{word}" for word in (f"root={data_root}", f"tasks=[{','.join(fixture.tasks)}]")]
    words += [f"datasets.{name}.{word}" for word in fixture.words]
    words += [
        "trainer.max_epochs=1",
        "trainer.batch_size=64",
        "evaluation.batch_size=64",
        "evaluation.max_new_tokens=3",
    ]
    trained = start("train", *tiny_words(root), f"dataset={name}", f"modalities={fixture.modalities}", *words)
    evaluated = start("evaluate", f"run={trained}")

    used = fixture.used or fixture.expected
    account = {part["split"]: part for part in json.loads((trained / "data.json").read_text())["parts"]}
    assert {split: (part["expected"], part["used"]) for split, part in account.items()} == {
        split: (fixture.expected[split], used[split]) for split in ("train", "val", "test")
    }
    for made in (trained, evaluated):
        assert json.loads((made / "status.json").read_text())["state"] == "finished"
        numbers = json.loads((made / "metrics.json").read_text())["tasks"]
        assert list(numbers) == [f"{name}.{task}" for task in fixture.tasks]
        for task in fixture.tasks:
            found = numbers[f"{name}.{task}"]
            missing = fixture.unlabelled[task] if fixture.unlabelled and task in fixture.unlabelled else 0
            assert (found["expected"], found["used"]) == (fixture.expected["test"], used["test"])
            assert (found["n_scored"], found["n_unlabelled"]) == (used["test"] - missing, missing)
            assert found["outcomes"]["error"] == 0
    predictions = run_results.read_predictions(trained)
    assert run_results.read_predictions(evaluated) == predictions
    for task in fixture.tasks:
        assert len({p.id for p in predictions if p.task == task}) == used["test"]
    assert len(predictions) == used["test"] * len(fixture.tasks)
