"""Transcripts by a speech recogniser: which clips get one, that they are made once, and that runs say by whom."""

import json
import sys
import wave
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from tiny_models import tiny_recogniser, tiny_words

from affect.config import Config, DataError
from affect.data import loading
from affect.data.media import write_clip
from affect.knowledge import store_admin, transcripts
from affect.models import recogniser
from affect.runs import run_summary

LABELS = ("joy", "anger")


def recording(path: Path, sound: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((sound * 32767).clip(-32768, 32767).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of recordings of 1, 4 or 7 s, c0.wav to c7.wav, of which c7 is c0 again, and a tiny recogniser."""
    folder = tmp_path_factory.mktemp("transcripts")
    random = np.random.default_rng(0)
    for i in range(7):
        recording(folder / f"c{i}.wav", 0.1 * random.standard_normal(16_000 * (1 + 3 * (i % 3))))
    (folder / "c7.wav").write_bytes((folder / "c0.wav").read_bytes())
    tiny_recogniser(folder / "whisper")
    return folder


@pytest.fixture
def words(root: Path, tmp_path: Path) -> list[str]:
    return [
        *("dataset=manifest", f"datasets.manifest.root={root / 'clips.csv'}", "modalities=t"),
        f"datasets.manifest.task_definitions.label.labels=[{','.join(LABELS)}]",
        *(f"transcription.model={root / 'whisper'}", f"cache_root={tmp_path / 'cache'}", "trainer.accelerator=cpu"),
    ]


def table(root: Path, *rows: str, header: str = "clip") -> None:
    (root / "clips.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def parts_of(cfg: Config) -> list:
    return loading.read(cfg, ["test"])


def texts(parts: list) -> dict[str, str]:
    return {record.id: record.text for part in parts for record in part.records}


def no_model(*_: object) -> None:
    raise AssertionError("a recogniser was loaded")


def test_bare_recordings_get_transcripts_once_for_every_content(configure, root, words, monkeypatch):
    table(root, "c0.wav", "c2.wav", "c7.wav")
    parts = parts_of(cfg := configure(*words))
    made = transcripts.attach(parts, cfg)
    first = texts(parts)
    assert len(first) == 3 and all(first.values()) and len(set(first.values())) > 1
    assert first["manifest/test/2"] == first["manifest/test/4"]  # the same recording
    assert [(p["clips"], p["own"], p["languages"]) for p in made.parts] == [(3, 0, ["en"])]
    verdict = store_admin.verify(Path(cfg.cache_root) / "knowledge")
    assert (verdict.rows, verdict.problems) == (2, [])

    monkeypatch.setattr(recogniser, "Recogniser", no_model)
    table(root, "c2.wav", "c0.wav")  # other ids
    again = parts_of(cfg)
    assert transcripts.attach(again, cfg).generator == made.generator
    assert texts(again) == {"manifest/test/2": first["manifest/test/3"], "manifest/test/3": first["manifest/test/2"]}
    chinese = configure(*words, "transcription.language=zh")
    with pytest.raises(AssertionError, match="a recogniser was loaded"):
        transcripts.attach(parts_of(chinese), chinese)


def test_the_configuration_says_which_clips(configure, root, words, monkeypatch):
    table(root, "c0.wav,Well.", "c1.wav,", header="clip,text")
    chosen = {}
    for asked in ("missing", "all", "none"):
        parts = parts_of(cfg := configure(*words, f"datasets.manifest.transcribe={asked}"))
        made = transcripts.attach(parts, cfg)
        chosen[asked] = list(texts(parts).values())
        assert made.of_datasets() == ({} if asked == "none" else {"manifest": made.generator})
    assert chosen["none"] == ["Well.", ""] and chosen["missing"][0] == "Well." != chosen["all"][0]
    assert chosen["missing"][1] == chosen["all"][1] != ""
    monkeypatch.setattr(recogniser, "Recogniser", no_model)
    parts = parts_of(cfg := configure(*words, "modalities=a", "datasets.manifest.transcribe=all"))
    assert transcripts.attach(parts, cfg).rows == {} and list(texts(parts).values()) == ["Well.", ""]


def test_clips_that_cannot_be_transcribed_are_excluded_and_silence_is_an_answer(configure, root, words, monkeypatch):
    write_clip(root / "mute.mp4", frames=np.zeros((8, 32, 32, 3), np.uint8), fps=8, waveform=None, sampling_rate=16_000)
    recording(root / "long.wav", np.zeros(16_000 * 9))
    table(root, "c0.wav", "mute.mp4", "long.wav", "c2.wav")
    cfg = configure(*words, "transcription.max_seconds=8")
    parts = parts_of(cfg)
    heard = recogniser.Recogniser.transcribe
    nothing = recogniser.Transcript(text="", tokens=0)
    monkeypatch.setattr(
        recogniser.Recogniser, "transcribe", lambda *given: [heard(*given)[0], *[nothing] * (len(given[1]) - 1)]
    )
    made = transcripts.attach(parts, cfg)
    reasons = {item.id: (item.reason, item.source) for item in parts[0].excluded}
    assert set(reasons) == {"manifest/test/3", "manifest/test/4"}
    assert reasons["manifest/test/3"][0] == "no_audio"
    assert reasons["manifest/test/4"][1].endswith("raise transcription.max_seconds or cut the clip")
    assert made.parts[0]["empty"] == ["manifest/test/5"] and texts(parts)["manifest/test/5"] == ""
    assert "1 in which no speech is heard (manifest/test/5)" in transcripts.in_words(made.parts[0])
    # An empty transcript is kept like any other.
    monkeypatch.setattr(recogniser, "Recogniser", no_model)
    assert texts(parts_of(cfg))["manifest/test/5"] == "" and transcripts.attach(parts_of(cfg), cfg).parts == made.parts


def test_what_was_transcribed_before_a_failure_is_kept(configure, root, words, monkeypatch):
    table(root, *(f"c{i}.wav" for i in range(4)))
    cfg = configure(*words, "transcription.batch_size=1")
    heard, calls = recogniser.Recogniser.transcribe, []

    def fails(*given):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return heard(*given)

    monkeypatch.setattr(recogniser.Recogniser, "transcribe", fails)
    with pytest.raises(KeyboardInterrupt):
        transcripts.attach(parts_of(cfg), cfg)
    transcripts.attach(parts := parts_of(cfg), cfg)
    assert len(calls) == 3 + 2 and all(texts(parts).values())


def test_a_dataset_without_sound_is_refused_with_the_remedy(configure, root, words):
    table(root, "c0.wav,Well.", "c1.wav,", header="clip,text")
    cfg = configure(*words, "datasets.manifest.modalities=t")
    with pytest.raises(
        DataError, match=r"1 clips of dataset 'manifest' have no transcript, for example manifest/test/3"
    ):
        transcripts.attach(parts_of(cfg), cfg)
    for program, extra in (("transcribe", []), ("train", ["datasets.manifest.transcribe=all"])):
        with pytest.raises(Exception, match="needs the sound of clips, but dataset=manifest has only text"):
            configure(*words, "datasets.manifest.modalities=t", *extra, program=program)


def test_a_slip_in_the_name_of_the_text_column_is_no_table_without_texts(configure, root, words):
    table(root, "c0.wav,Well.", header="clip,Text")
    with pytest.raises(DataError, match=r"lacks the column 'text' \(did you mean 'Text'\?\)"):
        parts_of(configure(*words))
    with pytest.raises(DataError, match="lacks the column 'said'"):
        parts_of(configure(*words, "datasets.manifest.options.text=said"))


def run(command: str, *words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AFFECT_STAMP", raising=False)
    monkeypatch.setattr(sys, "argv", [f"affect {command}", *words])
    import_module(f"affect.cli.{command}").main()


def test_runs_say_whose_transcripts_they_read(root, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    splits = ["train", "train", "val", "val", "test", "test"]
    table(root, *(f"c{i}.wav,{LABELS[i % 2]},{split}" for i, split in enumerate(splits)), header="clip,label,split")
    tiny = [word for word in tiny_words(tmp_path / "model") if not word.startswith("cache_root")]
    run("train", *words, "trainer=smoke", *tiny, monkeypatch=monkeypatch)
    [folder] = (tmp_path / "outputs").glob("*/")
    content = json.loads((folder / transcripts.FILE).read_text())
    assert [(p["split"], p["clips"]) for p in content["parts"]] == [("train", 2), ("val", 2), ("test", 2)]
    assert "model.safetensors" in content["files"] and content["decoding"]["beams"] == 1
    metrics = run_summary.read(folder).metrics
    assert metrics["transcribed"] == {"manifest": content["generator"]}
    signatures = metrics["tasks"]["manifest.label"]["signatures"]["exact"].values()
    assert signatures and all(f"|transcripts:{content['generator']}|" in signature for signature in signatures)
    monkeypatch.setattr(recogniser, "Recogniser", no_model)  # an evaluation finds them in the store
    capsys.readouterr()
    run("show", f"run={folder}", words[-2], "clip=manifest/test/6", monkeypatch=monkeypatch)
    assert f"transcript by {content['generator']}, made 2" in capsys.readouterr().out


def test_the_command_makes_them_ahead_and_compares_them_with_those_there_are(
    root, words, monkeypatch, capsys, configure: Callable[..., Config]
):
    table(root, "c0.wav,one two,joy", "c1.wav,three,anger", "c2.wav,,anger", header="clip,text,label")
    words = ["dataset=manifest", *words[1:2], *words[3:6], "trainer.progress=false"]
    run("transcribe", *words, "datasets.manifest.transcribe=all", monkeypatch=monkeypatch)
    said = capsys.readouterr().out
    assert "0 transcripts were in the store, 3 made in" in said and "manifest test: 3 clips, language en" in said
    assert "manifest: word error rate against its own transcripts, lower case, punctuation removed: " in said
    assert " of 3 words, 2 clips)" in said and "  label anger: " in said and " of 1 words, 1 clips)" in said
    run("transcribe", *words, monkeypatch=monkeypatch)
    said = capsys.readouterr().out
    assert "manifest test: 2 of 3 clips have a transcript" in said and "word error rate" not in said
    assert "1 transcripts were in the store, 0 made in 0 s, 0 failed" in said
    found = transcripts.Whisper(configure(*words))
    assert found.fingerprint in said
