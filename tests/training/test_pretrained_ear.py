"""experiment=ravdess_audio as it is shipped, with tiny models in the place of the wheels, on recordings of noise."""

import json
import sys
import wave
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from tiny_models import tiny_composed_language, tiny_whisper

import train
from affect.data.readers import ravdess


def noise(path: Path, seed: int) -> None:
    samples = 3000 * np.random.default_rng(seed).standard_normal(8_000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.astype(np.int16).tobytes())


def test_the_experiment_trains_and_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_composed_language(tmp_path / "language")
    tiny_whisper(tmp_path / "whisper", seconds=1, encoder_layers=4)
    for actor in (1, 2, 3):
        folder = tmp_path / "ravdess" / f"Actor_{actor:02d}"
        folder.mkdir(parents=True)
        for i, (emotion, statement) in enumerate((e, s) for e in ("01", "03", "05") for s in ravdess.STATEMENTS):
            noise(folder / f"03-01-{emotion}-01-{statement}-01-{actor:02d}.wav", 10 * actor + i)
    words = [
        "experiment=ravdess_audio",
        f"data_root={tmp_path}",
        "datasets.ravdess.options.splits={train:[1],val:[2],test:[3]}",
        f"model.language={tmp_path / 'language'}",
        f"model.audio={tmp_path / 'whisper'}",
        "model.max_seconds=1",
        "finetuning.last_layers=1",
        "finetuning.alignment_epochs=2",
        "trainer.batch_size=3",
        "trainer.encoder_cache=on",
        "trainer.progress=false",
        f"cache_root={tmp_path / 'cache'}",
        f"output_root={tmp_path / 'outputs'}",
    ]
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    monkeypatch.chdir(tmp_path)
    train.main()
    [folder] = (tmp_path / "outputs").glob("*/")
    assert "whisper_smollm2" in folder.name
    rows = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 6 and all(len(json.loads(row)["scores"]) == 8 for row in islice(rows, 2))
    said = (folder / "log" / "run.log").read_text(encoding="utf-8")
    assert "encoder cache" in said
