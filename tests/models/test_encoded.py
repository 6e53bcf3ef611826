"""Nothing is done twice, and it changes nothing: decoded clips, outputs of frozen encoders, the next batch in a
thread."""

import copy
import csv
import json
import os
import pickle
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_families import BUILD
from tiny_models import tiny_composed_language, tiny_manifest, tiny_siglip, tiny_wav2vec2, tiny_whisper, tiny_words

import evaluate
import train
from affect import models
from affect.config import Config, ConfigError, DataError
from affect.data import clip_cache, clips, loading
from affect.data.media import write_clip
from affect.data.tensor_store import TensorFiles
from affect.models import Encoder, adapters, encoder_cache, sampling
from affect.models import collate as collating
from affect.models.encoder_cache import Outputs
from affect.prompting import examples as data
from affect.prompting.messages import Example
from affect.training import usable_clips
from affect.training.prefetch import Prefetching

Configure = Callable[..., Config]

OFF = ("trainer.prefetch=0", "trainer.clip_cache_gb=0", "trainer.encoder_cache=off")
ON = {
    "prefetch": (*OFF[1:], "trainer.prefetch=2"),
    "clips": (OFF[0], OFF[2], "trainer.clip_cache_gb=1"),
    "encoders": (*OFF[:2], "trainer.encoder_cache=on"),
    "all": ("trainer.prefetch=1", "trainer.clip_cache_gb=1", "trainer.encoder_cache=on"),
}
NATIVE = {"qwen3_omni": "qwen3_omni_30b_a3b", "gemma4": "gemma4_e2b"}
"""Families of tiny_families.py, and what of conf/model is of the same."""
FAMILIES = ("qwen_omni", *NATIVE, "whisper_siglip", "wav2vec2_siglip")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoded")


@pytest.fixture(scope="module")
def table(root: Path) -> Path:
    return tiny_manifest(root / "corpus", train=9)


def family_words(root: Path, family: str) -> list[str]:
    """The words that choose a tiny model of `family` whose encoders are pretrained, without a cache_root."""
    if family == "qwen_omni":
        words = tiny_words(root, family)
    elif family in NATIVE:
        if not (root / family).exists():
            BUILD[family](root / family)
        _model, _checkpoint, *rest = tiny_words(root, "qwen_omni")
        words = [f"model={NATIVE[family]}", f"model.checkpoint={root / family}", *rest]
    else:
        audio = family.split("_")[0]
        makers = {"whisper": tiny_whisper, "wav2vec2": tiny_wav2vec2, "siglip": tiny_siglip}
        for part in (audio, "siglip"):
            if not (root / part).exists():
                makers[part](root / part)
        if not (root / "composed").exists():
            tiny_composed_language(root / "composed")
        words = [*tiny_words(root), f"model.audio={root / audio}", f"model.vision={root / 'siglip'}"]
    return [word for word in words if not word.startswith("cache_root=")]


@pytest.fixture(scope="module")
def start(root: Path, table: Path) -> Iterator[Callable[..., Path]]:
    """`start(main, *words)` runs train.main or evaluate.main in this process and gives the folder it made."""
    with pytest.MonkeyPatch.context() as patch:

        def started(main: Callable[[], None], *words: str) -> Path:
            output = root / "outputs"
            before = set(output.glob("*/"))
            chosen = ["dataset=manifest", f"datasets.manifest.root={table}", f"output_root={output}", *words]
            patch.setattr(sys, "argv", ["program.py", *chosen])
            patch.delenv("AFFECT_STAMP", raising=False)
            patch.chdir(root)
            main()
            [made] = set(output.glob("*/")) - before
            return made

        yield started


def losses(folder: Path) -> list[float]:
    with (folder / "log" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]


def scores(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    return [score for row in rows for score in row["scores"].values()]


def log(folder: Path) -> str:
    return (folder / "log" / "run.log").read_text(encoding="utf-8")


# --- The same numbers ---


@pytest.mark.parametrize("family", ["qwen_omni", "whisper_siglip"])
def test_a_training_is_the_same_with_each_on_and_off(family: str, root: Path, start: Callable[..., Path]) -> None:
    words = [*family_words(root, family), "trainer.max_epochs=2", "trainer.batch_size=4", "trainer.log_every=1"]
    # At the default rates a tiny model of random weights hardly moves.
    words += ["model.precision=float32", "finetuning.learning_rate=3e-3", "finetuning.new_learning_rate=3e-3"]
    plain = start(train.main, *words, *OFF, f"cache_root={root / family / 'off'}")
    expected = torch.tensor([*losses(plain), *scores(plain)])
    assert len(losses(plain)) == 6 and losses(plain)[0] != pytest.approx(losses(plain)[-1], abs=1e-3)
    for name in ON if family == "qwen_omni" else ("all",):
        folder = start(train.main, *words, *ON[name], f"cache_root={root / family / name}")
        found = torch.tensor([*losses(folder), *scores(folder)])
        assert torch.allclose(found, expected, rtol=0, atol=1e-5), (name, (found - expected).abs().max())
        if name in ("prefetch", "clips"):
            assert torch.equal(found, expected), f"{name} changes bits"
        assert (root / family / name / "encoders").exists() == (name in ("encoders", "all"))
        assert (root / family / name / "decoded").exists() == (name in ("clips", "all"))
    assert "encoder cache: the outputs of the audio and video encoder for 21 of 21 clips are computed once," in log(
        folder
    )


def test_what_is_there_is_not_computed_again(
    root: Path, start: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = root / "qwen_omni" / "again"
    words = [*family_words(root, "qwen_omni"), f"cache_root={cache}", "trainer.max_epochs=1"]
    first = start(train.main, *words)
    files = sorted((cache / "encoders").glob("**/*.safetensors"))
    assert len(files) == 42, "21 clips, two encoders"

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a clip was decoded or encoded a second time")

    monkeypatch.setattr(clips, "decode", forbidden)
    monkeypatch.setattr(clip_cache, "decode", forbidden)
    for name in ("encode_audio", "encode_video"):
        monkeypatch.setattr(f"affect.models.native.qwen_omni.QwenOmni.{name}", forbidden)
    monkeypatch.setattr("affect.models.native.qwen_omni.log_mel", forbidden)
    kind = "transformers.models.qwen2_5_omni.modeling_qwen2_5_omni.{}.forward"
    for name in ("Qwen2_5OmniAudioEncoder", "Qwen2_5OmniVisionEncoder"):
        monkeypatch.setattr(kind.format(name), forbidden)
    monkeypatch.setattr("affect.models.token_report.in_words", lambda *_: [])  # which encodes a clip of noise
    # Another seed, fewer modalities, an evaluation, zero-shot and of the run: all of the same clips and encoders.
    again = start(train.main, *words, "seed=2")
    assert f"audio and video encoder for 21 clips are in {cache / 'encoders'}" in log(again)
    ablated = start(train.main, *words, "modalities=ta")
    assert f"outputs of the audio encoder for 21 clips are in {cache / 'encoders'}" in log(ablated)
    assert "audio and video encoder for 6 clips are in" in log(start(evaluate.main, *words[:-1]))
    same = start(evaluate.main, f"run={first}", f"cache_root={cache}", "trainer.encoder_cache=on")
    assert scores(same) == scores(first)
    assert sorted((cache / "encoders").glob("**/*.safetensors")) == files


def test_an_alignment_uses_the_outputs(root: Path, start: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is of composed models, whose projectors are new while their encoders are pretrained."""
    words = [*family_words(root, "whisper_siglip"), "trainer.max_epochs=1"]
    kept = f"cache_root={root / 'whisper_siglip' / 'kept'}"
    start(train.main, *words, kept)
    calls = []
    kind = "transformers.models.whisper.modeling_whisper.WhisperEncoder.forward"
    monkeypatch.setattr(kind, lambda *_, **__: calls.append(1))
    start(train.main, *words, kept, "seed=2", "finetuning.alignment_epochs=3")
    assert calls == []


# --- What the outputs depend on ---


def made(
    root: Path, table: Path, configure: Configure, cache: Path, *more: str, family: str = "qwen_omni"
) -> "Prepared":
    words = [*family_words(root, family), "dataset=manifest", f"datasets.manifest.root={table}", f"cache_root={cache}"]
    cfg = configure(*words, *more)
    parts = loading.read(cfg, ["train", "val"])
    source = usable_clips.exclude_unusable(parts, cfg)
    torch.manual_seed(1)
    model, encoder = models.load(cfg.model, modalities=cfg.modalities, cache_root=cache)
    adapters.apply(model, cfg.finetuning)
    by_split = {s: data.examples(parts, s, cfg, encoder.count_text, labelled_only=True) for s in ("train", "val")}
    return cfg, encoder_cache.prepare(model, encoder, by_split, cfg, source), by_split, encoder, model


Prepared = tuple[Config, Outputs | None, dict[str, list[Example]], Encoder, torch.nn.Module]


@pytest.fixture(scope="module")
def prepared() -> dict[tuple[str, ...], Prepared]:
    """What `made` gave, by family and words, for tests that compare and do not change it."""
    return {}


@pytest.fixture
def prepare(
    root: Path, table: Path, configure: Configure, prepared: dict[tuple[str, ...], Prepared]
) -> Callable[..., Prepared]:
    """`prepare(*words, family=…)` is `made` with one cache for all, once for the same words."""

    def prepare(*words: str, family: str = "qwen_omni") -> Prepared:
        key = (family, *words)
        if key not in prepared:
            prepared[key] = made(root, table, configure, root / "identities", *words, family=family)
        return prepared[key]

    return prepare


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ("model.num_frames=4", ("video",)),
        ("model.frame_size=16", ("video",)),
        ("model.media=native", ("video",)),
        ("model.attention=eager", ("audio", "video")),
        ("finetuning.rank=4", ()),
        ("model.max_seconds=20", ()),
        ("seed=5", ()),
        ("evaluation=generate", ()),
    ],
)
def test_the_outputs_of_other_settings_are_others(
    change: str, parts: tuple[str, ...], prepare: Callable[..., Prepared]
) -> None:
    base, other = prepare()[1].identities, prepare(change)[1].identities
    assert {part for part in base if base[part] != other[part]} == {*parts}


QFORMER = ("model.projector=qformer", "model.qformer_heads=2", "model.qformer_steps=8")


@pytest.mark.parametrize(
    ("first", "second", "parts"),
    [
        ((), QFORMER, ("audio", "video")),
        (QFORMER, (*QFORMER, "model.qformer_steps=9"), ("audio", "video")),
        (QFORMER, (*QFORMER, "model.audio_tokens=3"), ()),
        ((), ("model.audio_tokens=3",), ("audio",)),
        ((), ("model.qformer_steps=9",), ()),
    ],
)
def test_the_outputs_for_another_projector_are_others_where_it_looks_at_other_states(
    first: tuple[str, ...],
    second: tuple[str, ...],
    parts: tuple[str, ...],
    prepare: Callable[..., Prepared],
) -> None:
    outputs = [prepare(*words, family="whisper_siglip")[:4] for words in (first, second)]
    base, other = (found.identities for _, found, *_ in outputs)
    assert {part for part in base if base[part] != other[part]} == {*parts}
    if "audio" in parts:  # and were one to be given the other's, it would say so
        (_, _, by_split, encoder), (cfg, kept, *_) = outputs
        with pytest.raises(AssertionError, match="outputs for audio are of another projector"):
            collating.Collate(encoder, sampling.sampling(cfg), True, kept.source, kept)(by_split["train"][:2])


def test_the_outputs_of_another_decoder_and_of_another_activation_are_others(
    root: Path,
    table: Path,
    tmp_path: Path,
    configure: Configure,
    prepare: Callable[..., Prepared],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = prepare(family="whisper_siglip")[1].identities
    for name, part in (("whisper", "audio"), ("siglip", "video")):
        shutil.copytree(root / name, tmp_path / name)
        word = f"model.{'vision' if part == 'video' else part}={tmp_path / name}"
        moved = made(root, table, configure, root / "identities", word, family="whisper_siglip")[1].identities
        assert moved == base, "where it is loaded from is nothing to it"
        path = tmp_path / name / "config.json"
        path.write_text(path.read_text(encoding="utf-8").replace('"gelu', '"relu').replace("relu_pytorch_tanh", "relu"))
        other = made(root, table, configure, root / "identities", word, family="whisper_siglip")[1].identities
        assert [changed for changed in base if base[changed] != other[changed]] == [part]
    monkeypatch.setattr(encoder_cache, "DECODING", [*clip_cache.DECODING[:-1], "99.0"])
    other = made(root, table, configure, root / "identities", family="whisper_siglip")[1].identities
    assert not {*base.values()} & {*other.values()}


def test_the_outputs_of_other_weights_are_others(prepare: Callable[..., Prepared]) -> None:
    modules = copy.deepcopy(prepare()[-1]).encoders()
    before = {part: encoder_cache._weights_hash(module) for part, module in modules.items()}
    with torch.no_grad():
        modules["audio"].proj.bias[0] += 1e-6
    after = {part: encoder_cache._weights_hash(module) for part, module in modules.items()}
    assert before["audio"] != after["audio"] and before["video"] == after["video"]


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_clips_in_any_batch(family: str, prepare: Callable[..., Prepared]) -> None:
    cfg, outputs, by_split, encoder, model = prepare(family=family)
    model.eval()
    settings = sampling.sampling(cfg)
    with torch.no_grad():
        for size in (1, 4):
            asked = by_split["train"][:size]
            plain = collating.Collate(encoder, settings, True)(asked).tensors
            kept = collating.Collate(encoder, settings, True, outputs.source, outputs)(asked).tensors
            assert torch.equal(plain["input_ids"], kept["input_ids"])
            assert not {"input_features", "pixel_values_videos", "audio_features", "frames"} & set(kept)
            expected, found = model(plain, keep=4), model(kept, keep=4)
            assert torch.allclose(found, expected, rtol=0, atol=1e-5)
            assert torch.allclose(model.prefill(kept).logits, model.prefill(plain).logits, rtol=0, atol=1e-5)
            if size == 1:
                continue
            # They matter: other clips give other logits.
            swapped = {name: tensor.flip(0) if name.endswith("_states") else tensor for name, tensor in kept.items()}
            assert not torch.allclose(model(swapped, keep=4), expected, rtol=0, atol=1e-3)


def test_some_of_the_encoders_are_kept_beside_others_that_are_not(
    root: Path, table: Path, tmp_path: Path, configure: Configure
) -> None:
    cfg, outputs, by_split, encoder, model = made(root, table, configure, tmp_path, "finetuning.vision=full")
    assert [*outputs.identities] == ["audio"]
    asked = by_split["train"][:3]
    kept = collating.Collate(encoder, sampling.sampling(cfg), True, outputs.source, outputs)(asked).tensors
    plain = collating.Collate(encoder, sampling.sampling(cfg), True)(asked).tensors
    assert {"audio_states", "pixel_values_videos"} <= set(kept) and "input_features" not in kept
    model.eval()
    with torch.no_grad():
        assert torch.allclose(model(kept, keep=4), model(plain, keep=4), rtol=0, atol=1e-5)


def test_a_part_that_joins_later_is_computed_alone(
    root: Path, table: Path, tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(root, table, configure, tmp_path, "modalities=ta")
    before = {path: path.stat().st_ino for path in (tmp_path / "encoders").glob("**/*.safetensors")}
    _, outputs, by_split, *_ = made(root, table, configure, tmp_path)
    after = {path: path.stat().st_ino for path in (tmp_path / "encoders").glob("**/*.safetensors")}
    assert len(before) == 15 and len(after) == 30 and before.items() <= after.items()
    assert outputs.of([example.record for example in by_split["train"]]) is not None


def test_several_fill_it_at_once(
    root: Path, table: Path, tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, outputs, by_split, encoder, model = made(root, table, configure, tmp_path)
    records = [example.record for examples in by_split.values() for example in examples]
    expected = outputs.of(records)
    for path in (tmp_path / "encoders").glob("**/*.safetensors"):
        path.unlink()
    computed: list[str] = []
    keep = encoder_cache._keep

    def counting(outputs: Outputs, group: encoder_cache._Computed) -> None:
        computed.extend(record.id for record in group.records)
        keep(outputs, group)

    monkeypatch.setattr(encoder_cache, "_keep", counting)
    with ThreadPoolExecutor(3) as pool:
        each = [
            pool.submit(
                encoder_cache._fill, pickle.loads(pickle.dumps(outputs)), list(records), 15, model, encoder, cfg
            )
            for _ in range(3)
        ]
        assert all(future.result() for future in each)
    assert set(computed) == {record.id for record in records}
    found = outputs.of(records)
    # Which clips went through the encoders together depends on who was first.
    assert all(
        torch.allclose(found[i][part][name], tensor, rtol=0, atol=1e-5)
        for i, parts in enumerate(expected)
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    )


# --- What is in the way of it ---


@pytest.mark.parametrize(
    ("family", "words", "sentence"),
    [
        ("qwen_omni", ["finetuning.audio=lora"], "finetuning.audio=lora changes what the encoders make of a clip"),
        ("qwen_omni", ["finetuning.projector=full"], "finetuning.projector=full changes what the encoders make"),
        ("qwen_omni", ["modalities=t"], "modalities=t has neither audio nor video: leave it out"),
        ("composed", [], "model.audio=conv is new and has to be trained: name a pretrained encoder, or set"),
    ],
)
def test_a_trained_tower_is_refused_with_a_sentence(
    family: str, words: list[str], sentence: str, root: Path, table: Path, configure: Configure
) -> None:
    chosen = [*tiny_words(root, family), "dataset=manifest", f"datasets.manifest.root={table}"]
    configure(*chosen, *words)
    with pytest.raises(ConfigError, match=f"trainer.encoder_cache=on, but {sentence}"):
        configure(*chosen, *words, "trainer.encoder_cache=on")


def test_auto_leaves_out_what_is_trained_and_what_is_tried_out(prepare: Callable[..., Prepared]) -> None:
    assert prepare("finetuning.projector=full")[1] is None
    assert prepare("finetuning=full", "finetuning.audio=full")[1].identities.keys() == {"video"}
    assert prepare("trainer.max_batches=2")[1] is None
    assert prepare("trainer.max_batches=2", "trainer.encoder_cache=on")[1] is not None


def test_without_room_auto_goes_on_and_on_refuses(
    root: Path, table: Path, tmp_path: Path, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    # 60 kB: room for the first of them alone.
    small = ("trainer.encoder_cache_gb=0.00006", "evaluation.batch_size=4")
    assert made(root, table, configure, tmp_path / "auto", *small)[1] is None
    said = capsys.readouterr().out
    assert re.search(r"the encoder cache would need [\d.]+ kB for 15 clips, and there is room for 60.0 kB in", said)
    assert "The encoders compute every clip each time" in said
    with pytest.raises(
        ConfigError, match=r"would need .* for 15 clips, and there is room for 60.0 kB in .*: raise tra"
    ):
        made(root, table, configure, tmp_path / "on", *small, "trainer.encoder_cache=on")


def test_what_another_process_writes_meanwhile_is_not_taken_for_what_is_in_the_way(
    root: Path, table: Path, tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ("evaluation.batch_size=2", "trainer.encoder_cache=on")
    made(root, table, configure, tmp_path / "alone", *few)
    needed = TensorFiles(tmp_path / "alone" / "encoders", 0, print, "").size()
    words = (root, table, configure, tmp_path / "shared", *few, f"trainer.encoder_cache_gb={1.3 * needed / 1e9:.9f}")
    compute, others = encoder_cache._compute, []

    def slow(*rest: object) -> object:
        if not others:  # this process has listed what is missing; another fills the cache before it has the sizes
            others.append(True)
            made(*words)
        return compute(*rest)

    monkeypatch.setattr(encoder_cache, "_compute", slow)
    assert made(*words)[1] is not None


@pytest.mark.parametrize("family", ["qwen_omni", "whisper_siglip"])
def test_the_size_is_known_before_where_clips_differ_in_length(
    family: str, root: Path, tmp_path: Path, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sound of Qwen2.5-Omni has so many tokens a second, that of a composed model as many for every clip."""
    rng = np.random.default_rng(1)
    rows = [("clip", "text", "label", "split")]
    for i, (seconds, split) in enumerate([(1, "train")] * 7 + [(2, "train"), (12, "train"), (9, "train"), (3, "val")]):
        sound = (0.1 * rng.standard_normal(seconds * 16_000)).astype(np.float32)
        frames = np.zeros((8, 32, 32, 3), np.uint8)
        write_clip(tmp_path / f"{i}.mp4", frames=frames, fps=8 / seconds, waveform=sound, sampling_rate=16_000)
        rows.append((f"{i}.mp4", "well", ("joy", "anger")[i % 2], split))
    table = tmp_path / "clips.csv"
    table.write_text("".join(",".join(row) + "\n" for row in rows), encoding="utf-8")
    few = "evaluation.batch_size=2"
    _, outputs, by_split, *_ = made(root, table, configure, tmp_path / "cache", few, family=family)
    [(number, unit)] = re.findall(r"for 11 of 11 clips are computed once, ([\d.]+) ([kM])B in", capsys.readouterr().out)
    kept = outputs.of([example.record for examples in by_split.values() for example in examples])
    sizes = {sum(t.nbytes for own in by_part.values() for t in own.values()) for by_part in kept}
    assert (len(sizes) > 1) == (family == "qwen_omni")
    assert float(number) * {"k": 1e3, "M": 1e6}[unit] == pytest.approx(outputs.files.size(), rel=0.02)


def test_a_damaged_file_is_computed_again_and_one_of_another_model_refused(
    root: Path, table: Path, tmp_path: Path, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg, outputs, by_split, encoder, _ = made(root, table, configure, tmp_path)
    [first, second] = [outputs.keys(example.record)["audio"] for example in by_split["train"][:2]]
    path = outputs.files.path(first)
    path.write_bytes(path.read_bytes()[:-7])
    capsys.readouterr()
    outputs = made(root, table, configure, tmp_path)[1]
    said = capsys.readouterr().out
    assert f"{path} is damaged (it is cut short): it is deleted, and its content is computed again" in said
    assert "for 1 of 15 clips are computed once, 14 are there" in said
    # Damage in the middle is found when it is read: the batch is decoded instead.
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    collate = collating.Collate(encoder, sampling.sampling(cfg), True, outputs.source, outputs)
    assert "input_features" in collate(by_split["train"][:2]).tensors
    assert "its checksum differs" in capsys.readouterr().out
    os.replace(outputs.files.path(second), path)
    with pytest.raises(DataError, match=r"has a key other than its name says"):
        made(root, table, configure, tmp_path)


def test_a_folder_that_cannot_be_written_is_said_and_the_run_goes_on(
    root: Path, table: Path, tmp_path: Path, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("encoders", "decoded"):
        (tmp_path / name).write_text("a file is where the folder should be")
    assert made(root, table, configure, tmp_path)[1] is None
    said = capsys.readouterr().out
    assert f"{tmp_path / 'decoded'} cannot be written (" in said and "are decoded each time they are used" in said
    assert f"{tmp_path / 'encoders'} cannot be written (" in said
    with pytest.raises(ConfigError, match=r"the encoder cache cannot be filled: raise trainer.encoder_cache_gb"):
        made(root, table, configure, tmp_path, "trainer.encoder_cache=on")


def test_a_clip_that_changes_or_vanishes_is_not_taken_from_the_caches(
    root: Path, tmp_path: Path, configure: Configure
) -> None:
    table = tiny_manifest(tmp_path / "corpus")
    cfg, outputs, by_split, encoder, _ = made(root, table, configure, tmp_path / "cache")
    collate = collating.Collate(encoder, sampling.sampling(cfg), True, outputs.source, outputs)
    asked = by_split["train"][:3]
    assert "audio_states" in collate(asked).tensors
    Path(asked[1].record.media).unlink()
    batch = collate(asked)
    assert [example for example, _ in batch.failed] == [asked[1]] and len(batch.examples) == 2
    assert "there is no such file" in batch.failed[0][1] and "input_features" in batch.tensors


# --- Decoded clips ---


def test_a_clip_is_decoded_once_and_comes_back_bit_for_bit(
    root: Path, table: Path, tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = configure(*tiny_words(root), "dataset=manifest", f"datasets.manifest.root={table}", f"cache_root={tmp_path}")
    names: list[str] = []

    def counting(path: str, *rest: object, decode: Callable = clips.decode) -> object:
        names.append(path)
        return decode(path, *rest)

    monkeypatch.setattr(clips, "decode", counting)
    monkeypatch.setattr(clip_cache, "decode", counting)
    parts = loading.read(cfg, ["train"])
    source = usable_clips.exclude_unusable(parts, cfg)
    assert len(names) == 9 and isinstance(source.files, TensorFiles)
    wanted = sampling.sampling(cfg)
    for record in parts[0].records:
        kept, fresh = source.clip(record, wanted), clips.ClipSource().clip(record, wanted)
        assert kept.seconds == fresh.seconds
        assert (kept.waveform == fresh.waveform).all() and (kept.frames == fresh.frames).all()
        assert (kept.waveform.dtype, kept.frames.dtype) == (fresh.waveform.dtype, fresh.frames.dtype)
    assert len(names) == 18, "nothing but the fresh ones"
    # Sound is shared with runs that look at other frames, or at none.
    other = configure(
        *tiny_words(root),
        "dataset=manifest",
        f"datasets.manifest.root={table}",
        f"cache_root={tmp_path}",
        "modalities=ta",
    )
    source.clip(parts[0].records[0], sampling.sampling(other))
    usable_clips.exclude_unusable(loading.read(other, ["train"]), other)
    assert len(names) == 18
    # A lower limit has to look again whether what was decoded keeps within it.
    other.model.max_seconds = 20
    usable_clips.exclude_unusable(loading.read(other, ["train"]), other)
    assert len(names) == 27


# --- The next batch in a thread ---


def test_batches_come_in_order_and_no_more_than_allowed_are_made() -> None:
    made: list[int] = []

    def collate(rows: list[int]) -> list[int]:
        made.extend(rows)
        return rows

    loader = Prefetching(range(20), batch_size=2, collate_fn=collate, ahead=2)
    for at, batch in enumerate(loader):
        assert batch == [2 * at, 2 * at + 1]
        assert len(made) <= 2 * (at + 1 + 2)
    assert at == 9 and made == list(range(20))
    assert list(loader) == [[2 * i, 2 * i + 1] for i in range(10)], "a second epoch is like the first"


def test_an_error_is_raised_where_its_batch_is_asked_for_and_leaving_early_ends_the_thread() -> None:
    def collate(rows: list[int]) -> list[int]:
        if rows == [2]:
            raise ValueError("this one is bad")
        return rows

    seen = []
    with pytest.raises(ValueError, match="this one is bad"):
        for batch in Prefetching(range(5), batch_size=1, collate_fn=collate, ahead=2):
            seen.append(batch)
    assert seen == [[0], [1]]
    batches = iter(Prefetching(range(100), batch_size=1, collate_fn=list, ahead=3))
    assert next(batches) == [0]
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]
