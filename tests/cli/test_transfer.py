"""Transfer: every model is trained on one dataset and tested on each, and one table has the numbers."""

import csv
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_runs import make_run
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

import train
from affect.cli import sweep
from affect.config import Config, ConfigError
from affect.reports.collect import load
from affect.reports.transfer import comma_separated, markdown, matrix

WORDS = {
    "anger": "stop never leave",
    "joy": "great lovely wow",
    "neutral": "well so then",
    "surprise": "what really oh",
}
IMAGES = {
    "anger": "angry",
    "joy": "happy",
    "neutral": "neutral",
    "furious": "angry",
    "glad": "happy",
    "plain": "neutral",
}
ALIKE = {"furious": "anger", "glad": "joy", "plain": "neutral", "awed": "surprise"}
SETTING = ("label_space=four_emotions", "modalities=t", "model=tfidf", "trainer.progress=false")
OWN = "+datasets.manifest.label_map.to={furious:angry,glad:happy,plain:neutral,awed:null}"


def sentences(labels: list[str], seed: int) -> list[tuple[str, str]]:
    """Texts that show their label, mixed with words that do not."""
    drawn = random.Random(seed)
    return [
        (" ".join(drawn.choices([*WORDS[ALIKE.get(label, label)].split(), "the", "and", "of"], k=4)), label)
        for label in labels
    ]


def split_of(name: str, split: str) -> list[tuple[str, str]]:
    labels = list(WORDS) if name == "meld" else list(ALIKE)
    counts = {"train": 24, "val": 8, "test": 16}
    return sentences([labels[i % 4] for i in range(counts[split])], seed=len(name) + len(split))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("transfer")
    (root / "meld").mkdir()
    for split, file in (("train", "train"), ("val", "dev"), ("test", "test")):
        with open(root / "meld" / f"{file}_sent_emo.csv", "w", encoding="utf-8", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(("Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"))
            rows.writerows(
                (i, text, "Ross", label, "neutral", i, 0) for i, (text, label) in enumerate(split_of("meld", split))
            )
    with open(root / "clips.csv", "w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(("clip", "text", "label", "split"))
        for split in ("train", "val", "test"):
            rows.writerows(
                (f"{split}{i}.wav", text, label, split) for i, (text, label) in enumerate(split_of("manifest", split))
            )
    return root


@pytest.fixture(scope="module")
def transfer(world: Path) -> Iterator[Callable[..., str]]:
    """`transfer(*words)` runs it in this process and gives what it said at its end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world)

        def run(*words: str) -> str:
            own = [
                f"datasets.manifest.root={world / 'clips.csv'}", "datasets.manifest.options.require_clips=false", OWN,
                f"datasets.manifest.task_definitions.label.labels=[{','.join(ALIKE)}]",
            ]  # fmt: skip
            places = [f"data_root={world}", f"cache_root={world / 'cache'}", f"hydra.sweep.dir={world / 'sweep'}"]
            patch.setattr(sys, "argv", ["train.py", "-m", "sweep=transfer", *SETTING, *own, *places, *words])
            patch.delenv("AFFECT_STAMP", raising=False)
            try:
                train.main()
            except SystemExit as end:
                return str(end.code)
            return ""

        yield run


def mapped(name: str, split: str) -> tuple[list[str], list[str]]:
    kept = [(text, IMAGES[label]) for text, label in split_of(name, split) if label in IMAGES]
    return [text for text, _ in kept], [label for _, label in kept]


@pytest.fixture(scope="module")
def cells(transfer: Callable[..., str], world: Path) -> dict[tuple[str, str], dict[str, str]]:
    assert transfer("datasets=[meld,manifest]") == ""
    with open(world / "sweep" / "transfer.csv", encoding="utf-8", newline="") as file:
        return {(row["trained_on"], row["tested_on"]): row for row in csv.DictReader(file)}


def test_every_cell_is_what_scikit_learn_gives(cells: dict[tuple[str, str], dict[str, str]]) -> None:
    assert list(cells) == [(one, other) for one in ("meld", "manifest") for other in ("meld", "manifest")]
    for (one, other), cell in cells.items():
        vectoriser = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        texts, gold = mapped(one, "train")
        model = LogisticRegression(max_iter=2000).fit(vectoriser.fit_transform(texts), gold)
        texts, gold = mapped(other, "test")
        expected = balanced_accuracy_score(gold, model.predict(vectoriser.transform(texts)))
        assert float(cell["mean"]) == pytest.approx(expected) and expected > 0.4
        assert (cell["metric"], cell["task"], cell["split"], cell["n_seeds"]) == ("uar", "four_emotions", "test", "1")
        assert (cell["scored_min"], cell["scored_max"], cell["expected"]) == ("12", "12", "16")
        assert float(cell["majority"]) == pytest.approx(1 / 3)


def test_what_has_no_image_stands_beside_the_numbers(cells: dict[tuple[str, str], dict[str, str]], world: Path) -> None:
    page = (world / "sweep" / "transfer.md").read_text(encoding="utf-8")
    assert "| trained on | meld uar | manifest uar |" in page and "| clips scored | 12 | 12 |" in page
    assert (
        "meld test: 4 of 16 clips are left out (4 emotion 'surprise' has no image in label_space=four_emotions)" in page
    )
    assert "no label of meld becomes sad" not in page, "MELD has sadness, if not here"
    assert "no label of manifest becomes sad: a model of it alone does not learn that" in page
    cell = Path(cells["meld", "manifest"]["folders"])
    assert cell.parent == world / "sweep" / "meld_on_manifest"
    rows = (cell / "exclusions.csv").read_text(encoding="utf-8")
    assert rows.count("label 'awed' has no image in label_space=four_emotions") == 4


def test_a_cell_that_is_lost_is_made_again_alone(
    cells: dict[tuple[str, str], dict[str, str]], world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)
    monkeypatch.delenv("AFFECT_STAMP", raising=False)
    monkeypatch.setattr(sys, "argv", ["affect"])

    def runs() -> dict[str, str]:
        return {
            str(path.relative_to(world)): json.loads(path.read_text())["started"]
            for path in (world / "sweep").rglob("status.json")
        }

    before, lost = runs(), Path(cells["manifest", "meld"]["folders"])
    table = (world / "sweep" / "transfer.csv").read_bytes()
    (lost / "metrics.json").unlink()
    (lost / "status.json").write_text(json.dumps({"state": "stopped", "by": "SIGTERM"}))
    sweep.resume([str(world / "sweep")])
    assert (world / "sweep" / "transfer.csv").read_bytes() == table
    after = runs()
    here = str((lost / "status.json").relative_to(world))
    assert len(before) == 4 and {key for key in before if key != here and before[key] == after[key]} == {*before} - {
        here
    }


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["datasets=[meld]"], "needs two datasets or more, each named once, in datasets=[demo,meld]; given datasets="),
        (["datasets=[meld,meld]"], "given datasets=[meld,meld]"),
        ([], "given none"),
        (["datasets=[meld,manifset]"], "names manifset, which is none, did you mean 'manifest'?"),
        (["datasets=[meld,demo]"], "manifest is not one of datasets=[meld,demo]: name it there too"),
        (["datasets=[meld,manifest]", "model=tfidf,prior"], "has several values, and a transfer matrix is of one"),
        (["datasets=[meld,manifest]", "run=x"], "run=x cannot be given beside sweep=transfer"),
        (["datasets=[meld,manifest]", "--cfg"], "--cfg cannot be given beside sweep=transfer"),
        (["datasets=[meld,manifest]", "label_space=polarity"], "it maps 'furious' to 'angry', but label_space"),
        (
            ["datasets=[meld,manifest]", "datasets.meld.exclude_overlap_with=[manifest]"],
            "leave one of the two datasets out",
        ),
        (
            ["datasets=[meld,manifest]", "modalities=a", "model=vectors"],
            "modalities=a needs audio, but none of the 36 clips of meld has a file",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_a_matrix_is_refused_before_any_training(
    transfer: Callable[..., str], world: Path, words: list[str], why: str
) -> None:
    said = transfer(*words, f"hydra.sweep.dir={world / 'refused'}")
    assert why in said and not (world / "refused").exists()


def test_without_a_common_space_the_spaces_are_named(command: Callable[..., tuple[list[Config], str]]) -> None:
    words = ("-m", "sweep=transfer", "modalities=t", "model=tfidf")
    _, said = command(*words, "datasets=[demo,meld]")
    assert "demo asks emotion (neutral, joy," in said
    assert said.endswith("give one, label_space=four_emotions|six_emotions|binary_polarity|polarity")
    assert command(*words, "datasets=[demo,mintrec]")[1].endswith("declare one in a file, label_maps=FILE")
    assert "python train.py -m sweep=transfer" in command(*words, "datasets=[demo,meld]", program="evaluate")[1]
    assert "add -m" in command(*words[1:], "datasets=[demo,meld]")[1]


def test_leaving_one_out_trains_on_the_others(
    command: Callable[..., tuple[list[Config], str]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("-m", "sweep=leave_one_out", "modalities=t", "model=tfidf", "label_space=four_emotions")
    assert command(*words, "datasets=[demo,meld,ravdess]", "dry_run=true") == ([], "")
    said = capsys.readouterr().out
    assert "train on demo+ravdess, test on demo, meld, ravdess" in said and said.count("train on") == 3


def test_a_cell_is_a_mean_over_seeds_alone(configure: Callable[..., Config], tmp_path: Path) -> None:
    folders = [
        make_run(configure, tmp_path, f"s{seed}", f"seed={seed}", correct=correct)
        for seed, correct in ((1, 4), (2, 8))
    ]  # fmt: skip
    runs, _ = load(folders)
    shown = matrix(runs)
    [cell] = shown.cells.values()
    values = [run.summary.metrics["tasks"]["demo.emotion"]["value"] for run in runs]
    assert cell.number.mean == pytest.approx(sum(values) / 2) and cell.number.sd == pytest.approx(
        abs(values[0] - values[1]) / 2**0.5
    )
    assert "over 2 runs" in markdown(shown) and len(comma_separated(shown).splitlines()) == 2
    other = make_run(configure, tmp_path, "rank", "seed=3", "finetuning.rank=4")
    with pytest.raises(ConfigError, match=r"3 runs differ in finetuning\.rank, and a cell is over seeds alone"):
        matrix(load([*folders, other])[0])
    audio = make_run(configure, tmp_path, "audio", "modalities=ta")
    with pytest.raises(ConfigError, match=r"differ in modalities \(t, ta\), and a transfer matrix is of one setting"):
        matrix(load([*folders, audio])[0])
    with pytest.raises(ConfigError, match="no run has finished"):
        matrix([])
