"""What the clip browser of the page is given: columns, records, prompts, links, waveforms, previews."""

import base64
import io
import json
import os
import shutil
from pathlib import Path
from urllib.parse import unquote_to_bytes

import av
import numpy as np
import pytest
from clip_page import HOSTILE, LABELS, ODD_NAME, change_lines, make_runs, sound
from made_runs import change, make_run, report
from scipy.special import softmax

from affect.config import Kind
from affect.data import Prediction, Record, annotations
from affect.data.media import SAMPLING_RATE
from affect.knowledge.protocol import Description
from affect.knowledge.store import Writer
from affect.prompting import fewshot, messages
from affect.reports.collect import find, load
from affect.reports.page.clips import predictions, prompts, recordings, stored
from affect.reports.page.clips.browser import Browser, browser
from affect.reports.page.clips.comparisons import compare
from affect.reports.page.clips.predictions import Columns
from affect.reports.page.clips.records import located
from affect.reports.page.clips.texts import NONE, Texts


def read(out: Path, **options) -> Browser:
    return browser(load(find([out])[0])[0], out, **options)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture
def out(configure, home) -> Path:
    """The output folder of clip_page.make_runs, made once."""
    return home / "out" if (home / "out").is_dir() else make_runs(configure, home)


# ---------------------------------------------------------------- columns


def prediction(at: int, task: str = "emotion", **changed) -> Prediction:
    made = {
        **{"id": f"demo/test/{at}", "dataset": "demo", "split": "test", "task": task, "group": "g", "target": "joy"},
        **{"answer": None, "exact": "joy", "lenient": "joy", "outcome": "valid", "readout": "score"},
    }
    return Prediction(**made | changed)


CONFIG = {
    "datasets": {
        "demo": {
            "reader": "demo",
            "root": "/nowhere",
            "task_definitions": {
                "emotion": {"kind": "classification", "labels": ["joy", "anger"]},
                "several": {"kind": "multi_label", "labels": ["joy", "anger"]},
                "sentiment": {"kind": "intensity", "labels": [], "low": -3.0, "high": 3.0},
            },
        }
    }
}


def test_runs_share_the_order_of_clips_and_their_labels():
    columns = Columns(texts=Texts())
    for number in (1, 2):
        columns.add(number, CONFIG, "lenient", [prediction(at, lenient=LABELS[at]) for at in range(2)])
    columns.add(3, CONFIG, "lenient", [prediction(1, target="anger", lenient=None, outcome="refusal", error="no")])
    [task] = columns.tasks.values()
    assert columns.orders == [[0, 1], [1]] and [run["order"] for run in task.runs] == [0, 0, 1]
    assert task.golds == [[0, 0], [1]] and task.values == ["joy", "anger"]
    assert [run["value"] for run in task.runs] == [[0, 1], [0, 1], [NONE]]
    assert task.runs[2]["outcome"] == "3" and columns.texts.listed[task.runs[2]["error"][0]] == "no"


def test_the_reader_of_the_run_decides_which_value_counts():
    columns = Columns(texts=Texts())
    columns.add(1, CONFIG, "exact", [prediction(0, exact=None, lenient="joy", answer="joy!")])
    [task] = columns.tasks.values()
    assert task.runs[0]["value"] == [NONE]


def test_several_labels_and_numbers():
    columns = Columns(texts=Texts())
    both = {"exact": ("anger", "joy"), "lenient": ("anger", "joy"), "target": ()}
    number = {"exact": 1.23456, "lenient": 1.23456, "target": None}
    columns.add(1, CONFIG, "lenient", [prediction(0, "several", **both), prediction(0, "sentiment", **number)])
    several, sentiment = columns.tasks.values()
    assert (several.golds, several.values, several.runs[0]["value"]) == ([[0]], [[], ["anger", "joy"]], [1])
    assert (sentiment.golds, sentiment.runs[0]["value"]) == ([[None]], [1.235])


def test_scores_are_shares_in_thousandths():
    scores = np.random.default_rng(0).normal(0, 5, (50, 3))
    columns = Columns(texts=Texts())
    rows = [dict(zip("abc", map(float, row), strict=True)) for row in scores]
    columns.add(1, CONFIG, "lenient", [prediction(at, scores=row) for at, row in enumerate(rows)])
    [task] = columns.tasks.values()
    assert task.bars == [["a", "b", "c"]]
    expected = softmax(scores, axis=1)
    assert np.abs(np.reshape(task.runs[0]["score"], (50, 3)) / 1000 - expected).max() <= 0.0005
    without = predictions.probabilities(np.array([[0.0, 1.0], [np.nan, 0.0], [-np.inf, 0.0]]))
    assert without[0].sum() == pytest.approx(1) and not without[1:].any()


def test_neighbouring_values_of_an_intensity_share_a_bar():
    values = [round(-3 + at / 10, 1) for at in range(61)]
    columns = Columns(texts=Texts())
    columns.add(
        1,
        CONFIG,
        "lenient",
        [prediction(0, "sentiment", target=0.0, lenient=0.0, scores={str(v): 0.0 for v in values})],
    )
    [task] = columns.tasks.values()
    [bars] = task.bars
    assert len(bars) == 16 and bars[0] == "-3.0 to -2.7" and bars[-1] == "3.0"
    assert sum(task.runs[0]["score"]) == pytest.approx(1000, abs=len(bars) / 2)


def test_more_scores_than_a_page_holds_are_left_out_and_counted(monkeypatch):
    monkeypatch.setattr(predictions, "MAX_SCORES", 5)
    columns = Columns(texts=Texts())
    for number in (1, 2):
        columns.add(number, CONFIG, "lenient", [prediction(at, scores={"joy": 0.0, "anger": 0.0}) for at in range(2)])
    assert columns.without_scores == [2]
    assert ["score" in run for run in next(iter(columns.tasks.values())).runs] == [True, False]


# ---------------------------------------------------------------- the blocks


def test_the_browser_has_what_runs_and_annotations_know(out):
    made = read(out)
    content = made.blocks["clips"]()
    texts, clips, [task] = content["texts"], content["clips"], content["tasks"]
    json.dumps(content, allow_nan=False)
    assert [texts[number] for number in clips["id"]] == [f"manifest/test/{i}" for i in range(10)]
    assert texts[clips["text"][5]] == HOSTILE and len(texts[clips["text"][6]]) == 1_000_000
    assert [texts[number] for number in clips["speaker"]] == ["speaker0", "speaker1"] * 5
    assert (clips["start"][2], clips["end"][2], clips["seconds"][2]) == (1.0, 2.0, 1.0)
    assert clips["seconds"][:2] == [1.0, 1.0] and clips["seconds"][9] == 0.5
    assert clips["media"][4] == NONE and "was not there when this page was made" in texts[clips["why"][4]]
    assert len(clips["peaks"][0]) == len(clips["levels"][0]) == recordings.BINS and clips["peaks"][3] == ""
    assert clips["loudest"][0] == pytest.approx(-6.0, abs=0.1)
    assert [run["modalities"] for run in task["runs"]] == ["t", "t", "ta"]
    assert [run["setting"].get("modalities") for run in task["runs"]] == ["t", "t", "ta"]
    one, three, two = task["runs"]
    assert one["alike"][0] == two["alike"][0] != three["alike"][0]
    assert made.notes == []


def test_prompts_are_those_that_the_model_was_given(out, configure):
    content = read(out).blocks["clips"]()
    texts, [task] = content["texts"], content["tasks"]
    [run] = [run for run in task["runs"] if run["modalities"] == "ta"]
    prompt = content["prompts"][run["prompt"]]
    shown = "".join(texts[column[5]] for column in prompt["slots"].values())
    cfg = configure("dataset=manifest", "datasets.manifest.root=x", "modalities=ta", "model=smollm2")
    question = cfg.datasets["manifest"].task_definitions["label"]
    question.labels = list(LABELS)
    record = Record(id="manifest/test/5", dataset="manifest", split="test", text=HOSTILE, group="g")
    system, user = messages.messages(record, question, cfg.prompting, "ta")
    assert texts[prompt["system"]] == system["content"][0]["text"]
    assert [part["type"] for part in user["content"]] == [*prompt["media"], "text"] == ["audio", "text"]
    assert shown == user["content"][-1]["text"]


def test_runs_that_differ_in_modalities_or_descriptions_alone(configure, tmp_path):
    words = ["datasets.manifest.root=/x", "model=smollm2", "datasets.manifest.task_definitions.label.labels=[a,b,c]"]
    described = [*words, "prompting=knowledge", "prompting.descriptions=[audio]", "modalities=ta", "knowledge=cues"]
    made = [
        words,
        [*words, "modalities=ta"],
        [*words, "modalities=ta", "seed=2"],
        [*words, "finetuning.rank=4"],
        described,
        [*described, "knowledge.control=masked"],
    ]
    folders = [make_run(configure, tmp_path, f"{n}", *each, dataset="manifest") for n, each in enumerate(made, 1)]
    runs = dict(enumerate(load(folders)[0], 1))
    task = predictions.TaskColumns(name="manifest.label", kind=Kind.classification, low=None, high=None)
    task.runs = [{"run": number} for number in runs]
    compare(task, runs)
    groups = [[column["alike"][which] for column in task.runs] for which in (0, 1)]
    alike = [{frozenset(n for n, each in enumerate(those, 1) if each == group) for group in those} for those in groups]
    assert alike[0] == {frozenset({1, 2}), *(frozenset({n}) for n in range(3, 7))}
    assert alike[1] == {frozenset({2, 5, 6}), *(frozenset({n}) for n in (1, 3, 4))}
    assert [column["described"] for column in task.runs] == [*[""] * 4, "audio by cues", "audio by cues, masked"]
    assert [column["setting"]["seed"] for column in task.runs] == list("112111")


@pytest.fixture
def described(configure, out, tmp_path):
    """`described(control)`: the content of a page with one run whose prompts show descriptions of the sound."""
    store = tmp_path / "knowledge"
    with Writer(store) as writer:
        for at in range(10):
            text = f"A \U0001f642 voice of joy, no. {at}" if at % 2 else f"Flat voice {at}"
            row = {
                "sha256": "x",
                "modality": "audio",
                "generator": "g1",
                "tokens": None,
                "seconds": 1.0,
                "time": "2026",
            }
            writer.add(Description(id=f"manifest/test/{at}", text=text, **row))

    def made(control: str, leak: str = "{}") -> dict:
        words = [
            *(f"datasets.manifest.root={out.parent / 'data' / 'clips.jsonl'}", "datasets.manifest.transcribe=none"),
            f"datasets.manifest.task_definitions.label.labels=[{','.join(LABELS)}]",
            *("model=smollm2", "prompting=knowledge", "prompting.descriptions=[audio]", "modalities=ta"),
            *("knowledge=cues", f"knowledge.store={store}", f"knowledge.control={control}"),
        ]
        run = make_run(configure, tmp_path / "runs", "run", *words, dataset="manifest")
        (run / "knowledge.json").write_text(json.dumps({"generators": ["g1"]}))
        (run / "leak.json").write_text(leak)
        return read(tmp_path / "runs").blocks["clips"]()

    return made


@pytest.mark.parametrize("control", ["none", "masked", "shuffled", "empty"])
def test_descriptions_with_what_the_audit_says_of_them(described, control):
    content = described(control)
    texts, [task], [prompt] = content["texts"], content["tasks"], content["prompts"]
    assert prompt["why"] == [] and prompt["control"] == control
    shown = [texts[number] for number in prompt["descriptions"]["audio"]]
    expected = {
        "none": ["Flat voice 0", "A \U0001f642 voice of joy, no. 1"],
        "masked": ["Flat voice 0", "A \U0001f642 voice of ___, no. 1"],
        "empty": ["", ""],
    }
    if control == "shuffled":
        assert len(set(shown)) == 10 and all(not text.endswith(f" {at}") for at, text in enumerate(shown))
        return
    assert shown[:2] == expected[control]
    named = prompt["named"]["audio"]
    # Of joy and anger, five clips each; every second description names joy.
    assert named == {"none": "3030323232", "masked": "3" * 10, "empty": "3" * 10}[control]
    places = task["namings"].get(prompt["descriptions"]["audio"][1], [])
    # In units of UTF-16, of which an emoji has two.
    assert [place[:2] for place in places] == ([[14, 17]] if control == "none" else [])


def test_a_clip_without_its_description_has_no_prompt_and_is_named(described, tmp_path):
    with Writer(tmp_path / "knowledge"):
        pass
    for shard in (tmp_path / "knowledge").glob("*.parquet"):
        shard.unlink()
    [prompt] = described("none")["prompts"]
    assert prompt["slots"] == {} and "10 of 10 clips have no description in" in prompt["why"][0]


@pytest.mark.parametrize(
    "leak, sentence",
    [
        ("{", "leak.json cannot be read"),
        ('{"manifest.label": {"descriptions": {"audio": {"named": {}}}}}', "leak.json is not that of a run of affect"),
    ],
)
def test_a_damaged_leak_audit_is_told_beside_the_descriptions(described, leak, sentence):
    [prompt] = described("none", leak)["prompts"]
    assert prompt["slots"] and prompt["descriptions"]
    [said] = prompt["audit"]
    assert sentence in said


def table(folder: Path, **texts: str) -> Path:
    """clips.jsonl of four test clips, two with each of two labels, and eight of training."""
    path = folder / "clips.jsonl"
    rows = [
        {"id": str(i), "clip": "", "split": split, "label": LABELS[i % 2], "speaker": f"{split}{i}"}
        | {"text": texts.get(f"{split}{i}", f"words {split} {i}")}
        for split, count in (("test", 4), ("train", 8))
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_examples_in_prompts_are_those_of_the_run(configure, tmp_path):
    words = [
        *(f"datasets.manifest.root={table(tmp_path)}", "datasets.manifest.transcribe=none", "model=smollm2"),
        *(f"datasets.manifest.task_definitions.label.labels=[{','.join(LABELS)}]", "prompting=fewshot"),
    ]
    run = make_run(configure, tmp_path / "out", "run", *words, dataset="manifest", num=4, evaluate=True)
    with open(run / "exclusions.csv", "a") as file:
        file.write("manifest/train/3,train,corrupt,x,1\n")
    content = read(tmp_path / "out").blocks["clips"]()
    [prompt] = content["prompts"]
    assert prompt["why"] == []
    cfg = configure("dataset=manifest", *words)
    annotated = annotations.read("manifest", cfg.datasets["manifest"])
    records, pool = (annotated.split(split).records for split in ("test", "train"))
    pool = [record for record in pool if record.id != "manifest/train/3"]
    question = cfg.datasets["manifest"].task_definitions["label"]
    examples = fewshot.choose(records, pool, question, cfg.prompting, "t")
    for place, record in enumerate(records):
        shots = examples[record.id]
        assert len(shots) == cfg.prompting.fewshot.k > 0
        expected = messages.messages(record, question, cfg.prompting, "t", shots)[-1]["content"][-1]["text"]
        assert "".join(content["texts"][column[place]] for column in prompt["slots"].values()) == expected


def test_recognised_transcripts_are_those_of_the_store(configure, tmp_path):
    words = [
        *(f"datasets.manifest.root={table(tmp_path, test1='', test2='')}", "model=smollm2"),
        *(f"datasets.manifest.task_definitions.label.labels=[{','.join(LABELS)}]", f"knowledge.store={tmp_path / 's'}"),
    ]
    run = make_run(configure, tmp_path / "out", "run", *words, dataset="manifest", num=4, evaluate=True)
    (run / "transcripts.json").write_text(json.dumps({"generator": "ear"}))
    row = {"sha256": "x", "modality": "transcript", "generator": "ear", "tokens": None, "seconds": 1.0, "time": "2026"}
    with Writer(tmp_path / "s") as writer:
        writer.add(Description(id="manifest/test/1", text="heard", **row))
    content = read(tmp_path / "out").blocks["clips"]()
    [prompt] = content["prompts"]
    said = [content["texts"][number] for number in prompt["slots"]["transcript"]]
    assert "words test 0" in said[0] and "heard" in said[1] and "words test 3" in said[3]
    [why] = prompt["why"]
    assert why.startswith(
        "1 clips have a transcript by ear that the store does not have under their id: manifest/test/2"
    )
    assert [content["texts"][number] for number in prompt["heard"] if number != NONE] == ["heard"]


# ---------------------------------------------------------------- sound and picture


@pytest.mark.parametrize("name", [ODD_NAME, "a:b.wav", "?x=1&y.wav", "\udcff.wav", "テスト.wav", "..wav", "a\\b.wav"])
def test_a_link_leads_back_to_the_file(name, tmp_path):
    link = recordings.link(str(tmp_path / "d" / name), tmp_path / "out")
    assert link.isascii() and link.startswith("../d/") and not set(link) & set(" #?:\"'<>\\\n&")
    assert unquote_to_bytes(link.removeprefix("../d/")) == os.fsencode(name)


@pytest.mark.parametrize("length", [1, 3, 159, 160, 161, 16000])
def test_a_waveform_of_any_length_has_as_many_points(length):
    made = recordings.waveform(np.full(length, -0.5, dtype=np.float32))
    assert set(made["peaks"]) == {"/"} and len(made["peaks"]) == recordings.BINS and made["loudest"] == -6.0


def test_levels_are_in_decibels():
    made = recordings.waveform(np.concatenate([sound(1.0, 0.0), sound(1.0, 1.0)]))
    level = [(recordings.LETTERS.index(letter) / 63 - 1) * 60 for letter in made["levels"]]
    assert level[10] == -60 and level[120] == pytest.approx(-3.0, abs=0.5)
    assert made["peaks"][0] == "A" and made["peaks"][-1] == "/"


def test_previews_are_small_films_of_the_clips_alone(out):
    made = read(out, embed=True)
    previews = {name: block() for name, block in made.blocks.items() if name.startswith("clips/preview/")}
    assert len(previews) == 8 and made.notes == [
        "8 of 10 clips are embedded as small previews; 1 cannot be decoded; 1 have no file on this machine"
    ]
    with av.open(io.BytesIO(base64.b64decode(previews["clips/preview/2"]["data"]))) as film:
        assert previews["clips/preview/2"]["type"] == "audio/mp4"
        assert float(film.duration / av.time_base) == pytest.approx(1.0, abs=0.15)
        assert film.streams.audio[0].rate == SAMPLING_RATE


def test_the_command_embeds_and_says_how_many(out, tmp_path, capsys):
    said, _, end = report(capsys, out, "--format", "html", "--embed", "--output", tmp_path / "page.html")
    assert end == "" and "8 of 10 clips are embedded as small previews" in said
    assert 'data-block="clips/preview/2"' in (tmp_path / "page.html").read_text()
    assert "--embed puts clips into a page: add --format html" in report(capsys, out, "--embed")[2]


def test_what_is_over_the_limit_is_linked_and_counted(out, monkeypatch):
    monkeypatch.setattr(recordings, "MAX_PREVIEW_BYTES", 20_000)
    made = read(out, embed=True)
    assert 0 < len(made.blocks) - 1 < 8
    assert "left out, since a page holds" in made.notes[0]


# ---------------------------------------------------------------- what is broken


@pytest.fixture
def broken(out, tmp_path) -> Path:
    """A copy of the runs of `out` alone, to be damaged; their clips stay where they are."""
    shutil.copytree(out, tmp_path / "out")
    return tmp_path / "out"


def shown(out: Path) -> tuple[dict, list[str]]:
    made = read(out)
    return made.blocks["clips"](), made.notes


def last_of_another_task(at: int, line: dict) -> dict:
    """Its other tasks have been read by then."""
    return line | {"task": "unknown"} if at == 9 else line | {"id": f"alone/{at}"}


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (lambda path: path.unlink(), "predictions.jsonl cannot be read"),
        (lambda path: path.write_text('{"id": "x"}\n'), "predictions.jsonl, line 1 is not a prediction"),
        (lambda path: path.write_bytes(b"\xff\n"), "predictions.jsonl is not UTF-8"),
        (lambda path: change_lines(path.parent, lambda at, line: line | {"task": "x"}), "does not fit its config.yaml"),
        (lambda path: change_lines(path.parent, lambda at, line: line | {"outcome": "x"}), "does not fit its config"),
        (lambda path: change_lines(path.parent, lambda at, line: line | {"scores": {"a": "b"}}), "does not fit its"),
        (lambda path: change_lines(path.parent, lambda at, line: line | {"id": at}), "some id is no text"),
        (lambda path: change_lines(path.parent, last_of_another_task), "does not fit its config.yaml"),
    ],
)
def test_a_run_with_damaged_predictions_is_named_and_the_others_shown(broken, damage, sentence):
    damage(broken / "one" / "predictions.jsonl")
    content, [note] = shown(broken)
    assert sentence in note and "one" in note
    assert [run["run"] for run in content["tasks"][0]["runs"]] == [2, 3]


def test_without_predictions_there_is_nothing_to_browse(broken):
    for path in broken.glob("*/predictions.jsonl"):
        path.unlink()
    made = read(broken)
    assert made.blocks == {} and len(made.notes) == 3


def test_a_dataset_that_is_not_on_this_machine_is_missed_clip_by_clip(broken):
    for path in broken.glob("*/config.*"):
        path.write_text(path.read_text().replace("clips.jsonl", "elsewhere.jsonl"))
    for path in broken.glob("*/config.json"):
        path.unlink()  # no copy of config.yaml any more
    content, notes = shown(broken)
    assert notes == [] and content["clips"]["text"] == [NONE] * 10
    assert "is not on this machine: set AFFECT_DATA" in content["texts"][content["clips"]["why"][0]]
    assert "is not on this machine" in content["prompts"][0]["why"][0]


def test_a_dataset_is_found_where_AFFECT_DATA_says(out):
    config = {"data_root": "/no/such/data", "cache_root": "/no/such/cache"}
    assert located("/no/such/data/meld", config) == Path(os.environ["AFFECT_DATA"]) / "meld"
    assert located("/no/such/cache/demo", config) == Path(os.environ["AFFECT_CACHE"]) / "demo"
    assert located(str(out), config) == out


def test_annotations_that_have_changed_are_told(broken):
    for name in ("one", "two"):
        parts = [{"dataset": "manifest", "split": "test", "ids_sha256": "x", "annotations_sha256": "other"}]
        change(broken / name / "data.json", lambda data, parts=parts: data | {"parts": parts})
    _, [note] = shown(broken)
    assert "The annotations of manifest, split 'test', are not those that runs 1, 3 have read" in note


def test_transcripts_are_those_that_an_intervention_has_left(configure, tmp_path):
    record = Record(id="demo/test/0", dataset="demo", split="test", text="I am fine", group="g")
    given = [record, Record(id="demo/train/0", dataset="demo", split="train", text="So am I", group="g")]
    for words, texts in ((["text_masked", "intervention.share=1"], ["___ ___ ___", "So am I"]), (["asr_text"], None)):
        folder = make_run(configure, tmp_path / "out", words[0], f"intervention={words[0]}", *words[1:], evaluate=True)
        (folder / "transcripts.json").write_text('{"generator": "whisper-1a"}', encoding="utf-8")
        [run], why = load([folder])[0], []
        found = [each.text for each in stored.with_transcripts(given, run, why)]
        assert found == (texts or ["I am fine", "So am I"])
        # Of the recogniser's, the evaluated split alone is looked for.
        assert len(why) == (texts is None) and all("1 clips have a transcript by whisper-1a" in each for each in why)


@pytest.mark.parametrize("name", ["knowledge.json", "transcripts.json"])
@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_file_costs_the_prompts_of_its_run_alone(broken, name, text):
    (broken / "one" / name).write_text(text)
    content, notes = shown(broken)
    one, *others = content["tasks"][0]["runs"]
    expected = [] if name == "knowledge.json" else [f"{broken / 'one' / name} "]
    assert [why[: len(expected[0])] for why in content["prompts"][one["prompt"]]["why"]] == expected
    assert notes == [] and all(content["prompts"][run["prompt"]]["slots"] for run in others)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"descriptions: []": "descriptions: []\n  invented: 3"}, "does not fit this version of affect (Key 'inv"),
        ({"descriptions: []": "descriptions: [audio]", "control: none": "control: invented"}, "does not know (Value"),
    ],
)
def test_a_configuration_of_another_version_costs_the_prompts(broken, changes, sentence):
    (broken / "two" / "config.json").unlink()
    path = broken / "two" / "config.yaml"
    text = path.read_text()
    for then, now in changes.items():
        assert f"  {then}\n" in text
        text = text.replace(f"  {then}\n", f"  {now}\n")
    path.write_text(text)
    content, _ = shown(broken)
    [prompt] = [run["prompt"] for run in content["tasks"][0]["runs"] if run["run"] == 3]
    assert sentence in content["prompts"][prompt]["why"][-1]


def test_a_cache_that_cannot_be_written_costs_the_waveforms(out, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("AFFECT_CACHE", str(tmp_path / "file"))
    content, [note] = shown(out)
    assert note.startswith("There are no waveforms of 9 clips: ") and not any(content["clips"]["peaks"])


def test_more_prompts_and_waveforms_than_a_page_holds_are_counted(out, monkeypatch):
    monkeypatch.setattr(prompts, "MAX_PROMPTS", 15)
    monkeypatch.setattr(recordings, "MAX_WAVEFORMS", 4)
    content, notes = shown(out)
    assert [run["prompt"] for run in content["tasks"][0]["runs"]] == [0, 0, NONE]
    assert notes[0].startswith("5 of 9 clips have no waveform") and notes[1].startswith("1 runs are shown without")
