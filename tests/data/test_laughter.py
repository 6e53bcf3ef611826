"""Laughter at the end of clips gives away what is funny: found where it was planted, and nowhere else."""

import csv
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affect.config import DatasetConfig, InterventionConfig, Kind, Task
from affect.config.intervention import Intervention
from affect.data.audit.examine import examine
from affect.data.audit.laughter import LEAST_CLIPS, audience_noise, sound_of_end
from affect.data.facts import Finding, Severity
from affect.data.interventions import changed
from affect.data.media import SAMPLING_RATE, Clip

HUMOUR = Task(name="humour", kind=Kind.classification, labels=["humorous", "serious"], question={"en": "Which?"})
Laughs = Callable[[bool, np.random.Generator], bool]


def spoken(seconds: float, random: np.random.Generator) -> np.ndarray:
    """Syllables of a voice of 100 to 250 Hz with its harmonics, between them a breath of noise."""
    time = np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    phase = 2 * np.pi * random.uniform(100, 250) * time
    voice = sum(np.sin(n * phase) / n for n in range(1, 12))
    syllables = np.sin(2 * np.pi * random.uniform(2, 4) * time + random.uniform(0, 6)) > -0.6
    return random.uniform(0.05, 0.2) * (voice * syllables + 0.2 * ~syllables * random.standard_normal(len(time)))


def applause(seconds: float, random: np.random.Generator) -> np.ndarray:
    return random.uniform(0.03, 0.2) * random.standard_normal(round(seconds * SAMPLING_RATE))


def clip(random: np.random.Generator, laughed_at: bool) -> np.ndarray:
    """About two seconds of speech over background noise, with applause or silence behind it."""
    end = random.uniform(0.4, 0.8)
    after = applause(end, random) if laughed_at else np.zeros(round(end * SAMPLING_RATE))
    sound = np.concatenate([spoken(random.uniform(1, 2), random), after])
    return (sound + 0.001 * random.standard_normal(len(sound))).astype(np.float32)


def corpus(folder: Path, laughs: Laughs, num: int = 60) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    with (folder / "clips.csv").open("w", newline="", encoding="utf-8") as table:
        rows = csv.writer(table)
        rows.writerow(("clip", "text", "humour", "split", "group"))
        for i in range(num):
            funny = i % 2 == 0
            samples = clip(random, laughs(funny, random))
            with wave.open(str(folder / f"{i}.wav"), "wb") as file:
                file.setparams((1, 2, SAMPLING_RATE, 0, "NONE", ""))
                file.writeframes((samples * 32767).clip(-32768, 32767).astype("<i2").tobytes())
            label = "humorous" if funny else "serious"
            rows.writerow((f"{i}.wav", "So I said.", label, ("train", "val", "test")[i % 3], f"talk {i // 4}"))
    return folder / "clips.csv"


def findings(table: Path, task: Task = HUMOUR) -> list[Finding]:
    """What the audit says of the end of the sound."""
    columns = {"clip": "clip", "text": "text", "labels": [task.name], "group": "group", "split_column": "split"}
    config = DatasetConfig(
        reader="manifest",
        root=str(table),
        modalities="a",
        language="en",
        tasks=[task.name],
        task_definitions={task.name: task},
        options={**dict.fromkeys(("speaker", "id", "start", "end")), **columns, "require_clips": True},
    )
    cache = table.parent / "cache"
    found = examine("manifest", config, modalities="a", cache_root=cache, max_seconds=30, num_workers=1).findings
    return [finding for finding in found if "end of the sound" in finding.what or "of the sound" in finding.what]


def planted(funny: bool, random: np.random.Generator) -> bool:
    return random.random() < (0.8 if funny else 0.1)


def at_random(funny: bool, random: np.random.Generator) -> bool:
    return random.random() < 0.4


def test_laughter_behind_jokes_is_a_warning_that_names_the_remedy(tmp_path: Path, decoded: list[str]) -> None:
    table = corpus(tmp_path / "planted", planted)
    [finding] = findings(table)
    assert finding.severity is Severity.warning and "gives the label away" in finding.what
    assert "intervention=cut_tail intervention.seconds=1" in finding.remedy
    with table.open(encoding="utf-8") as rows:
        labels = {f"manifest/{row['split']}/{i + 2}": row["humour"] for i, row in enumerate(csv.DictReader(rows))}
    heard = [labels[id] for id in finding.ids]
    assert 20 <= heard.count("humorous") <= 30 and heard.count("serious") <= 7
    assert f"audience noise is heard in {len(heard)} of 60 clips" in finding.what
    decoded.clear()
    assert findings(table) == [finding] and decoded == [], "a second audit measures nothing"
    # Other tasks are not asked, and a few clips tell nothing.
    rows = table.read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join(rows).replace("humour", "mood"), encoding="utf-8")
    assert findings(table, replace(HUMOUR, name="mood")) == []
    table.write_text("".join(rows[: 2 * LEAST_CLIPS - 1]), encoding="utf-8")
    [finding] = findings(table)
    assert finding.severity is Severity.note and "is not measured, which takes 25 clips of each label" in finding.what


def test_laughter_that_tells_nothing_is_no_leak(tmp_path: Path) -> None:
    [finding] = findings(corpus(tmp_path / "at_random", at_random))
    assert finding.severity is Severity.note and "does not give the label away" in finding.what
    assert finding.ids == () and finding.remedy == "none"


def test_noise_is_sound_without_a_voice_and_cut_tail_takes_it_away() -> None:
    random = np.random.default_rng(1)
    background = (0.001 * random.standard_normal(3 * SAMPLING_RATE)).astype(np.float32)
    assert audience_noise(background) == 0 and audience_noise(np.zeros_like(background)) == 0
    talk = spoken(2.0, random)
    joke, talking = background.copy(), background.copy()
    joke[: len(talk)] += talk
    joke[len(talk) :] += applause(1.0, random)
    talking[SAMPLING_RATE:] += talk
    assert audience_noise(joke) == pytest.approx(1, abs=0.1) and audience_noise(talking) == 0
    without = changed(
        Clip(waveform=joke, frames=None, seconds=3.0), InterventionConfig(name=Intervention.cut_tail, seconds=1.0)
    )
    assert audience_noise(without.waveform) == 0
    assert np.isfinite(sound_of_end(background[:1_600])).all() and audience_noise(background[:1_600]) == 0
