"""The quality of descriptions: claims and measures of texts, and the analysis of a store."""

import json
import wave
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import yaml
from made_runs import make_run

from affect.cli import commands
from affect.config import Config, DataError
from affect.data import loading
from affect.knowledge import store
from affect.knowledge.fill import clip_hashes
from affect.knowledge.protocol import Description
from affect.knowledge.quality import texts
from affect.knowledge.quality.analysis import analyse
from affect.knowledge.quality.claims import OF_MODALITY, VERDICTS, claims, judged, lexicon
from affect.knowledge.quality.results import MEASURES, Quality
from affect.knowledge.sources import cue_words
from affect.reports.description_quality import sections, sentences


@pytest.mark.parametrize(
    ("text", "modality", "expected"),
    [
        ("She speaks LOUDLY and slowly.", "audio", {"loudness": "high", "pace": "low"}),
        ("A low-pitched, soft voice", "audio", {"pitch": "low", "loudness": "low"}),
        ("It isn\u2019t loud.", "audio", {}),
        ("Not soft, but loud.", "audio", {"loudness": "high"}),
        ("First quiet, then he shouts", "audio", {"loudness": "mixed"}),
        ("moderately loud; softness, aloud, breakfast", "audio", {}),
        ("He smiles quickly", "video", {"smile": "there"}),
        ("He smiles quickly", "audio", {"pace": "high"}),
        ("a face without any smile", "video", {"faces": "there", "smile": "absent"}),
        ("他大声说话，音调较低，语速缓慢", "audio", {"loudness": "high", "pitch": "low", "pace": "low"}),
        ("脸上没有笑容", "video", {"faces": "there", "smile": "absent"}),
        ("", "audio_video", {}),
    ],
)
def test_claims_of_a_text(text: str, modality: str, expected: dict[str, str]) -> None:
    assert claims(text, modality) == expected


def test_the_phrases_of_the_cues_themselves_are_claims_of_their_level() -> None:
    """The lexicon reads what knowledge=cues writes, and claims nothing of the middle."""
    looked_at = 0
    for language in ("en", "zh"):
        for cue in OF_MODALITY["audio"]:
            says = [claims(phrase, "audio").get(cue) for phrase in cue_words.phrases("audio", language)[cue]]
            assert says == ["low", "low", None, "high", "high"], (language, cue)
            looked_at += 1
        for cue in OF_MODALITY["video"]:
            first, *_, last = cue_words.phrases("video", language)[cue]
            assert (claims(first, "video").get(cue), claims(last, "video").get(cue)) == ("absent", "there")
    assert looked_at == 6


@pytest.mark.parametrize("language", lexicon())
def test_no_word_of_the_lexicon_stands_for_two_things(language: str) -> None:
    words = [w for by in lexicon()[language]["claims"].values() for some in by.values() for w in some]
    words += lexicon()[language]["neither"]
    assert len(words) == len(set(words)) > 20 and all(word == word.casefold() for word in words)
    assert set(lexicon()[language]["claims"]) == set(OF_MODALITY["audio_video"])


BOUNDS = {"loudness": (-30.0, -20.0), "pitch": (120.0, 200.0)}
CUES = {"loudness": -35.0, "pitch": None, "pace": 4.0, "smile": None, "faces": 0.0}


@pytest.mark.parametrize(
    ("cue", "says", "changes", "verdict"),
    [
        ("loudness", "high", {}, "contradicted"),
        ("loudness", "low", {}, "agrees"),
        ("loudness", "high", {"loudness": -25.0}, "unclear"),
        ("loudness", "high", {"loudness": -19.0}, "agrees"),
        ("loudness", "mixed", {}, "unclear"),
        ("pitch", "high", {}, "not there"),
        ("pace", "high", {}, "unclear"),
        ("smile", "there", {}, "not there"),
        ("smile", "absent", {}, "agrees"),
        ("smile", "there", {"faces": 0.5, "smile": 0.0}, "contradicted"),
        ("smile", "there", {"faces": 0.25, "smile": 0.25}, "unclear"),
        ("smile", "there", {"faces": 0.5, "smile": 0.6}, "agrees"),
        ("smile", "absent", {"faces": 1.0, "smile": 0.6}, "contradicted"),
        ("faces", "there", {}, "not there"),
        ("faces", "there", {"faces": 0.25}, "agrees"),
        ("faces", "absent", {"faces": 0.75}, "contradicted"),
    ],
)
def test_verdicts(cue: str, says: str, changes: dict[str, float], verdict: str) -> None:
    assert verdict in VERDICTS and judged(cue, says, CUES | changes, BOUNDS) == verdict
    assert judged(cue, says, None, BOUNDS) == "not measured"


def test_measures_of_texts() -> None:
    assert texts.words("It's 2 o'clock, 真好") == ["it", "s", "2", "o", "clock", "真", "好"]
    assert texts.repetition("a b c a b c") == pytest.approx(1 / 4)  # abc bca cab abc
    assert texts.repetition("") == texts.repetition("a b") == texts.empty("") == 0
    assert texts.empty("Overall, he laughs") == pytest.approx(len("overall") / len("overall, he laughs"))
    assert texts.empty("总的来说他很高兴") == pytest.approx(4 / 8)
    assert texts.shared(["A b", "a  B", "c"]) == [True, True, False]


@pytest.fixture
def clips(tmp_path: Path, configure: Callable[..., Config]) -> tuple[Config, Path]:
    """A table of 30 tones without a picture, from soft to loud, and the folder of a run that has the first 12 wrong."""
    rows = ["id,clip,text,label,split,speaker"]
    for number in range(30):
        tone = 0.01 * 1.12**number * np.sin(2 * np.pi * 200 * np.arange(6000 + 10 * number) / 16000)
        with wave.open(str(tmp_path / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 16000, len(tone), "NONE", ""))
            file.writeframes((tone * 32767).astype("<i2").tobytes())
        rows.append(f"{number},{number}.wav,well,{'joy' if number < 15 else 'anger'},test,s{number % 8}")
    (tmp_path / "clips.csv").write_text("\n".join(rows))
    words = (
        f"datasets.manifest.root={tmp_path / 'clips.csv'}",
        "datasets.manifest.modalities=ta",
        "datasets.manifest.task_definitions.label.labels=[joy,anger,fear]",
        f"cache_root={tmp_path / 'cache'}",
    )
    run = make_run(
        configure, tmp_path / "out", "run", *words, dataset="manifest", num=30, groups=10, correct=range(12, 30)
    )
    cfg = configure("dataset=manifest", "knowledge.splits=[test]", *words, program="quality")
    return cfg, run


def described(cfg: Config, generator: str, text: Callable[[int], str], **changes) -> None:
    [part] = loading.read(cfg, ["test"])
    hashes = clip_hashes(part.records, cfg)
    with store.Writer(store.folder_of(cfg)) as writer:
        for number, record in enumerate(part.records):
            row = Description(
                id=record.id,
                sha256=hashes[record.id],
                modality="audio",
                generator=generator,
                text=text(number),
                tokens=None,
                seconds=0.0,
                time=datetime.now(UTC).isoformat(),
            )
            writer.add(row if not changes else Description(**{**row_of(row), **changes}))


def row_of(row: Description) -> dict:
    return {name: getattr(row, name) for name in store.SCHEMA.names}


def analysed(cfg: Config) -> Quality:
    return analyse(loading.read(cfg, ["test"]), cfg)


def test_a_generator_that_always_says_loud_is_contradicted_by_the_soft_third(clips) -> None:
    cfg, run = clips
    described(cfg, "loud", lambda n: "A loud voice.")
    described(
        cfg, "honest", lambda n: f"Clip {n}: a {'soft' if n < 10 else 'loud' if n >= 20 else 'medium loud'} voice."
    )
    cfg.run = str(run)
    found = analysed(cfg)
    honest, loud = found.generators
    assert loud.claims["loudness"] == {
        "agrees": 10, "unclear": 10, "contradicted": 10, "not there": 0, "not measured": 0,
    }  # fmt: skip
    assert honest.claims["loudness"]["agrees"] == 20 and honest.means["contradicted"] == 0
    assert loud.means["shared"] == 1 and honest.means["shared"] == 0 and loud.descriptions == loud.clips == 30
    # The run has clips 0 to 11 wrong: 10 of these 12 are the contradicted ones.
    [of_loud] = [each for each in found.associations if each.generator == "loud"]
    contradicted = of_loud.differences[MEASURES.index("contradicted")]
    assert (of_loud.right, of_loud.wrong) == (18, 12)
    assert (contradicted.one, contradicted.other) == (0, pytest.approx(10 / 12))
    assert contradicted.high is not None and contradicted.high < 0 and contradicted.holm < 0.05
    [comparison] = found.comparisons
    assert comparison.generators == ("honest", "loud") and comparison.clips == 30
    difference = comparison.differences[MEASURES.index("contradicted")]
    assert difference.one - difference.other == pytest.approx(-1 / 3) and difference.high < 0
    assert [each.id for each in found.descriptions if each.measures["contradicted"]] == [
        f"manifest/test/{n}" for n in sorted(range(10), key=str)
    ]
    titles = [section.title for section in sections(found)]
    assert len(titles) == 6 and "claims against measured cues" in titles
    assert any("not there (audio)" in line for line in sentences(found))


def test_hostile_texts_are_shown_as_text(clips) -> None:
    cfg, _ = clips
    described(cfg, "evil\x1b[2J", lambda n: f"[red]loud\x1b[31m\u202e <b>{n}|\n=cmd()")
    for section in sections(analysed(cfg)):
        for column in section.columns:
            assert not any(bad in cell for cell in (section.title, *column.cells) for bad in ("\x1b", "\u202e", "\n"))


def test_the_command_prints_tables_and_keeps_every_description(clips, monkeypatch, capsys, tmp_path) -> None:
    cfg, run = clips
    described(cfg, "loud", lambda n: "A loud voice.")
    words = ["knowledge", "quality", f"run={run}", f"cache_root={tmp_path / 'cache'}", "trainer.progress=false"]
    monkeypatch.setattr("sys.argv", ["affect", *words])
    commands.main()
    out = " ".join(capsys.readouterr().out.split())
    assert "manifest.label: descriptions of audio by loud, of 18 clips that are right and 12 that are wrong" in out
    kept = json.loads((tmp_path / "cache" / "quality" / "manifest.json").read_text())
    assert len(kept["descriptions"]) == 30 and kept["descriptions"][0]["verdicts"]["loudness"][0] == "high"


def test_what_cannot_be_looked_at_is_said(clips, tmp_path) -> None:
    cfg, run = clips
    with pytest.raises(DataError, match="has no description of the 30 clips as they are now: make some"):
        analysed(cfg)
    described(cfg, "old", lambda n: "A loud voice.", sha256="0" * 64)
    with pytest.raises(DataError, match="has no description of the 30 clips"):
        analysed(cfg)
    described(cfg, "elsewhere", lambda n: "A loud voice.", sha256=store.NO_CLIP)
    (tmp_path / "3.wav").write_bytes(b"damaged")
    found = analysed(cfg)
    assert found.generators[0].claims["loudness"]["not measured"] == 1
    assert any("1 of 30 clips cannot be measured (audio)" in note for note in found.notes)
    assert any("30 clips have descriptions of another content of their file" in note for note in found.notes)
    (run / "predictions.jsonl").write_text("{")
    cfg.run = str(run)
    with pytest.raises(DataError, match=r"predictions.jsonl, line 1 is not a prediction"):
        analysed(cfg)


def test_the_lexicon_is_plain_yaml() -> None:
    path = Path(__file__).resolve().parents[2] / "affect/knowledge/quality/claims.yaml"
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == lexicon()
