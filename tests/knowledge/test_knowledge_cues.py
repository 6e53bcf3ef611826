"""The source `cues`: what is measured is what is there, and the words depend on what they are said to depend on."""

import csv
import json
import math
import os
import wave
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affect.config import Config, ConfigError, CuesForm, DataError, Kind, Task
from affect.data import clips, loading
from affect.data import part as splits
from affect.data.cues import acoustic, visual
from affect.data.media import SAMPLING_RATE, write_clip
from affect.knowledge import Description, Failure, controls
from affect.knowledge.fill import clip_hashes
from affect.knowledge.naming import Vocabulary, namings
from affect.knowledge.sources import cue_words, cues, load

# ---------------------------------------------------------------- sound


def voice(hertz: float | np.ndarray, seconds: float = 2.0, tilt: float = 1.0) -> np.ndarray:
    """float32[samples]: ten harmonics, harmonic k with amplitude k ** -tilt, a tenth of full scale in all."""
    pitch = np.broadcast_to(hertz, round(seconds * SAMPLING_RATE))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLING_RATE
    tone = sum(k**-tilt * np.sin(k * phase) for k in range(1, 11))
    return (0.1 * tone / np.sqrt(np.mean(tone**2))).astype(np.float32)


def noise(seconds: float, level: float = 0.05) -> np.ndarray:
    return np.random.default_rng(0).normal(0, level, round(seconds * SAMPLING_RATE)).astype(np.float32)


@pytest.mark.parametrize("hertz", [75, 110, 220, 440, 560])
def test_the_pitch_of_a_voice_is_found_within_a_percent(hertz):
    assert acoustic.measure(voice(hertz))["pitch"] == pytest.approx(hertz, rel=0.01)


def test_pitch_is_found_without_its_fundamental_and_in_noise():
    phase = 2 * np.pi * 150 * np.arange(2 * SAMPLING_RATE) / SAMPLING_RATE
    telephone = (0.05 * sum(np.sin(k * phase) for k in range(3, 9))).astype(np.float32)
    assert acoustic.measure(telephone)["pitch"] == pytest.approx(150, rel=0.01)
    noisy = acoustic.measure(voice(200) + noise(2, 0.03))  # 10 dB
    assert noisy["pitch"] == pytest.approx(200, rel=0.02)
    assert noisy["clarity"] < acoustic.measure(voice(200))["clarity"] - 5


def test_a_glide_is_told_from_a_monotone():
    semitones = np.linspace(-6, 6, 2 * SAMPLING_RATE)  # an octave in two seconds
    rising, level = acoustic.measure(voice(200 * 2 ** (semitones / 12))), acoustic.measure(voice(200))
    assert rising["contour"] == pytest.approx(6, rel=0.05)
    assert rising["intonation"] == pytest.approx(6, rel=0.05)
    assert rising["range"] == pytest.approx(0.9 * 12, rel=0.05)
    assert abs(level["contour"]) < 0.05 and level["intonation"] < 0.1 and level["range"] < 0.05
    assert acoustic.measure(voice(200 * 2 ** (-semitones / 12)))["contour"] == pytest.approx(-6, rel=0.05)


def test_loudness_is_in_decibels_of_what_is_spoken():
    spoken = voice(200)
    assert acoustic.measure(spoken)["loudness"] == pytest.approx(-20, abs=0.3)  # a tenth of full scale
    assert acoustic.measure(spoken / 2)["loudness"] == pytest.approx(-26, abs=0.3)
    with_silence = np.concatenate([np.zeros(SAMPLING_RATE), spoken, np.zeros(SAMPLING_RATE)])
    assert acoustic.measure(with_silence)["loudness"] == pytest.approx(-20, abs=0.5)


def test_pauses_are_a_share_of_the_time_from_first_to_last_word():
    gap = np.zeros(round(0.6 * SAMPLING_RATE))
    paused = acoustic.measure(np.concatenate([gap, voice(200, 0.9), gap, voice(200, 0.9), gap]) + noise(3.6, 0.001))
    assert paused["length"] == pytest.approx(2.4, abs=0.06)
    assert paused["pauses"] == pytest.approx(0.6 / 2.4, abs=0.03)
    short = np.zeros(round(0.1 * SAMPLING_RATE))  # a plosive
    assert acoustic.measure(np.concatenate([voice(200, 1), short, voice(200, 1)]))["pauses"] is None


@pytest.mark.parametrize("rate", [2.5, 4.0, 6.0])
def test_pace_counts_syllables(rate):
    time = np.arange(3 * SAMPLING_RATE) / SAMPLING_RATE
    syllables = voice(150, 3.0) * (0.55 - 0.45 * np.cos(2 * np.pi * rate * time))
    assert acoustic.measure(syllables)["pace"] == pytest.approx(rate, rel=0.15)


def test_brightness_voicing_and_dynamics_go_the_way_they_are_named():
    dark, bright = acoustic.measure(voice(200, tilt=2.5)), acoustic.measure(voice(200, tilt=0.3))
    assert bright["brightness"] > dark["brightness"] + 10
    half = acoustic.measure(np.concatenate([voice(200, 1), 2 * noise(1)]))
    assert half["voicing"] == pytest.approx(0.5, abs=0.05)
    steps = voice(200) * np.repeat([0.3, 1], SAMPLING_RATE)
    assert acoustic.measure(steps)["dynamics"] == pytest.approx(10 * math.log10(1 / 0.09) / 2, rel=0.1)


def test_where_nothing_sounds_nothing_is_measured():
    for silent in (np.zeros(SAMPLING_RATE), np.zeros(1), noise(1, 1e-5)):
        assert set(acoustic.measure(silent.astype(np.float32)).values()) == {None}
    hiss = acoustic.measure(noise(2))
    assert hiss["pitch"] is None and hiss["voicing"] < 0.05 and hiss["loudness"] == pytest.approx(-26, abs=0.3)


def test_a_long_clip_is_measured_piece_by_piece_without_a_seam(monkeypatch):
    spoken = voice(np.repeat([150.0, 300.0, 200.0], 2 * SAMPLING_RATE), 6.0)
    whole = acoustic.measure(spoken)
    monkeypatch.setattr(acoustic, "CHUNK", 37)
    assert acoustic.measure(spoken) == pytest.approx(whole)


def test_spectra_and_autocorrelations_are_those_of_numpy():
    frames = np.random.default_rng(0).normal(size=(5, acoustic.FRAME)).astype(np.float32)
    power = np.abs(np.fft.rfft(frames.astype(np.float64), acoustic.FFT)) ** 2
    np.testing.assert_allclose(acoustic.power_spectrum(frames), power, atol=1e-5 * power.max())
    correlation = np.fft.irfft(power, acoustic.FFT)
    np.testing.assert_allclose(
        acoustic.autocorrelation(power.astype(np.float32)), correlation, atol=1e-5 * correlation.max()
    )


# ---------------------------------------------------------------- picture


def film(*pictures: tuple[int, np.ndarray]) -> np.ndarray:
    """uint8[num_frames, 90, 160, 3]: each picture for so many frames."""
    return np.concatenate([np.repeat(picture[None], count, axis=0) for count, picture in pictures])


def pattern(seed: int, low: int, high: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(low, high, (9, 16, 3), dtype=np.uint8)
    return coarse.repeat(10, axis=0).repeat(10, axis=1)


def test_a_still_picture_has_no_movement_and_no_cut():
    still = visual.measure(film((24, pattern(0, 0, 256))), 3.0)
    assert (still["movement"], still["movement_low"], still["cuts"], still["faces"]) == (0, None, 0, 0)
    assert (still["smile"], still["framing"], still["head"]) == (None, None, None)


def test_cuts_are_counted_and_movement_is_none():
    shots = film((8, pattern(0, 0, 100)), (8, pattern(1, 120, 256)), (8, pattern(2, 0, 60)))
    measured = visual.measure(shots, 3.0)
    assert (measured["cuts"], measured["movement"]) == (2, 0)
    steady = np.stack([np.roll(pattern(0, 0, 256), 3 * i, axis=1) for i in range(24)])  # moves all the time
    assert visual.measure(steady, 3.0)["cuts"] == 0 < visual.measure(steady, 3.0)["movement"]


def test_movement_is_placed_and_light_measured():
    frames = film((24, np.full((90, 160, 3), 51, dtype=np.uint8)))
    for i in range(24):
        frames[i, 70:85, 5 * i : 5 * i + 15] = 255
    measured = visual.measure(frames, 3.0)
    assert measured["movement_low"] > 0.95 and measured["movement"] > 0.001
    assert visual.measure(frames[:, ::-1], 3.0)["movement_low"] < 0.05
    assert measured["brightness"] == pytest.approx(0.2 + 0.8 * 225 / 14400, abs=0.005)
    assert measured["contrast"] > visual.measure(frames // 2, 3.0)["contrast"]


def test_a_head_is_followed_in_widths_of_the_face_per_second(monkeypatch):
    monkeypatch.setattr(visual, "smiles", lambda picture, face: face[0] > 15)
    pictures = [np.zeros((100, 100), dtype=np.uint8)] * 5
    faces = [(10, 10, 20, 30), (20, 10, 20, 30), None, (40, 10, 20, 30), (50, 10, 20, 30)]
    measured = visual.face_cues(pictures, faces, 0.5)
    assert measured == {"faces": 0.8, "smile": 0.75, "framing": 0.3, "head": pytest.approx(1.0)}
    assert visual.face_cues(pictures[:1], faces[:1], 0.5)["head"] is None


def test_a_photographed_face_is_found_and_a_light_square_is_none():
    drawn = np.full((180, 320), 120, dtype=np.uint8)
    drawn[40:140, 110:210] = 200
    assert visual.largest_face(drawn) is None
    skimage = pytest.importorskip("skimage", reason="scikit-image, which has a photograph of a face, is not installed")
    photograph = Path(skimage.__file__).parent / "data" / "astronaut.png"
    grey = visual.cv2.imread(str(photograph), visual.cv2.IMREAD_GRAYSCALE)[:300]  # head and shoulders
    left, top, width, height = visual.largest_face(grey)
    assert left < 225 < left + width and top < 115 < top + height  # her nose
    assert visual.smiles(grey, (left, top, width, height))


def test_a_face_is_looked_at_closely_where_the_search_found_one_and_nowhere_else(monkeypatch):
    class Detector:
        """Finds in each picture what it is told to."""

        def __init__(self, *found: list[list[int]]) -> None:
            self.found, self.shapes = list(found), []

        def detectMultiScale(self, grey, *_, **__):
            self.shapes.append(grey.shape)
            return np.array(self.found.pop(0)).reshape(-1, 4)

    grey = np.zeros((180, 320), dtype=np.uint8)  # the search is in a picture of 110 x 196
    shrink = 36 / visual.FACE_SEARCH

    def looked(*found: list[list[int]]) -> tuple[tuple[int, int, int, int] | None, list[tuple[int, int]]]:
        detector = Detector(*found)
        monkeypatch.setattr(visual, "cascade", lambda name: detector)
        return visual.largest_face(grey), detector.shapes

    assert looked([]) == (None, [(110, 196)])
    # Two finds on one face are looked at once, a third elsewhere by itself; the largest comes first.
    face, shapes = looked([[100, 40, 30, 30], [20, 20, 44, 44], [22, 21, 40, 40]], [], [[5, 7, 48, 48], [0, 0, 40, 40]])
    reach = 0.9 * 30 * shrink
    assert len(shapes) == 3 and shapes[2] == (round(55 * shrink + reach) - round(55 * shrink - reach),) * 2
    assert face == (round(115 * shrink - reach) + 5, round(55 * shrink - reach) + 7, 48, 48)


# ---------------------------------------------------------------- words


def test_every_language_has_words_for_every_cue():
    assert set(cue_words.STOP) == {"en", "zh"}
    for modality, measured in {"audio": acoustic.CUES, "video": visual.CUES}.items():
        for language in cue_words.STOP:
            words = cue_words.phrases(modality, language)
            assert tuple(words) == measured
            assert len(set(cue_words.names(modality, language))) == len(measured)
            for cue, phrases in words.items():
                assert len(set(phrases)) == (3 if cue == "cuts" else cue_words.LEVELS), (language, cue)
            said = [phrase for phrases in words.values() for phrase in phrases]
            assert len(set(said)) == len(said), "two cues share a phrase"


def test_no_phrase_names_a_label_or_a_synonym():
    """A timbre that is called neutral would be read as the answer, and masked as one."""
    labels = controls.synonyms()
    intensity = controls.vocabulary(Task(name="sentiment", kind=Kind.intensity, low=-3, high=3, step=1))
    languages = list(cue_words.STOP)
    tables = [cue_words.phrases(modality, language) for modality in ("audio", "video") for language in languages]
    said = [phrase for table in tables for phrases in table.values() for phrase in phrases]
    said += [phrase for language in languages for phrase in cue_words.nothing(language).values()]
    said += [
        name
        for modality in ("audio", "video")
        for language in languages
        for name in cue_words.names(modality, language)
    ]
    assert len(said) > 100 and sum(map(len, labels.values())) > 300
    for vocabulary in (Vocabulary(words=labels), intensity):
        assert [(phrase, found) for phrase in said if (found := namings(phrase, vocabulary))] == []


def test_a_fifth_of_the_population_gets_each_phrase():
    values = np.random.default_rng(0).normal(size=1000)
    bounds = cues.quantiles_of([{"pitch": value, "cuts": 0.0, "pauses": None} for value in values])
    assert list(bounds) == ["pitch"]
    levels = [cues.levels_of({"pitch": value}, bounds)["pitch"] for value in values]
    assert np.bincount(levels).tolist() == [200] * 5
    assert levels[int(values.argmax())] == 4


def test_what_never_varies_is_middling_and_what_is_counted_is_told_as_it_is():
    bounds = cues.quantiles_of([{"pitch": 100.0}] * 7)
    assert [cues.levels_of({"pitch": value}, bounds)["pitch"] for value in (99.0, 100.0, 101.0)] == [0, 2, 4]
    assert cues.levels_of({"head": 1.0, "pitch": None}, {}) == {"head": 2, "pitch": None}
    assert [cue_words.level_of_count("faces", share) for share in (0, 0.125, 0.5, 0.875, 1)] == [0, 1, 2, 3, 4]
    assert [cue_words.level_of_count("cuts", count) for count in (0, 1, 2, 9)] == [0, 1, 2, 2]


def test_what_is_not_there_is_said_once():
    audio, video = list(acoustic.CUES), list(visual.CUES)
    assert cue_words.tell("audio", "en", dict.fromkeys(audio), audio) == "Silence."
    hiss = dict.fromkeys(audio) | {"loudness": 4, "voicing": 0}
    assert cue_words.tell("audio", "en", hiss, audio) == "No voice found, very loud, no pauses, hardly voiced."
    assert cue_words.tell("audio", "zh", hiss, ["loudness", "voicing"]) == "声音很响、几乎无浊音。"
    empty = dict.fromkeys(video, 2) | {"faces": 0, "smile": None, "framing": None, "head": None}
    assert cue_words.tell("video", "en", empty, ["faces", "smile", "head", "cuts"]) == "No face found, several cuts."
    assert cue_words.tell("video", "en", empty, ["head"]) == "Nothing could be measured."


# ---------------------------------------------------------------- the source

ROWS = [  # split, speaker, pitches of the speaker's clips
    ("train", "anna", np.linspace(180, 260, 12)),
    ("train", "ben", np.linspace(90, 130, 12)),
    ("val", "cleo", [200.0]),
    ("test", "dora", np.linspace(240, 320, 10)),
    ("test", "emil", [100.0, 130.0]),
]


CHINESE = ("datasets.manifest.language=zh", "+datasets.manifest.task_definitions.label.question.zh='哪个'")


def write_wave(path: Path, waveform: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_RATE)
        file.writeframes((waveform * 32767).astype("<i2").tobytes())


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A manifest of sound files: voices that hold one note."""
    (tmp_path / "clips").mkdir()
    with open(tmp_path / "clips.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("clip", "text", "label", "split", "speaker"))
        for split, speaker, pitches in ROWS:
            for i, hertz in enumerate(pitches):
                write_wave(tmp_path / f"clips/{speaker}{i}.wav", voice(hertz, 0.5))
                rows.writerow((f"clips/{speaker}{i}.wav", "hello", "ab"[i % 2], split, speaker))
    return tmp_path / "clips.csv"


@pytest.fixture
def make(configure: Callable[..., Config], table: Path) -> Callable[..., tuple[Config, list[splits.Part]]]:
    def made(*words: str, split: Sequence[str] = ("train", "val", "test")) -> tuple[Config, list[splits.Part]]:
        cfg = configure(
            "dataset=manifest",
            f"datasets.manifest.root={table}",
            "datasets.manifest.modalities=ta",
            "datasets.manifest.options.speaker=speaker",
            f"cache_root={table.parent / 'cache'}",
            "modalities=t",
            "knowledge=cues",
            *words,
            program="knowledge",
        )
        return cfg, loading.read(cfg, list(split))

    return made


def told(cfg: Config, parts: list[splits.Part]) -> dict[str, str]:
    """Text by name of the clip."""
    records = [record for part in parts for record in part.records]
    found = list(load(cfg, parts).describe(records, clip_hashes(records, cfg)))
    assert len(found) == len(records) and all(isinstance(item, Description) for item in found)
    names = {record.id: Path(record.media).stem for record in records}
    return {names[item.id]: item.text for item in found}


def test_words_are_relative_to_the_training_split(make):
    texts = told(*make("knowledge.cues_audio=[pitch,pauses]"))
    assert texts["ben0"] == "Very low pitch, no pauses." and texts["anna11"] == "Very high pitch, no pauses."
    assert {texts[f"dora{i}"] for i in range(10)} == {"Very high pitch, no pauses."}
    assert texts["emil0"] == "Very low pitch, no pauses."


def test_cues_are_told_as_levels_where_asked_for_and_are_other_descriptions(make):
    chosen = "knowledge.cues_audio=[pitch,pauses]"
    texts = told(*make(chosen, "knowledge.cues_form=levels"))
    assert (texts["ben0"], texts["anna11"]) == ("Pitch 1/5, pauses 0/5.", "Pitch 5/5, pauses 0/5.")
    chinese = told(*make(chosen, "knowledge.cues_form=levels", *CHINESE))
    assert chinese["ben0"] == "音高 1/5、停顿 0/5。"
    fingerprints = {load(*make(chosen, f"knowledge.cues_form={form.value}")).fingerprint for form in CuesForm}
    assert len(fingerprints) == 2


def test_words_relative_to_the_speaker_look_at_the_speakers_clips_alone(make, capsys):
    texts = told(*make("knowledge.cues_audio=[pitch]", "knowledge.cues_reference=speaker"))
    assert [texts[f"dora{i}"] for i in (0, 4, 9)] == ["Very low pitch.", "Medium pitch.", "Very high pitch."]
    assert texts["anna0"] == "Very low pitch." and texts["ben11"] == "Very high pitch."
    assert texts["emil0"] == "Very low pitch.", "two clips are no population: the training split is"
    said = capsys.readouterr().out
    assert "3 of 37 clips have no speaker, or one with fewer than 10 clips in the split: their audio is told" in said


def test_the_request_is_the_language_of_the_words_and_the_population(make):
    cfg, parts = make("knowledge.cues_reference=speaker")
    source = load(cfg, parts)
    anna = next(r for part in parts for r in part.records if r.speaker == "anna" and r.split == "train")
    ben = next(r for part in parts for r in part.records if r.speaker == "ben" and r.split == "train")
    changed = [anna, replace(anna, language="zh"), replace(anna, speaker="ben")]
    assert len({source.request(record, "audio") for record in changed}) == 3
    assert source.request(anna, "audio") == source.request(replace(anna, text="other words", labels={}), "audio")
    assert source.request(replace(anna, speaker="ben"), "audio") == source.request(ben, "audio")
    [kept] = source.describe([anna], {anna.id: "x"})
    assert kept.request == source.request(anna, "audio")


def test_a_second_run_says_the_same_and_decodes_nothing(make, monkeypatch):
    first = told(*make())
    monkeypatch.setattr(clips, "decode", lambda *_: pytest.fail("a clip was decoded again"))
    assert told(*make()) == first
    assert len(set(first.values())) > 5
    # Other words of the same measurements.
    assert told(*make("knowledge.cues_reference=speaker")) != first
    assert "。" in told(*make(*CHINESE))["ben0"]


def test_the_fingerprint_follows_what_the_words_depend_on_and_nothing_else(make, table):
    def fingerprint(*words: str, split: Sequence[str] = ("train", "val", "test")) -> str:
        return load(*make(*words, split=split)).fingerprint

    train, speaker = fingerprint(), fingerprint("knowledge.cues_reference=speaker")
    assert train.startswith("cues-train-") and speaker.startswith("cues-speaker-")
    assert fingerprint(split=["test"]) == train, "an evaluation reads the test split alone"
    assert fingerprint("knowledge.cues_reference=speaker", split=["test"]) == speaker
    assert fingerprint("knowledge.modalities=[audio]", "trainer.check_workers=1", "seed=4") == train
    others = {
        fingerprint("knowledge.cues_audio=[pitch]"),
        fingerprint(*CHINESE),
        fingerprint("datasets.manifest.subset.train=12"),
        train,
    }
    assert len(others) == 4
    write_wave(table.parent / "clips/dora3.wav", voice(250, 0.6))
    assert fingerprint() == train and fingerprint("knowledge.cues_reference=speaker") != speaker
    write_wave(table.parent / "clips/anna3.wav", voice(250, 0.6))
    assert fingerprint() != train


def test_words_do_not_change_with_the_clips_a_run_leaves_out(make):
    cfg, parts = make()
    whole = told(cfg, parts)
    parts[0].records = parts[0].records[12:]  # as the check of the clips does
    assert told(cfg, parts).items() <= whole.items()


def test_test_clips_change_no_word_of_another_clip_relative_to_the_training_split(make, table):
    before = told(*make())
    for i in range(10):
        write_wave(table.parent / f"clips/dora{i}.wav", voice(70, 0.4))
    after = told(*make())
    assert {name: text for name, text in after.items() if not name.startswith("dora")} == {
        name: text for name, text in before.items() if not name.startswith("dora")
    }
    assert all(after[f"dora{i}"] != before[f"dora{i}"] for i in range(10))


def test_clips_that_cannot_be_measured_are_failures_and_out_of_the_population(make, table, capsys):
    (table.parent / "clips/anna0.wav").write_bytes(b"RIFF, but not really")
    cfg, parts = make()
    records = [record for part in parts for record in part.records]
    found = list(load(cfg, parts).describe(records, clip_hashes(records, cfg)))
    failures = [item for item in found if isinstance(item, Failure)]
    assert len(failures) == 1
    assert "anna0.wav: it cannot be decoded" in failures[0].reason and "get the file again" in failures[0].reason
    assert "manifest train: 1 of 24 clips cannot be measured and are left out of the reference for audio" in (
        capsys.readouterr().out
    )


def test_a_population_without_a_measurable_clip_is_refused(make, table):
    for path in table.parent.glob("clips/[ab]*.wav"):
        path.write_bytes(b"")
    cfg, parts = make()
    with pytest.raises(
        DataError, match="the audio of none of the 24 clips of manifest train can be measured; the first"
    ):
        told(cfg, parts)


def test_picture_and_sound_of_one_clip_are_described_apart(make, table):
    frames = np.stack([np.roll(pattern(0, 0, 256), i, axis=1) for i in range(8)])
    clip = table.parent / "clip.mp4"
    write_clip(clip, frames=frames, fps=8, waveform=voice(200, 1.0), sampling_rate=SAMPLING_RATE)
    for path in table.parent.glob("clips/*.wav"):  # copies: x264 with AVX-512 does not write the same bytes each time
        path.with_suffix(".mp4").write_bytes(clip.read_bytes())
    (table.parent / "clips/dora0.mp4").write_bytes((table.parent / "clips/dora0.wav").read_bytes())  # has no picture
    table.write_text(table.read_text(encoding="utf-8").replace(".wav", ".mp4"), encoding="utf-8")
    cfg, parts = make("datasets.manifest.modalities=tav")
    records = [record for record in parts[2].records if "dora" in record.id or "dora" in (record.media or "")]
    found = list(load(cfg, parts).describe(records, clip_hashes(records, cfg)))
    assert len(found) == 2 * len(records) == 20
    failure = next(item for item in found if isinstance(item, Failure))
    assert failure.modality == "video" and "it has no video track" in failure.reason
    sound = next(item for item in found if item.id == failure.id and item.modality == "audio")
    assert isinstance(sound, Description)
    seen = {item.text for item in found if isinstance(item, Description) and item.modality == "video"}
    assert seen == {"No face found, some movement, movement all over, no cut, medium bright picture, medium contrast."}


def test_what_cannot_be_told_is_refused_with_the_remedy(make, table):
    def refused(*words: str) -> str:
        cfg, parts = make(*words)
        with pytest.raises((ConfigError, DataError)) as error:
            told(cfg, parts)
        return str(error.value)

    cfg, parts = make()
    cfg.knowledge.modalities = ["audio_video"]
    with pytest.raises(ConfigError, match="has nothing that knowledge=cues describes: add audio or video"):
        load(cfg, parts)
    nameless = ("knowledge.cues_reference=speaker", "datasets.manifest.options.speaker=null")
    table.write_text(table.read_text(encoding="utf-8").replace(",speaker", ",who"), encoding="utf-8")
    assert "dataset 'manifest' names no speaker in split 'train'" in refused(*nameless)


def test_a_dataset_without_training_clips_needs_speakers_with_enough(make, table):
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join([lines[0], *(line for line in lines if ",test," in line)]), encoding="utf-8")
    words = ("datasets.manifest.task_definitions.label.labels=[a,b]",)
    cfg, parts = make(*words, split=["test"])
    with pytest.raises(
        DataError, match="cannot describe the clips of dataset 'manifest', since split 'train' cannot be"
    ):
        load(cfg, parts).fingerprint  # noqa: B018
    cfg, parts = make(*words, "knowledge.cues_reference=speaker", split=["test"])
    with pytest.raises(DataError, match=r"cannot be told relative to its speaker \(emil\), who needs 10 clips"):
        told(cfg, parts)
    parts[0].records = [record for record in parts[0].records if record.speaker == "dora"]
    assert told(cfg, parts)["dora9"].startswith("Very high pitch")


def test_a_clip_without_a_speaker_is_told_relative_to_the_training_split(make):
    cfg, parts = make("knowledge.cues_reference=speaker", "knowledge.cues_audio=[pitch]")
    parts[2].records[0] = replace(parts[2].records[0], speaker=None)
    assert told(cfg, parts)["dora0"] == "Very high pitch."


# ---------------------------------------------------------------- real voices


def test_real_voices_are_as_they_were_acted():
    """RAVDESS, actors 1 (a man) and 2 (a woman): who is angry is louder and higher than who is calm."""
    shared = os.environ.get("AFFECT_SHARED_DATA")
    if shared is None:
        pytest.skip("AFFECT_SHARED_DATA does not name the folder with the RAVDESS recordings.")
    medians = {}
    for actor in ("01", "02"):
        for emotion in ("02", "05"):
            found = []
            for path in sorted(Path(shared).glob(f"ravdess/Actor_{actor}/03-01-{emotion}-*.wav")):
                with wave.open(str(path)) as file:
                    samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
                found.append(acoustic.measure(samples.astype(np.float32) / 32768))
            assert len(found) == 8
            medians[actor, emotion] = {
                cue: float(np.median([one[cue] for one in found]))
                for cue in ("pitch", "loudness", "brightness", "pace")
            }
    print(json.dumps({" ".join(key): value for key, value in medians.items()}))
    for actor in ("01", "02"):
        calm, angry = medians[actor, "02"], medians[actor, "05"]
        assert angry["loudness"] > calm["loudness"] + 10 and angry["brightness"] > calm["brightness"]
        assert angry["pitch"] > 1.2 * calm["pitch"]
        assert 2 < calm["pace"] < 6  # seven syllables in about two seconds
    assert 80 < medians["01", "02"]["pitch"] < 150 < medians["02", "02"]["pitch"] < 280
