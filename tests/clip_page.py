"""A report with clips: a table of small recordings, some odd, and three runs that predict them."""

import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from made_runs import make_run

from affect.config import Config
from affect.data.media import SAMPLING_RATE, write_clip

ODD_NAME = "a #1 %20 'q' \"é\"\n.wav"
HOSTILE = "</script><script>throw 1</script><img src=x onerror=throw(1)>\u202egnp.exe \x1b[31m"
LABELS = ("joy", "anger", "fear")


def sound(seconds: float, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * 220 * np.arange(int(seconds * SAMPLING_RATE)) / SAMPLING_RATE)).astype("f4")


def write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def write_table(folder: Path) -> Path:
    """clips.jsonl with ten test clips: 0 has an odd name, 1 a picture, 2 is part of a longer file, 3 lies in an .avi
    that is none, 4 has no file, 5 says something hostile, 6 says a megabyte."""
    folder.mkdir(parents=True)
    write_wav(folder / ODD_NAME, sound(1.0))
    write_wav(folder / "plain.wav", sound(0.5, 0.25))
    write_wav(folder / "long.wav", np.concatenate([sound(1.0, 0.0), sound(1.0, 0.5), sound(1.0, 0.0)]))
    frames = np.zeros((10, 48, 64, 3), dtype=np.uint8)
    frames[:, :, :, 0] = 200
    write_clip(folder / "film.mp4", frames=frames, fps=10, waveform=sound(1.0), sampling_rate=SAMPLING_RATE)
    (folder / "old.avi").write_bytes(b"no film at all")
    files = {0: ODD_NAME, 1: "film.mp4", 2: "long.wav", 3: "old.avi", 4: "gone.wav"}
    words = {5: HOSTILE, 6: "word " * 200_000}
    path = folder / "clips.jsonl"  # a cell of CSV has 131,072 letters at most
    with open(path, "w", encoding="utf-8") as file:
        for i in range(10):
            text = words.get(i, f"sentence {i} " + "more " * i)
            row = {"id": str(i), "clip": files.get(i, "plain.wav"), "text": text, "label": LABELS[i >= 5]}
            row |= {"split": "test", "speaker": f"speaker{i % 2}"} | ({"start": 1.0, "end": 2.0} if i == 2 else {})
            file.write(json.dumps(row) + "\n")
    return path


def change_lines(run: Path, change: Callable[[int, dict], dict]) -> None:
    """Changes the predictions of a run: `change(place, prediction)`."""
    path = run / "predictions.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(change(at, line)) + "\n" for at, line in enumerate(lines)), encoding="utf-8")


def with_scores(share: float) -> Callable[[int, dict], dict]:
    """Adds scores that give the answer `share`, a little more for every clip, and the rest to the others alike."""

    def change(at: int, line: dict) -> dict:
        given = share + at / 100
        scores = {label: float(np.log(given if label == line["exact"] else (1 - given) / 2)) for label in LABELS}
        return line | {"scores": scores}

    return change


def written(at: int, line: dict) -> dict:
    """A run that writes its answers: the last is unreadable, and the first hostile."""
    answer = HOSTILE if at == 0 else f"It is {line['exact']}."
    if at == 9:
        return line | {"answer": "=1+1", "exact": None, "lenient": None, "outcome": "no_label", "readout": "generate"}
    return line | {"answer": answer, "readout": "generate"}


def make_runs(configure: Callable[..., Config], folder: Path) -> Path:
    """The output folder with three runs: 1 is trained with the transcript, and right for the clips 0 to 5; 2 with the
    sound too, and right for 2 to 7; 3 writes its answers zero-shot, and is right for all but the last."""
    table, out = write_table(folder / "data"), folder / "out"
    words = [
        f"datasets.manifest.root={table}",
        f"datasets.manifest.task_definitions.label.labels=[{','.join(LABELS)}]",
        "datasets.manifest.transcribe=none",
    ]
    made: dict[str, Any] = {"dataset": "manifest", "num": 10}
    one = make_run(configure, out, "one", *words, "model=smollm2", correct=6, **made)
    two = make_run(configure, out, "two", *words, "model=smollm2", "modalities=ta", correct=range(2, 8), **made)
    three = make_run(
        configure, out, "three", *words, "model=smollm2", "evaluation=generate", correct=10, evaluate=True, **made
    )
    change_lines(one, with_scores(0.4))
    change_lines(two, with_scores(0.6))
    change_lines(three, written)
    return out
