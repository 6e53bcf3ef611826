"""The demo corpus: that it is what it says, and that its best possible scores are right."""

import csv
import json
import os
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from affect.cli import corpus
from affect.config import DataError, Kind, Task
from affect.config.tasks import problems
from affect.data import SPLITS
from affect.data.demo_corpus import generate, render
from affect.data.demo_corpus import states as states_module
from affect.data.demo_corpus.generate import Settings
from affect.data.demo_corpus.states import EMOTION_OF, EMOTIONS, HUMOUR, PRIOR, VALENCE_OF, VALENCES
from affect.data.media import Sampling, decode
from affect.data.readers import demo

SMALL = Settings(num_train=4, num_val=2, num_test=3)
MANY = Settings(num_train=1, num_val=1, num_test=3000)
NOTHING = {"reveal_text": 0.0, "reveal_audio": 0.0, "reveal_video": 0.0}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("corpus") / "demo"
    generate.generate(root, SMALL)
    return root


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "demo"))


@cache
def states(settings: Settings) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    test = [line for line in generate.lines(settings) if line.split == "test"]
    shown = {letter: np.array([line.shown[letter] for line in test]) for letter in "tav"}
    return np.array([line.hidden for line in test]), shown


def test_records(whole):
    records = list(demo.records(whole))
    assert Counter(record.split for record in records) == {"train": 4, "val": 2, "test": 3}
    record = next(record for record in records if record.split == "test")
    assert record.id == "demo/test/0001" and record.group == record.speaker and record.source == "index.csv, row 8"
    assert set(record.labels) == {"sentiment", "emotion", "humour"}
    clip = decode(record.media, Sampling(audio=True, video=True, num_frames=4, frame_size=64, max_seconds=5))
    assert clip.frames.shape == (4, 64, 64, 3) and 2 <= clip.seconds <= 3
    assert np.sqrt(np.mean(clip.waveform**2)) > 0.005, "there is a voice"
    assert np.abs(clip.frames[0].astype(int) - clip.frames[2]).mean() > 0.5, "the face moves"


def test_the_yaml_fits_the_reader(whole):
    path = Path(__file__).parents[2] / "conf/dataset/demo.yaml"
    dataset = yaml.safe_load(path.read_text(encoding="utf-8"))
    tasks = {
        name: Task(**{**definition, "name": name, "kind": Kind(definition["kind"])})
        for name, definition in dataset["task_definitions"].items()
    }
    assert [list(problems(task)) for task in tasks.values()] == [[], [], []]
    assert tasks["sentiment"].grid() == VALENCES.tolist()
    assert set(tasks["emotion"].labels) == set(EMOTIONS) and set(tasks["humour"].labels) == set(HUMOUR)
    assert dataset["reader"] == "demo" and set(dataset["tasks"]) <= set(tasks)


def test_default_sizes_and_speakers():
    lines = list(generate.lines(Settings()))
    by_split = {split: [line for line in lines if line.split == split] for split in SPLITS}
    assert [len(by_split[split]) for split in SPLITS] == [200, 40, 120]
    speakers = [{line.speaker for line in by_split[split]} for split in SPLITS]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 30
    assert {EMOTION_OF[line.hidden] for line in by_split["test"]} == set(range(6))


def test_the_same_settings_give_the_same_files(whole, tmp_path):
    generate.generate(tmp_path / "again", SMALL)
    names = sorted(str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file())
    assert len(names) == 9 + 5
    for name in names:
        assert (whole / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_a_setting_changes_only_what_depends_on_it():
    settings = replace(Settings(), num_train=20, num_val=10, num_test=200)
    before = {line.id: line for line in generate.lines(settings)}
    changed = replace(settings, reveal_audio=0.8, num_train=5)
    after = {line.id: line for line in generate.lines(changed) if line.split == "test"}
    flips = 0
    for name, line in after.items():
        assert line.hidden == before[name].hidden
        assert [line.shown[m] for m in "tv"] == [before[name].shown[m] for m in "tv"]
        flips += line.shown["a"] != before[name].shown["a"]
    assert 20 < flips < 100, "about 200 x (0.8 - 0.5), less where the other state was the same"


def test_lines_are_short_and_differ_between_emotions():
    random = np.random.default_rng(0)
    for state in range(PRIOR.size):
        text = render.render_text(state, random)
        assert 5 <= len(text.split()) <= 12, text
    words = {emotion: set() for emotion in range(6)}
    for state in np.repeat(np.arange(PRIOR.size), 4):
        words[EMOTION_OF[state]].add(render.render_text(state, random).split(",")[0])
    assert all(not words[a] & words[b] for a in words for b in words if a < b)


def test_the_model_of_the_clips():
    assert PRIOR.sum() == pytest.approx(1) and PRIOR.min() >= 0
    assert generate.decoys(Settings()).sum() == pytest.approx(1)
    shares = [PRIOR[i == EMOTION_OF].sum() for i in range(6)]
    assert shares == sorted(shares, reverse=True) and shares[0] > 5 * shares[-1], "imbalanced"
    hidden, shown = states(MANY)
    np.testing.assert_allclose(np.bincount(EMOTION_OF[hidden], minlength=6) / hidden.size, shares, atol=0.03)
    for letter, reveal in generate.reveals(MANY).items():
        by_chance = (generate.decoys(MANY) * PRIOR).sum()
        assert np.mean(shown[letter] == hidden) == pytest.approx(reveal + (1 - reveal) * by_chance, abs=0.03)


def test_the_posterior_is_calibrated():
    """Of the clips given a probability near p, a share near p is right: only the true posterior does that."""
    hidden, shown = states(MANY)
    belief = generate.posterior(shown, MANY)
    np.testing.assert_allclose(belief.sum(axis=1), 1)
    by_emotion = np.stack([belief[:, i == EMOTION_OF].sum(axis=1) for i in range(6)], axis=1)
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        near = (by_emotion > low) & (by_emotion <= low + 0.2)
        right = (EMOTION_OF[hidden][:, None] == np.arange(6))[near]
        promised = by_emotion[near].mean()
        error = np.sqrt(promised * (1 - promised) / near.sum())
        assert right.mean() == pytest.approx(promised, abs=3.5 * error), low


def test_modalities_add_up():
    hidden, shown = states(MANY)
    scores = generate.best_possible(hidden, shown, MANY)
    f1 = scores["emotion"]["weighted_f1"]
    assert f1["t"] > f1["a"] > f1["v"] > f1[""]
    assert f1["tav"] > f1["ta"] > f1["t"] + 0.05 and f1["tv"] > f1["t"] and f1["av"] > f1["a"]
    assert 0.84 < f1["tav"] < 0.92
    assert scores["sentiment"]["mae"]["tav"] < scores["sentiment"]["mae"]["t"] < scores["sentiment"]["mae"][""]
    assert scores["humour"]["accuracy"]["tav"] > scores["humour"]["accuracy"][""] + 0.1
    # The same clips, predicted by what the text shows (a rule that is optimal here), and scored by another library.
    said, truth = EMOTION_OF[shown["t"]], EMOTION_OF[hidden]
    assert f1["t"] == pytest.approx(f1_score(truth, said, average="weighted"), abs=1e-9)


@pytest.mark.parametrize("letter", "tav")
def test_a_modality_with_reveal_0_is_worth_nothing(letter):
    settings = replace(MANY, num_test=500, **{f"reveal_{generate.MODALITIES[letter]}": 0.0})
    hidden, shown = states(settings)
    scores = generate.best_possible(hidden, shown, settings)
    others = "tav".replace(letter, "")
    for metrics in scores.values():
        for by_subset in metrics.values():
            assert by_subset[letter] == by_subset[""], "the majority class"
            assert by_subset["tav"] == pytest.approx(by_subset[others])
    majority = np.bincount(EMOTION_OF[hidden]).argmax()
    assert scores["emotion"]["accuracy"][""] == np.mean(EMOTION_OF[hidden] == majority)


def features(letter: str, settings: Settings, split: str) -> tuple[list, np.ndarray]:
    """Simple measurements of what a modality really renders, and the hidden emotions."""
    found, emotions = [], []
    for line in generate.lines(settings):
        if line.split != split:
            continue
        random, speaker = np.random.default_rng([line.number, len(split)]), np.random.default_rng(line.speaker)
        if letter == "t":
            found.append(render.render_text(line.shown["t"], random))
        elif letter == "a":
            voice = render.render_voice(line.shown["a"], 1.0, speaker, random)
            blocks = voice[: voice.size // 512 * 512].reshape(-1, 512) * np.hanning(512)
            bands = np.log(np.abs(np.fft.rfft(blocks))[:, :192].reshape(-1, 48, 4).mean(axis=2) + 0.01)
            found.append(np.concatenate([bands.mean(axis=0), bands.std(axis=0)]))
        else:
            face = render.render_face(line.shown["v"], 2, speaker, random)
            found.append(face.mean(axis=(0, 3))[18:82, 16:80].reshape(16, 4, 16, 4).mean(axis=(1, 3)).ravel())
        emotions.append(EMOTION_OF[line.hidden])
    return found, np.array(emotions)


@pytest.mark.parametrize("letter", "tav")
def test_what_is_rendered_can_be_read_only_if_it_reveals(letter):
    settings = Settings(num_train=140, num_val=1, num_test=100)
    nothing = Settings(num_train=80, num_val=1, num_test=60, **NOTHING)
    gains = []
    for chosen in (settings, nothing):
        (train, train_emotions), (test, emotions) = (features(letter, chosen, split) for split in ("train", "test"))
        first = CountVectorizer(binary=True) if letter == "t" else StandardScaler()
        strength = 0.3 if letter == "t" else 0.003  # many more measurements than clips
        model = make_pipeline(first, LogisticRegression(C=strength, max_iter=300)).fit(train, train_emotions)
        majority = np.bincount(emotions).max() / emotions.size
        gains.append(model.score(test, emotions) - majority)
    print(letter, gains)
    # Twice the standard error of an accuracy of a third on 100 clips is 0.094.
    assert gains[0] > 0.094 > gains[1]


def test_an_existing_folder_is_not_overwritten(whole):
    with pytest.raises(DataError, match="exists already: delete it"):
        generate.generate(whole, SMALL)


def test_two_processes_at_once_leave_one_whole_corpus(tmp_path, whole):
    def attempt(_: int) -> str:
        try:
            generate.generate(tmp_path / "demo", SMALL)
        except DataError as error:
            return str(error)
        return "made"

    with ThreadPoolExecutor(2) as pool:
        assert "made" in list(pool.map(attempt, range(2)))
    assert (tmp_path / "demo/index.csv").read_bytes() == (whole / "index.csv").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["demo"], "nothing is left beside it"


def test_the_slower_of_two_processes_yields(tmp_path, whole, monkeypatch):
    def overtaken(root: Path, *rest: object) -> None:
        shutil.copytree(whole, tmp_path / "demo")
        root.mkdir(exist_ok=True)

    monkeypatch.setattr(generate, "_write", overtaken)
    generate.generate(tmp_path / "demo", SMALL)
    assert len(list(demo.records(tmp_path / "demo"))) == 9
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_an_interrupted_generation_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(generate, "_render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate.generate(tmp_path / "demo", SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be written .*datasets\.demo\.root="):
        generate.generate(tmp_path / "file" / "demo", SMALL)


@pytest.mark.parametrize(
    ("setting", "value", "match"),
    [("reveal_text", 1.5, "reveal_text is 1.5.*0 to 1"), ("num_val", 0, "num_val is 0"), ("seed", -1, "seed is -1")],
)
def test_settings_that_make_no_sense(setting, value, match):
    with pytest.raises(DataError, match=match):
        Settings(**{setting: value})


def test_prepare_makes_it_once(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(generate, "generate", lambda root, settings: made.append((root, settings)))
    demo.prepare(tmp_path / "demo")
    assert made == [(tmp_path / "demo", Settings())]
    demo.prepare(tmp_path)
    assert len(made) == 1


def refused(root: Path, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        list(demo.records(root))
    assert str(root) in str(caught.value) or "row" in str(caught.value)


def test_a_corpus_that_is_not_as_it_was_made(copy, tmp_path):
    refused(tmp_path / "elsewhere", "there is no demo corpus .*affect corpus --root")
    refused(tmp_path, "is no demo corpus: delete")
    (copy / "clips/train_0003.mp4").unlink()
    refused(copy, r"index\.csv, row 4: the clip clips/train_0003\.mp4 is missing: delete")
    made = json.loads((copy / "settings.json").read_text())
    (copy / "settings.json").write_text(json.dumps({**made, "version": 99}))
    refused(copy, f"is of version 99, affect reads version {states_module.VERSION}: delete")


def test_an_edited_index(copy):
    index = copy / "index.csv"
    rows = list(csv.reader(index.open(newline="")))
    rows[2][5], rows[3][1] = "good", "trial"
    with index.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(DataError) as caught:
        list(demo.records(copy))
    assert "row 3: the sentiment 'good' is not a number" in str(caught.value)
    assert "row 4: there is no split 'trial'" in str(caught.value)


def test_the_command(tmp_path, monkeypatch, capsys):
    sizes = ["--num-train", "2", "--num-val", "1", "--num-test", "6", "--reveal-audio", "0"]
    monkeypatch.setattr("sys.argv", ["corpus", "--root", os.fspath(tmp_path / "demo"), *sizes])
    corpus.main()
    printed = capsys.readouterr().out
    best = json.loads((tmp_path / "demo/best_possible.json").read_text())["scores"]
    assert f"{best['emotion']['accuracy']['tav']:.3f}" in printed and "sentiment" in printed
    assert json.loads((tmp_path / "demo/settings.json").read_text())["settings"]["reveal_audio"] == 0
    hidden = list(csv.DictReader((tmp_path / "demo/hidden.csv").open()))
    index = list(csv.DictReader((tmp_path / "demo/index.csv").open()))
    assert [(row["id"], row["hidden_emotion"], row["hidden_valence"]) for row in hidden] == [
        (row["id"], row["emotion"], row["sentiment"]) for row in index
    ]
    assert {float(row["sentiment"]) for row in index} <= set(VALENCES[VALENCE_OF])
    with pytest.raises(SystemExit) as caught:
        corpus.main()
    assert caught.value.code == 1 and "exists already" in capsys.readouterr().err
