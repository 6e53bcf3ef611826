"""Interventions: they change exactly what they name, and no cache gives what was not asked for."""

import doctest
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from affect.cli.plan import plan as plan_of_run
from affect.config import Config, ConfigError, DataError, DatasetConfig, Intervention, InterventionConfig, Kind, Task
from affect.config import intervention as schema
from affect.config.groups import CONF
from affect.data import Record, clip_cache
from affect.data.clips import ClipSource
from affect.data.file_hashes import file_versions
from affect.data.interventions import Plan, changed, draws, dropped, masked_words, partners, plan, words
from affect.data.media import SAMPLING_RATE, Clip, Sampling, write_clip
from affect.data.part import Part

WANTED = Sampling(audio=True, video=True, num_frames=4, frame_size=16, max_seconds=5)
EMOTION = Task(name="emotion", kind=Kind.classification, labels=["joy", "anger"], question={"en": "Which?"})
DATASETS = {"demo": DatasetConfig(reader="demo", root="", tasks=["emotion"], task_definitions={"emotion": EMOTION})}
Configure = Callable[..., Config]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Four clips of one split, each with a tone and frames of its own; of 1, 1.25, 1.5 and 1.75 s."""
    folder, made = tmp_path_factory.mktemp("clips"), []
    for number, label in enumerate(["joy", "joy", "anger", "anger"]):
        path, quarters = folder / f"{number}.mp4", 4 + number
        times = np.arange(SAMPLING_RATE * quarters // 4) / SAMPLING_RATE
        frames = np.random.default_rng(number).integers(0, 255, (2 * quarters, 16, 16, 3), dtype=np.uint8)
        tone = 0.5 * np.sin(times * (220 + 110 * number) * 2 * np.pi).astype(np.float32)
        write_clip(path, frames=frames, fps=8, waveform=tone, sampling_rate=SAMPLING_RATE)
        labels = {"emotion": label}
        made.append(
            Record(
                id=f"demo/test/{number}",
                dataset="demo",
                split="test",
                text="x",
                group="g",
                media=str(path),
                labels=labels,
            )
        )
    return made


def chosen(name: str, **strengths: float) -> InterventionConfig:
    """An intervention with the strengths of its file, or these."""
    values = OmegaConf.to_container(OmegaConf.load(CONF / "intervention" / f"{name}.yaml"))
    values |= {"name": Intervention(values["name"]), **strengths}
    return InterventionConfig(**{key: value for key, value in values.items() if key != "defaults"})


def planned(records: list[Record], name: str, **strengths: float) -> Plan:
    return plan([part_of(records)], chosen(name, **strengths), DATASETS)


def part_of(records: list[Record]) -> Part:
    return Part(dataset="demo", split="test", expected=4, outside_subset=0, records=list(records))


def source_of(records: list[Record], folder: Path, changes: Plan) -> ClipSource:
    """A source over the cache in `folder`, handed to another process and back."""
    files = clip_cache.open_files(folder, 1.0, print)
    versions = file_versions({record.media for record in records}, folder)
    return pickle.loads(pickle.dumps(ClipSource(files, versions, {}, changes)))


def silent(clip: Clip, partner: Clip) -> Clip:
    return replace(clip, waveform=np.zeros_like(clip.waveform))


def black(clip: Clip, partner: Clip) -> Clip:
    return replace(clip, frames=np.zeros_like(clip.frames))


def unchanged(clip: Clip, partner: Clip) -> Clip:
    return clip


def with_silent_end(clip: Clip, partner: Clip) -> Clip:
    waveform = clip.waveform.copy()
    waveform[-SAMPLING_RATE // 4 :] = 0
    return replace(clip, waveform=waveform)


EXACT = {
    "none": (unchanged, {}),
    "mute": (silent, {}),
    "blank": (black, {}),
    "drop_audio": (silent, {"share": 1}),
    "drop_video": (black, {"share": 1}),
    "swap_audio": (lambda clip, partner: replace(clip, waveform=partner.waveform), {}),
    "swap_video": (lambda clip, partner: replace(clip, frames=partner.frames, seconds=partner.seconds), {}),
    "cut_tail": (with_silent_end, {"seconds": 0.25}),
    "text_masked": (unchanged, {}),
    "asr_text": (unchanged, {}),
}
"""What each intervention makes of a clip and its partner, to the last bit, and its strength."""
DRAWN = ("noise_audio", "frames_shuffled")
"""Those that draw what they change."""


def assert_equal(clip: Clip, expected: Clip) -> None:
    np.testing.assert_array_equal(clip.waveform, expected.waveform, strict=True)
    np.testing.assert_array_equal(clip.frames, expected.frames, strict=True)
    assert (clip.seconds, clip.notes, clip.picked) == (expected.seconds, expected.notes, expected.picked)


def test_every_intervention_is_tested() -> None:
    assert {*EXACT, *DRAWN} == {each.value for each in Intervention}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("warm", [False, True])
def test_a_clip_is_changed_to_the_last_bit_as_its_intervention_says(
    records: list[Record], tmp_path: Path, name: str, warm: bool
) -> None:
    as_recorded = [ClipSource().clip(record, WANTED) for record in records]
    expect, strengths = EXACT[name]
    changes = planned(records, name, **strengths)
    changed_source, plain = (source_of(records, tmp_path, each) for each in (changes, Plan()))
    for source in (plain, changed_source, plain, changed_source) if warm else (changed_source, changed_source):
        for record, recorded in zip(records, as_recorded, strict=True):
            partner = changes.partners.get(record.id)
            other = None if partner is None else as_recorded[records.index(partner)]
            assert_equal(source.clip(record, WANTED), recorded if source is plain else expect(recorded, other))
    for letter in "av":  # a track that is not asked for is not looked for
        clip = changed_source.clip(records[0], replace(WANTED, audio=letter == "a", video=letter == "v"))
        assert (clip.waveform is None, clip.frames is None) == (letter == "v", letter == "a")


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("snr", [20.0, 0.0, -5.0])
def test_noise_has_the_power_that_is_asked_for_and_is_of_its_clip(records: list[Record], snr: float, seed: int) -> None:
    first, second = (ClipSource().clip(record, WANTED) for record in records[:2])
    config = InterventionConfig(name=Intervention.noise_audio, snr=snr, seed=seed)
    noisy = changed(first, config)
    assert_equal(replace(noisy, waveform=first.waveform), first)
    assert noisy.waveform.dtype == np.float32 and np.abs(noisy.waveform).max() <= 1
    np.testing.assert_array_equal(noisy.waveform, changed(first, config).waveform)
    noise = noisy.waveform - first.waveform
    if snr > 0:  # louder noise is clipped
        ratio = 10 * np.log10(np.mean(np.square(first.waveform)) / np.mean(np.square(noise)))
        assert ratio == pytest.approx(snr, abs=0.2)
        spectrum = np.abs(np.fft.rfft(noise)) ** 2
        low, high = np.array_split(spectrum, 2)
        assert low.mean() / high.mean() == pytest.approx(1, abs=0.1), "white: as much power in each half of the band"
        same_length = changed(replace(second, waveform=second.waveform[: len(noise)]), config).waveform
        assert abs(np.corrcoef(noise, same_length - second.waveform[: len(noise)])[0, 1]) < 0.05
    mute = replace(first, waveform=np.zeros_like(first.waveform))
    np.testing.assert_array_equal(changed(mute, config).waveform, mute.waveform)


def test_shuffled_frames_are_the_frames_and_none_stays_at_its_place(records: list[Record]) -> None:
    orders = set()
    for seed in range(5):
        clip = ClipSource().clip(records[0], WANTED)
        shuffled = changed(clip, InterventionConfig(name=Intervention.frames_shuffled, seed=seed))
        assert_equal(replace(shuffled, frames=clip.frames), clip)
        order = [
            next(i for i, frame in enumerate(clip.frames) if np.array_equal(frame, each)) for each in shuffled.frames
        ]
        assert sorted(order) == [0, 1, 2, 3] and all(at != place for place, at in enumerate(order))
        orders.add(tuple(order))
    assert len(orders) > 1
    one = replace(clip, frames=clip.frames[:1])
    assert_equal(changed(one, InterventionConfig(name=Intervention.frames_shuffled, seed=0)), one)


@pytest.mark.parametrize("name", ["swap_audio", "swap_video"])
def test_a_swap_is_within_the_split_across_labels_and_seeded(records: list[Record], name: str) -> None:
    drawn = {seed: planned(records, name, seed=seed).partners for seed in range(6)}
    for found in drawn.values():
        assert set(found) == {record.id for record in records}
        for record in records:
            assert found[record.id].labels != record.labels and found[record.id] in records
    assert len({tuple(other.id for other in found.values()) for found in drawn.values()}) > 1
    assert planned(records[::-1], name).partners == drawn[0]


def test_what_cannot_be_swapped_is_left_out_and_counted(records: list[Record]) -> None:
    swap = chosen("swap_audio")
    part = part_of([*records, replace(records[0], id="demo/test/9", labels={})])
    assert set(plan([part], swap, DATASETS).partners) == {record.id for record in records}
    [left_out] = part.excluded
    assert left_out.id == "demo/test/9" and "no other clip to swap audio with" in left_out.reason
    with pytest.raises(DataError, match=r"no clip of dataset 'demo', split 'test' is left: .* swap audio with"):
        planned(records[:2], "swap_audio")


def test_partners_differ_in_every_task() -> None:
    strength = Task(name="strength", kind=Kind.intensity, low=-3, high=3, step=1, question={"en": "How?"})
    values = [("joy", 2.0), ("joy", -1.0), ("anger", 1.0), ("anger", -3.0), ("joy", 3.0), ("anger", None)]
    made = [
        Record(
            id=str(i),
            dataset="d",
            split="test",
            text="",
            group="g",
            labels={"emotion": emotion, **({} if value is None else {"strength": value})},
        )
        for i, (emotion, value) in enumerate(values)
    ]
    for seed in range(9):
        found = partners(made, [EMOTION, strength], seed)
        allowed = {"0": "35", "1": "25", "2": "1", "3": "04", "4": "35", "5": "014"}
        assert set(found) == set(allowed) and all(found[key].id in others for key, others in allowed.items())


def test_dropped_clips_are_nested_and_as_many_as_the_share_says(records: list[Record]) -> None:
    ids = [f"demo/test/{i}" for i in range(101)]
    by_share = [dropped(ids, share, seed=0) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert [len(each) for each in by_share] == [0, 25, 51, 76, 101]
    assert all(less < more for less, more in pairwise(by_share))
    assert dropped(ids, 0.5, seed=1) != by_share[2] and dropped(reversed(ids), 0.5, seed=0) == by_share[2]
    half = planned(records, "drop_audio", share=0.5)
    waveforms = {record.id: ClipSource(plan=half).clip(record, WANTED).waveform for record in records}
    assert {key for key, waveform in waveforms.items() if not waveform.any()} == half.dropped and len(half.dropped) == 2


def test_masked_words_are_nested_and_what_is_between_them_stays() -> None:
    text = "Well,  I am\nso happy to see you; 你好 all!"
    assert masked_words(text, 0, seed=0) == text and masked_words("", 1, seed=0) == ""
    masked = [masked_words(text, share, seed=0) for share in (0.25, 0.5, 0.75, 1)]
    assert [each.count("___") for each in masked] == [3, 6, 8, 11]
    assert masked[-1] == "___  ___ ___\n___ ___ ___ ___ ___ ______ ___"
    plain = "one two three four five six seven eight"
    kept = [set(masked_words(plain, share, seed=0).split()) - {"___"} for share in (0.25, 0.5, 0.75, 1)]
    assert [len(each) for each in kept] == [6, 4, 2, 0] and all(more < less for less, more in pairwise(kept))
    assert masked_words(text, 0.5, seed=1) != masked[1]


KEYED: dict[str, dict[str, float]] = {
    "mute": {},
    "blank": {},
    "swap_audio": {},
    "swap_video": {},
    "noise_audio": {},
    "frames_shuffled": {},
    "cut_tail": {},
    "drop_audio ": {"share": 1},
    "drop_video ": {"share": 1},
    "noise_audio ": {"snr": 5},
    "noise_audio  ": {"seed": 1},
    "frames_shuffled ": {"seed": 1},
    "cut_tail ": {"seconds": 2},
}
"""Strengths by intervention; spaces tell two of one intervention apart."""


def test_what_is_computed_from_a_changed_clip_has_a_key_of_its_own(records: list[Record], tmp_path: Path) -> None:
    [record, *_], plain = records, source_of(records, tmp_path, Plan()).key(records[0])
    assert plain[1:] == [None, None] and len(plain[0]) == 64

    def key(name: str, **strengths: float) -> list:
        return source_of(records, tmp_path, planned(records, name, **strengths)).key(record)

    keys = {name: key(name.strip(), **strengths) for name, strengths in KEYED.items()}
    # A clip without its sound is one that is muted; all others differ.
    assert keys.pop("drop_audio ") == keys["mute"] == [*plain, "mute"]
    assert keys.pop("drop_video ") == keys["blank"] == [*plain, "blank"]
    assert all(each[:3] == plain and len(each) > 3 for each in keys.values())
    assert len({tuple(each) for each in keys.values()}) == len(keys)
    partner = planned(records, "swap_audio").partners[record.id]
    assert keys["swap_audio"][3:] == ["swap_audio", source_of(records, tmp_path, Plan()).key(partner)[0], None, None]
    # What is not changed has the key that it has without interventions.
    assert key("drop_audio", share=0) == plain
    assert all(key(name) == plain for name in ("none", "text_masked", "asr_text"))


def test_a_changed_file_has_no_key_nor_has_its_partner(records: list[Record], tmp_path: Path) -> None:
    copies = [replace(r, media=str(tmp_path / f"{i}.mp4")) for i, r in enumerate(records[1:3])]
    for copy, original in zip(copies, records[1:3], strict=True):
        Path(copy.media).write_bytes(Path(original.media).read_bytes())
    swap = source_of(copies, tmp_path, planned(copies, "swap_audio"))
    assert all(swap.key(copy) for copy in copies)
    Path(copies[1].media).write_bytes(b"another content")
    assert swap.key(copies[0]) is None and swap.key(copies[1]) is None
    assert source_of(copies[:1], tmp_path, Plan()).key(copies[0]) is not None


def test_a_dry_run_names_the_intervention(configure: Configure) -> None:
    cfg = configure("run=x", "intervention=noise_audio", "intervention.snr=2.5", program="evaluate")
    assert "evaluation on test, readout=score, intervention=noise_audio(snr=2.5,seed=0)\n" in plan_of_run(
        cfg, "evaluate"
    )
    assert "intervention" not in plan_of_run(configure(), "train")


def test_only_one_module_opens_clips() -> None:
    """Whatever looks at a clip asks a ClipSource; the cache behind it is its own."""
    root = Path(clip_cache.__file__).parents[1]
    own = {root / "data" / name for name in ("clips.py", "clip_cache.py")}
    names = [
        path.relative_to(root)
        for path in root.rglob("*.py")
        if path not in own
        and path.parent != root / "data" / "media"
        and any("data.media" in line and "decode" in line for line in path.open(encoding="utf-8"))
    ]
    assert names == []


def test_the_examples_of_the_docstrings_are_true() -> None:
    for module in (draws, words, schema):
        result = doctest.testmod(module)
        assert result.attempted > 0 and result.failed == 0


def refusals() -> Iterator[tuple[str, list[str], str]]:
    for name, letter, kind in (("mute", "a", "audio"), ("blank", "v", "video"), ("text_masked", "t", "text")):
        others = "tav".replace(letter, "")
        yield (
            "evaluate",
            [f"intervention={name}", f"modalities={others}"],
            f"{name} changes {kind}, but modalities={others}",
        )
    yield "train", ["intervention=mute"], "intervention=mute is for `python evaluate.py`: it is for evaluation alone"
    yield "show", ["intervention=text_masked"], "intervention=text_masked is for `python evaluate.py`"
    yield (
        "evaluate",
        ["intervention=mute", "intervention.snr=3"],
        (
            "intervention.snr=3 has no effect with intervention=mute: leave it out, or choose one that it is a strength"
            " of: noise_audio"
        ),
    )
    yield "evaluate", ["intervention.share=0.5"], "intervention.share=0.5 has no effect with intervention=none"
    yield (
        "evaluate",
        ["intervention=drop_audio", "intervention.share=1.5"],
        "intervention.share=1.5 has to be at most 1",
    )
    yield (
        "evaluate",
        ["intervention=drop_audio", "intervention.share=null"],
        ("intervention=drop_audio needs intervention.share, and it is null: give it a value"),
    )
    yield "evaluate", ["intervention=cut_tail", "intervention.seconds=0"], "intervention.seconds=0.0 has to be above 0"
    yield (
        "evaluate",
        ["intervention=noise_audio", "intervention.snr=nan"],
        "snr=nan has to be a finite number",
    )
    yield "evaluate", ["intervention=frames_shuffled", "model.num_frames=1"], "model.num_frames=1 takes a single one"
    yield (
        "evaluate",
        ["intervention=asr_text", "datasets.demo.transcribe=all"],
        ("intervention=asr_text changes nothing beside datasets.demo.transcribe=all"),
    )
    yield (
        "evaluate",
        ["intervention=asr_text", "datasets.demo.modalities=tv", "modalities=tv"],
        ("intervention=asr_text transcribes what is heard, but datasets.demo.modalities=tv has no sound"),
    )
    yield (
        "evaluate",
        ["model=mult", "dataset=mosi", "features=mmsa_unaligned", "intervention=mute"],
        "intervention=mute changes clips, and features=mmsa_unaligned does not read them: set features=computed",
    )
    yield (
        "evaluate",
        ["model=majority", "intervention=mute"],
        "model=majority reads labels alone: leave",
    )


@pytest.mark.parametrize(("program", "words", "sentence"), [*refusals()])
def test_an_intervention_that_makes_no_sense_is_refused(
    configure: Configure, program: str, words: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        configure(*words, program=program)
    assert sentence in str(refused.value)
