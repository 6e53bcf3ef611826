"""Descriptions by multimodal models, with tiny Qwen2.5-Omni checkpoints of random weights."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import TINY_LABELS, tiny_composed_language, tiny_manifest, tiny_qwen_omni

from affect import models
from affect.config import FAMILIES, BaselineConfig, Config, ConfigError, ServerConfig
from affect.config.fields import Tag, tagged
from affect.data import Record
from affect.data import loading as splits
from affect.data.media import SAMPLING_RATE, write_clip
from affect.data.part import Part
from affect.knowledge import Describer, Description, Failure
from affect.knowledge.sources import instructions, mllm
from affect.models import Conversation

Made = Callable[..., tuple[mllm.Mllm, list[Record]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_qwen_omni(tmp_path_factory.mktemp("qwen") / "thinker")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_manifest(tmp_path_factory.mktemp("manifest"))


@pytest.fixture
def made(configure: Callable[..., Config], folder: Path, table: Path) -> Made:
    """`made(*words)`: the source and the six test records."""

    def load(*words: str, test: list[Record] | None = None) -> tuple[mllm.Mllm, list[Record]]:
        cfg, parts = configured(configure, folder, table, *words)
        return mllm.load(cfg, parts), parts[0].records

    return load


MAIN = "knowledge.mllm_models.main"


def configured(
    configure: Callable[..., Config], folder: Path, table: Path, *words: str, main: str = "qwen2_5_omni_3b"
) -> tuple[Config, list[Part]]:
    small = [f"{MAIN}.num_frames=2", f"{MAIN}.frame_size=32", f"{MAIN}.max_seconds=5", "knowledge.max_new_tokens=8"]
    chosen = [f"{MAIN}.checkpoint={folder}"] if main.startswith("qwen") else [f"{MAIN}.language={folder}"]
    cfg = configure(
        *("dataset=manifest", f"datasets.manifest.root={table}", "modalities=t", "trainer.accelerator=cpu"),
        *("knowledge=mllm", f"model@{MAIN}={main}", *chosen, *small, *words),
        program="evaluate",
    )
    cfg.datasets["manifest"].task_definitions["label"].labels = list(TINY_LABELS)  # or each reading would say so
    return cfg, splits.read(cfg, ["test"])


def hashes(records: list[Record]) -> dict[str, str]:
    return {record.id: f"hash of {record.id}" for record in records}


def described(source: Describer, records: list[Record]) -> tuple[dict[tuple[str, str], Description], list[Failure]]:
    outcomes = list(source.describe(records, hashes(records)))
    assert len(outcomes) == len(records) * len(source.modalities)
    kept = {(o.id, o.modality): o for o in outcomes if isinstance(o, Description)}
    return kept, [outcome for outcome in outcomes if isinstance(outcome, Failure)]


def texts(source: Describer, records: list[Record]) -> dict[tuple[str, str], str]:
    kept, failed = described(source, records)
    assert not failed
    return {key: description.text for key, description in kept.items()}


# ---------------------------------------------------------------- what is asked


def test_instructions(configure, folder, table):
    cfg, parts = configured(configure, folder, table)
    record = replace(parts[0].records[0], text="Oh no.")
    knowledge = cfg.knowledge
    (turn,) = instructions.messages(record, "audio_video", knowledge)
    assert [part["type"] for part in turn["content"]] == ["video", "audio", "text"]
    assert turn["content"][-1]["text"] == knowledge.instruction_audio_video["en"]
    assert [p["type"] for p in instructions.messages(record, "audio", knowledge)[0]["content"]] == ["audio", "text"]
    assert [p["type"] for p in instructions.messages(record, "video", knowledge)[0]["content"]] == ["video", "text"]
    knowledge.show_transcript = knowledge.by_aspects = True
    text = instructions.messages(record, "audio_video", knowledge)[0]["content"][-1]["text"]
    assert text.startswith('They say: "Oh no."\nDescribe')
    assert text.endswith("tone, pitch, pace, loudness, pauses, face, gaze, gesture, posture, scene.")
    text = instructions.messages(replace(record, language="zh"), "audio", knowledge)[0]["content"][-1]["text"]
    assert text.startswith("台词：“Oh no.”\n用两三句话") and text.endswith("语气、音高、语速、音量、停顿。")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"instruction_audio": {"en": "Listen."}}, r"in language 'zh', but knowledge.instruction_audio has no text"),
        ({"instruction_audio": {"en": "Listen.", "zh": ""}}, "instruction_audio has no text in it: add .*audio.zh=…"),
        ({"by_aspects": True, "aspects_video": {"en": ["gaze"]}}, "aspects_video has no text in it"),
        (
            {"by_aspects": True, "instruction_aspects": {"en": "Say {aspect}.", "zh": "{aspects}"}},
            "instruction_aspects.en has a placeholder that is not {aspects}",
        ),
        (
            {"show_transcript": True, "instruction_transcript": {"en": "Hear.", "zh": "{text}"}},
            "instruction_transcript.en lacks its placeholder {text}",
        ),
    ],
)
def test_wording_that_cannot_be_used(configure, folder, table, change, message):
    knowledge = replace(configured(configure, folder, table)[0].knowledge, **change)
    with pytest.raises(ConfigError, match=message):
        instructions.check(knowledge, ["audio", "video"], ["en", "zh"])


# ---------------------------------------------------------------- what is said


def test_batches_say_what_each_clip_alone_says(made):
    """Clips of different lengths, so that all but the longest are padded."""
    words = ("knowledge.modalities=[audio,video,audio_video]", "knowledge.show_transcript=true")
    source, records = made(*words, "knowledge.mllm_batch_size=4")
    together = texts(source, records)
    assert len(together) == 18
    assert len(set(together.values())) > 9, "clips and modalities that differ are described alike"
    alone, _ = made(*words, "knowledge.mllm_batch_size=1")
    assert texts(alone, records) == together
    assert alone.fingerprint == source.fingerprint


def test_what_is_kept(made):
    source, records = made("knowledge.modalities=[audio]")
    kept, failed = described(source, records)
    assert not failed
    for description in kept.values():
        assert description.generator == source.fingerprint
        assert description.sha256 == f"hash of {description.id}"
        assert description.text == description.text.strip() != ""
        assert 1 <= description.tokens <= 8
        assert description.seconds > 0 and description.time.endswith("+00:00")


def test_greedy_is_what_the_model_generates(made, folder):
    """Decoding, prompting and media against the model asked directly."""
    source, records = made("knowledge.modalities=[audio]")
    config = source.generators[0].config
    model, encoder = models.load(config, modalities="a", cache_root=folder)
    record = records[0]
    clip = mllm.clips(record, ["audio"], num_frames=2, frame_size=32, max_seconds=5, limit="")["audio"]
    messages = instructions.messages(record, "audio", source.knowledge)
    batch = encoder.encode([Conversation(messages=messages, waveform=clip.waveform)])
    ids = model.eval().generate(batch, 8)[0]
    assert texts(source, [record])[record.id, "audio"] == encoder.decode(ids).strip()


def test_thoughts_are_no_description(made, monkeypatch):
    load, said = models.load, iter(["<think>Sad?</think>A low voice.", "Perhaps.</think>A high voice.", "<think>Let"])

    def thinking(*given, **how):
        model, encoder = load(*given, **how)
        monkeypatch.setattr(encoder, "decode", lambda ids: next(said))
        return model, encoder

    monkeypatch.setattr(models, "load", thinking)
    source, records = made("knowledge.modalities=[audio]", "knowledge.mllm_batch_size=1")
    kept, failed = described(source, records[:3])
    assert sorted(one.text for one in kept.values()) == ["A high voice.", "A low voice."]
    [failure] = failed
    assert "ended within its thoughts" in failure.reason and "knowledge.max_new_tokens" in failure.reason


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_output_that_is_not_finite_is_a_failure_with_the_reason(made, monkeypatch, temperature):
    load = models.load

    def broken(*given, **how):
        model, encoder = load(*given, **how)
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))
        return model, encoder

    monkeypatch.setattr(models, "load", broken)
    source, records = made("knowledge.modalities=[audio]", f"knowledge.temperature={temperature}")
    kept, failed = described(source, records)
    assert not kept and len(failed) == len(records)
    assert all(models.NOT_FINITE in failure.reason for failure in failed)


def test_sampling_depends_on_seed_and_clip_alone(made):
    words = ("knowledge.modalities=[audio]", "knowledge.temperature=1.0")
    source, records = made(*words)
    first = texts(source, records)
    assert texts(source, records) == first
    alone, _ = made(*words, "knowledge.mllm_batch_size=1")
    assert texts(alone, list(reversed(records))) == first
    other, _ = made(*words, "knowledge.sampling_seed=1")
    assert texts(other, records) != first
    greedy, _ = made("knowledge.modalities=[audio]")
    assert texts(greedy, records) != first
    assert len({source.fingerprint, other.fingerprint, greedy.fingerprint}) == 3


def test_generators_are_combined(made, tmp_path):
    """Two models on the sound, a line each, and one of them alone on the picture."""
    second = "knowledge.mllm_models.second"
    words = [f"+model@{second}=qwen2_5_omni_3b", f"{second}.max_seconds=5", f"{second}.modalities=ta"]
    other = tiny_qwen_omni(tmp_path / "other")
    _perturb(other)
    both, records = made(*words, f"{second}.checkpoint={other}", f"{second}.name=ears")
    first, _ = made()
    together, one = texts(both, records), texts(first, records)
    for record in records:
        assert together[record.id, "video"] == one[record.id, "video"]
        said = together[record.id, "audio"]
        assert said.startswith(one[record.id, "audio"] + "\n") and len(said) > len(one[record.id, "audio"]) + 1
    assert both.fingerprint.startswith("mllm-qwen2_5_omni_3b+ears-")
    assert both.fingerprint != first.fingerprint


def _perturb(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"].flip(0).contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_describing_leaves_the_random_state_alone(made):
    source, records = made("knowledge.modalities=[audio]", "knowledge.temperature=1.0")
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    described(source, records[:2])
    assert torch.rand(1) == expected


def test_it_is_streamed(made):
    """The first descriptions are there before the last clips are opened."""
    source, records = made("knowledge.modalities=[audio]", "knowledge.mllm_batch_size=1")
    asked: list[str] = []

    class Watched(list):
        def __getitem__(self, at: slice) -> list[Record]:
            asked.extend(record.id for record in super().__getitem__(at))
            return super().__getitem__(at)

    many = Watched(replace(record, id=f"{record.id}/{i}") for i in range(4) for record in records)
    outcomes = source.describe(many, hashes(many))
    next(outcomes)
    assert len(asked) == 2 * mllm.WINDOW  # one window that is described, one that is decoded meanwhile
    outcomes.close()


# ---------------------------------------------------------------- clips that cannot be described


@pytest.fixture
def broken(made: Made, tmp_path: Path) -> Iterator[list[Record]]:
    _, records = made()
    time = np.arange(SAMPLING_RATE) / SAMPLING_RATE
    sound = np.sin(400 * time).astype(np.float32)
    write_clip(tmp_path / "sound.mp4", frames=None, fps=8, waveform=sound, sampling_rate=SAMPLING_RATE)
    (tmp_path / "torn.mp4").write_bytes(b"no film at all" * 30)
    long = np.tile(sound, 6)
    write_clip(tmp_path / "long.mp4", frames=None, fps=8, waveform=long, sampling_rate=SAMPLING_RATE)
    yield [
        replace(records[0], id="whole"),
        replace(records[0], id="deaf", media=str(tmp_path / "sound.mp4")),
        replace(records[0], id="torn", media=str(tmp_path / "torn.mp4")),
        replace(records[0], id="long", media=str(tmp_path / "long.mp4")),
        replace(records[0], id="none", media=None, source="clips.csv, row 7"),
        replace(records[0], id="short", start=0.1, end=0.11),
    ]


def test_each_clip_that_cannot_be_described_says_why(made, broken):
    source, _ = made("knowledge.mllm_batch_size=4")
    kept, failed = described(source, broken)
    assert set(kept) == {("whole", "audio"), ("whole", "video"), ("deaf", "audio"), ("short", "video")}
    reasons = {(failure.id, failure.modality): failure.reason for failure in failed}
    assert "it has no video track" in reasons["deaf", "video"]
    assert "it cannot be decoded" in reasons["torn", "audio"]
    assert "max_seconds is 5; raise knowledge.mllm_models.main.max_seconds or cut the clip" in reasons["long", "audio"]
    assert reasons["none", "video"] == "clips.csv, row 7: the dataset has no file for none: give it its clip"
    assert "its sound lasts 0.0100 s, less than 0.1 s; correct start and end" in reasons["short", "audio"]
    # One bad clip does not change what is said about the others of its batch.
    alone, _ = described(source, broken[:1])
    assert alone["whole", "audio"].text == kept["whole", "audio"].text


def test_an_empty_description_is_a_failure(made, monkeypatch):
    load = models.load

    def mute(*given, **how):
        model, encoder = load(*given, **how)
        monkeypatch.setattr(model, "generate", lambda batch, limit: [[] for _ in batch["input_ids"]])
        return model, encoder

    monkeypatch.setattr(models, "load", mute)
    source, records = made("knowledge.modalities=[audio]")
    kept, failed = described(source, records[:2])
    assert not kept
    assert "is empty (audio): change knowledge.instruction_audio.en" in failed[0].reason


# ---------------------------------------------------------------- fingerprints


def test_the_fingerprint_changes_with_what_changes_a_text(made, folder, tmp_path):
    def fingerprint(*words: str) -> str:
        return made(*words)[0].fingerprint

    plain = fingerprint()
    assert plain.startswith("mllm-qwen2_5_omni_3b-")
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    same = ("knowledge.modalities=[audio]", "knowledge.mllm_batch_size=3", f"{MAIN}.max_seconds=4", "seed=7")
    for word in (*same, f"{MAIN}.checkpoint={copy}", f"{MAIN}.precision=float32", "knowledge.sampling_seed=2"):
        assert fingerprint(word) == plain, word
    changed = {
        word: fingerprint(word)
        for word in (
            f"{MAIN}.num_frames=4",
            f"{MAIN}.frame_size=64",
            f"{MAIN}.precision=bfloat16",
            "knowledge.max_new_tokens=9",
            "knowledge.temperature=0.5",
            "knowledge.by_aspects=true",
            "knowledge.show_transcript=true",
            "knowledge.instruction_video.en=Look",
        )
    }
    _perturb(copy)
    changed["weights"] = fingerprint(f"{MAIN}.checkpoint={copy}")
    template = next(copy.glob("*.jinja"))
    template.write_text(template.read_text() + " ")
    changed["template"] = fingerprint(f"{MAIN}.checkpoint={copy}")
    assert len({plain, *changed.values()}) == 1 + len(changed)


def test_a_request_holds_what_the_record_brings_into_it(made, monkeypatch):
    def requests(record: Record, *words: str) -> tuple[str, str]:
        source, _ = made(*words)
        return source.request(record, "audio"), source.request(record, "video")

    record = replace(made()[1][0], text="Oh no.")
    corrected, chinese = replace(record, text="Oh, now."), replace(record, language="zh")
    blind, shown = requests(record), requests(record, "knowledge.show_transcript=true")
    assert requests(corrected) == blind, "a transcript that is not shown changes nothing"
    assert requests(replace(record, labels={}, id="another", speaker="X")) == blind
    different = [blind, shown, requests(chinese), requests(corrected, "knowledge.show_transcript=true")]
    monkeypatch.setattr("affect.knowledge.sources.instructions.DECODER", -1)
    different.append(requests(record))
    assert len({one for pair in different for one in pair}) == 10
    monkeypatch.undo()
    [kept] = [o for o in made()[0].describe([record], hashes([record])) if o.modality == "audio"]
    assert kept.request == blind[0]


def test_a_fingerprint_loads_no_model(made, monkeypatch):
    monkeypatch.setattr(models, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    assert made()[0].fingerprint


def test_every_family_says_what_it_is_loaded_from():
    for family in set(FAMILIES.values()) - {ServerConfig}:
        if issubclass(family, BaselineConfig):
            continue  # which no generator can be, as no server can
        assert tagged(family, Tag.weights), f"{family.__name__}: tag the key of its checkpoint as weights"


# ---------------------------------------------------------------- runs and refusals


def test_new_towers_are_refused(configure, table, tmp_path):
    language = tiny_composed_language(tmp_path / "language")
    cfg, parts = configured(configure, language, table, main="smollm2")
    with pytest.raises(ConfigError, match=r"the audio encoder of knowledge.mllm_models.main=smollm2 is untrained"):
        mllm.load(cfg, parts)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["~model@knowledge.mllm_models.main"], "knowledge=mllm has no model: choose one"),
        ([f"{MAIN}.modalities=t"], "qwen2_5_omni_3b takes only text"),
        ([f"{MAIN}.media=native"], "mllm_models.main has media=native, but descriptions are made from evenly spaced"),
        ([f"{MAIN}.modalities=ta", "knowledge.modalities=[video]"], "takes text and audio: choose a model that"),
        (["knowledge.mllm_batch_size=0"], "mllm_batch_size=0 has to be at least 1"),
        (["knowledge.max_new_tokens=0"], "max_new_tokens=0 has to be at least 1"),
        (["knowledge.temperature=-1"], "temperature=-1.0 must not be below 0"),
        ([f"{MAIN}.checkpoint=/nowhere"], "model.checkpoint=/nowhere cannot be loaded"),
        (["knowledge.mllm_run=/nowhere"], "knowledge.mllm_run=/nowhere: the folder does not exist: name that of a run"),
    ],
)
def test_what_cannot_describe_is_refused(made, configure, folder, table, words, message):
    if words[0].startswith("~"):
        cfg, parts = configured(configure, folder, table)
        cfg.knowledge.mllm_models.clear()
        with pytest.raises(ConfigError, match=message):
            mllm.load(cfg, parts)
        return
    with pytest.raises(ConfigError, match=message):
        made(*words)


def test_a_checkpoint_without_weights(made, folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"has no weights \(\*.safetensors, .*give a complete folder"):
        made(f"{MAIN}.checkpoint={copy}")


def test_a_fine_tuned_run_describes(made, configure, folder, table, tmp_path):
    """A run folder as training leaves it: the adapter changes what is said, and the fingerprint with it."""
    from affect.models import adapters, trained_tensors
    from affect.runs import run_folder

    words = ["model=qwen2_5_omni_3b", f"model.checkpoint={folder}", "model.num_frames=2", "model.frame_size=32"]
    data = ["dataset=manifest", f"datasets.manifest.root={table}", "modalities=ta", "finetuning.rank=2"]
    cfg = configure(*words, *data, f"output_root={tmp_path}", program="train")
    trained = run_folder.create(cfg, "train", None)
    model, _ = models.load(cfg.model, modalities="ta", cache_root=tmp_path)
    adapters.apply(model, cfg.finetuning)
    state = trained_tensors.trained_state(model)
    torch.manual_seed(0)
    (trained / "checkpoints").mkdir()
    moved = {"state_dict": {k: torch.randn_like(v) for k, v in state.items()}, "base": model.base_sample}
    torch.save(moved, trained / "checkpoints/best.ckpt")

    tuned, records = made(f"knowledge.mllm_run={trained}", "knowledge.modalities=[audio]")
    plain, _ = made("knowledge.modalities=[audio]")
    assert tuned.fingerprint != plain.fingerprint
    assert texts(tuned, records) != texts(plain, records)
    torch.save(moved | {"state_dict": state}, trained / "checkpoints/best.ckpt")  # LoRA begins with no effect
    untouched, _ = made(f"knowledge.mllm_run={trained}", "knowledge.modalities=[audio]")
    assert texts(untouched, records) == texts(plain, records)
    assert untouched.fingerprint != tuned.fingerprint
    # The same tensors in another model: LoRA's update is scaled by alpha / √rank there.
    config = trained / "config.yaml"
    config.write_text(config.read_text().replace("method: lora", "method: rslora"))
    rescaled, _ = made(f"knowledge.mllm_run={trained}", "knowledge.modalities=[audio]")
    assert rescaled.fingerprint != untouched.fingerprint
    config.write_text(config.read_text().replace("method: rslora", "method: lora"))
    torch.save({"state_dict": state}, trained / "checkpoints/best.ckpt")
    with pytest.raises(ConfigError, match="was written by an earlier version of affect, which did not note the model"):
        texts(made(f"knowledge.mllm_run={trained}", "knowledge.modalities=[audio]")[0], records)
    (trained / "checkpoints/best.ckpt").unlink()
    with pytest.raises(ConfigError, match=r"has no checkpoints/best.ckpt: its training stopped before its first"):
        made(f"knowledge.mllm_run={trained}")
