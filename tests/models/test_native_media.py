"""model.media=native: what a checkpoint's own processor makes of a clip when it is called as its model card does."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from tiny_models import tiny_manifest
from transformers.video_utils import load_video

import evaluate
from affect.cli.checked import check_uniform_settings
from affect.config import FAMILIES, ConfigError, Media, ModelConfig, NativeConfig, NativeVideoConfig
from affect.config.schema import media_of
from affect.data import Record, clip_cache, media
from affect.data.media import Clip, Sampling, decode, write_clip
from affect.evaluation.content_free import ContentFree
from affect.evaluation.metrics.signature import signature
from affect.models import Conversation, load, token_report
from affect.models.loading import own_frames

RATE = 15
WANTED = Sampling(audio=False, video=True, num_frames=4, frame_size=64, max_seconds=30)


@dataclass(frozen=True)
class Every:
    """Every frame of a clip."""

    key: str = "every"

    def indices(self, total: int, rate: float) -> list[int]:
        return list(range(total))


def moving(num: int, height: int = 96, width: int = 128) -> np.ndarray:
    """Frames of which no two are alike: a bright bar that goes from left to right."""
    made = np.full((num, height, width, 3), 40, dtype=np.uint8)
    for i in range(num):
        left = i * (width - 16) // max(1, num - 1)
        made[i, :, left : left + 16] = [250, 3 * i % 250, 60]
    return made


def written(folder: Path, num: int, *, audio: bool = True, seconds: float | None = None) -> Path:
    """A file of `num` frames, with sound of `seconds`, or as long as they."""
    samples = round(16_000 * (num / RATE if seconds is None else seconds))
    sound = (0.2 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)
    path = folder / f"{num}.mp4"
    write_clip(
        path,
        frames=moving(num),
        fps=RATE,
        waveform=sound if audio else None,
        sampling_rate=16_000,
    )
    return path


def test_frames_are_those_the_file_counts(tmp_path: Path) -> None:
    clip = decode(written(tmp_path, 45), replace(WANTED, own=Every()))
    assert clip.picked == media.Picked(indices=tuple(range(45)), total=45, rate=15.0)
    assert clip.frames.shape == (45, 96, 128, 3), "in their own size"
    bars = [int((frame[48, :, 0] > 150).argmax()) for frame in clip.frames]
    assert np.abs(np.subtract(bars, [i * 112 // 44 for i in range(45)])).max() <= 1


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_frames_are_those_transformers_reads(tmp_path: Path, ending: str) -> None:
    """Also where the sound lasts longer than the picture."""
    path = written(tmp_path, 45, seconds=3.2)
    theirs, metadata = load_video(str(path), backend="pyav", sample_indices_fn=lambda metadata, **_: np.arange(45))
    if ending == "mkv":  # of which transformers' reader does not find the number of frames
        path = remuxed(path, tmp_path / "same.mkv")
    clip = decode(path, replace(WANTED, own=Every()))
    assert (clip.picked.total, clip.picked.rate) == (metadata.total_num_frames, metadata.fps) == (45, 15.0)
    assert np.array_equal(clip.frames, np.asarray(theirs))


def remuxed(path: Path, other: Path) -> Path:
    with av.open(str(path)) as source, av.open(str(other), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    return other


def test_frames_of_a_window_are_counted_from_its_start(tmp_path: Path) -> None:
    path = written(tmp_path, 45)
    whole = decode(path, replace(WANTED, own=Every()))
    part = decode(path, replace(WANTED, own=Every()), 1.0, 2.0)
    assert part.picked == media.Picked(indices=tuple(range(15)), total=15, rate=15.0)
    assert np.array_equal(part.frames, whole.frames[15:30])
    assert np.array_equal(
        decode(path, replace(WANTED, own=Every(), only_needed=True), 1.0, 2.0).frames, whole.frames[15:30]
    )


@dataclass(frozen=True)
class Tiny:
    config: ModelConfig
    model: Any
    encoder: Any

    @property
    def letters(self) -> str:
        return self.config.modalities

    def clip(self, path: Path, letters: str) -> Clip:
        own = own_frames(self.config)
        return decode(path, Sampling(**SIZES, audio="a" in letters, video="v" in letters, own=own))

    def conversation(self, path: Path, letters: str) -> Conversation:
        clip, kinds = self.clip(path, letters), [("v", "video"), ("a", "audio")]
        parts = [{"type": kind} for letter, kind in kinds if letter in letters]
        return Conversation(
            messages=[{"role": "user", "content": [*parts, {"type": "text", "text": "Which emotion?"}]}],
            waveform=clip.waveform,
            frames=clip.frames,
            seconds=clip.seconds,
            picked=clip.picked,
        )

    def stock(self, path: Path, letters: str) -> dict[str, Any]:
        """What transformers' processor makes of all frames and the sound of the same clip, left to sample by itself."""
        clip = decode(path, Sampling(**SIZES, audio="a" in letters, video=True, own=Every()))
        frames = clip.frames
        metadata = {"fps": clip.picked.rate, "total_num_frames": len(frames), "duration": len(frames) / RATE}
        options = {"videos": [frames], "video_metadata": [metadata], "do_sample_frames": True}
        options |= CARD.get(self.config.family, {})
        kinds = ["video"]
        if "a" in letters:
            options["audio"] = [clip.waveform]
            if "omni" in self.config.family:
                options |= {"load_audio_from_video": True, "audio_from_video_indices": [0]}
            else:
                kinds.append("audio")
        content = [*({"type": kind} for kind in kinds), {"type": "text", "text": "Which emotion?"}]
        processor = self.encoder.processor
        text = processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        made = processor(text=[text], return_tensors="pt", add_special_tokens=False, **options)
        return {key: value for key, value in made.items() if isinstance(value, torch.Tensor)}


SIZES = {"num_frames": 4, "frame_size": 64, "max_seconds": 30}
CARD: dict[str, dict[str, Any]] = {"qwen_omni": {"fps": 2}, "qwen3_omni": {"fps": 2}, "video_llama3": {"fps": 1}}
"""What a card passes, where the processor's configuration does not say it."""


NATIVE_VIDEO = [name for name, schema in FAMILIES.items() if issubclass(schema, NativeVideoConfig)]


@pytest.fixture(scope="module", params=NATIVE_VIDEO)
def tiny(
    request: pytest.FixtureRequest, checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Tiny:
    name = request.param
    letters = "tav" if name in ("qwen_omni", "qwen3_omni", "gemma4") else "tv"
    folder = checkpoint(name)
    if name == "qwen3_omni":
        folder = shutil.copytree(folder, tmp_path_factory.mktemp("native") / name)
        # As in the released checkpoint; the class's default is another than its processor's.
        described = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(described | {"position_id_per_seconds": 13}))
    if name == "gemma4":  # whose processor takes 32 frames, which are 2,240 tokens
        folder = shutil.copytree(folder, tmp_path_factory.mktemp("native") / name)
        described = json.loads((folder / "processor_config.json").read_text())
        described["video_processor"]["num_frames"] = 12
        (folder / "processor_config.json").write_text(json.dumps(described))
    config = FAMILIES[name](
        family=name, name="tiny", modalities=letters, checkpoint=str(folder), media=Media.native, max_seconds=30
    )
    model, encoder = load(config, modalities=letters, cache_root=folder)
    return Tiny(config, model.eval(), encoder)


def sets(tiny: Tiny) -> list[str]:
    return ["v", "av"] if "a" in tiny.letters else ["v"]


@pytest.mark.parametrize("num", [53, 37])
def test_tokens_and_tensors_are_the_processors_own(tiny: Tiny, tmp_path: Path, num: int) -> None:
    path = written(tmp_path, num)
    for letters in sets(tiny):
        ours = tiny.encoder.encode([tiny.conversation(path, letters)])
        stock = tiny.stock(path, letters)
        assert ours["input_ids"].tolist() == stock["input_ids"].tolist()
        compared = 0
        for key in stock.keys() & ours.keys() - {"input_ids", "attention_mask"}:
            theirs = stock[key]
            if key in ("input_features", "feature_attention_mask"):  # padded to 30 s there
                theirs = theirs[..., : ours[key].shape[-1]]
            torch.testing.assert_close(ours[key], theirs.to(ours[key].dtype), atol=1e-5, rtol=0)
            compared += 1
        assert compared >= 2


def test_logits_are_transformers(tiny: Tiny, tmp_path: Path) -> None:
    path = written(tmp_path, 53)
    for letters in sets(tiny):
        ours = tiny.encoder.encode([tiny.conversation(path, letters)])
        how = {"use_audio_in_video": True} if letters == "av" and "omni" in tiny.config.family else {}
        with torch.no_grad():
            theirs = tiny.model.backbone(**tiny.stock(path, letters), **how).logits
            torch.testing.assert_close(tiny.model(ours, 4), theirs[:, -4:], atol=1e-5, rtol=0)


def test_a_batch_is_its_conversations_one_by_one(tiny: Tiny, tmp_path: Path) -> None:
    """Of different lengths, down to a single frame; with and without what the encoders made kept from before."""
    items = [tiny.conversation(written(tmp_path, num), sets(tiny)[-1]) for num in (53, 20, 3)]
    items.append(tiny.conversation(written(tmp_path, 1, audio=False), "v"))
    items = items if sets(tiny) == ["v"] else items[:3]
    kept = []
    for item in items:
        features = tiny.encoder.features([replace(item, messages=[])])
        with torch.no_grad():
            [outputs] = tiny.model.encoder_outputs(features)
        kept.append(replace(item, waveform=None, frames=None, picked=None, outputs=outputs))
    with torch.no_grad():
        alone = torch.cat([tiny.model(tiny.encoder.encode([item]), 1) for item in items])
        torch.testing.assert_close(tiny.model(tiny.encoder.encode(items), 1), alone, atol=1e-5, rtol=0)
        torch.testing.assert_close(tiny.model(tiny.encoder.encode(kept), 1), alone, atol=1e-5, rtol=0)


def test_sound_may_last_longer_or_less_long_than_the_picture(tiny: Tiny, tmp_path: Path) -> None:
    """As after intervention=swap_audio: the sound has the tokens that it has with its own picture."""
    if "a" not in tiny.letters:
        return
    items = [tiny.conversation(written(tmp_path, num), "av") for num in (53, 20)]
    swapped = [replace(item, waveform=other.waveform) for item, other in zip(items, items[::-1], strict=True)]
    tokens = [
        [(tiny.encoder.encode([each])["input_ids"] == tiny.encoder.media_ids[part]).sum() for each in conversations]
        for part, conversations in (("audio", items[::-1]), ("audio", swapped), ("video", items), ("video", swapped))
    ]
    assert tokens[0] == tokens[1] and tokens[2] == tokens[3] and tokens[0][0] < tokens[0][1]
    with torch.no_grad():
        assert tiny.model(tiny.encoder.encode(swapped), 1).isfinite().all()


def test_kept_clips_are_what_was_decoded_and_belong_to_their_sampling(tiny: Tiny, tmp_path: Path) -> None:
    record = Record(id="a", dataset="d", split="test", text="", group="a", media=str(written(tmp_path, 53)))
    files = clip_cache.open_files(tmp_path / "cache", 1.0, print)
    own = Sampling(**SIZES, audio=False, video=True, own=own_frames(tiny.config))
    uniform = replace(own, own=None)
    first = {wanted.own is None: clip_cache.take(files, ["x", None, None], record, wanted) for wanted in (own, uniform)}
    Path(record.media).unlink()
    for wanted in (own, uniform):
        again, before = clip_cache.take(files, ["x", None, None], record, wanted), first[wanted.own is None]
        assert np.array_equal(again.frames, before.frames) and again.picked == before.picked
    assert first[True].picked is None and first[True].frames.shape == (4, 48, 64, 3)
    assert first[False].frames.shape[1:] == (96, 128, 3) and len(first[False].picked.indices) == len(
        first[False].frames
    )
    assert clip_cache.of_picture(uniform) == [4, 64], "the keys of before"
    other = replace(own, own=replace(own.own, fps=7.0))
    assert len({json.dumps(clip_cache.of_picture(wanted)) for wanted in (own, uniform, other)}) == 3


def test_frames_are_chosen_by_the_processors_own_settings(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen3_vl"), tmp_path / "tiny")
    config = NativeConfig(family="qwen3_vl", name="tiny", modalities="tv", checkpoint=str(folder), media=Media.native)
    assert own_frames(config).indices(150, 25.0) == np.linspace(0, 149, 12).round().astype(int).tolist(), "6 s at 2 fps"
    assert len(own_frames(config).indices(25, 25.0)) == 4, "min_frames"
    path = folder / "processor_config.json"
    described = json.loads(path.read_text())
    described["video_processor"] |= {"fps": 5, "min_frames": 6, "max_frames": 20}
    path.write_text(json.dumps(described))
    counts = [len(own_frames(config).indices(total, 25.0)) for total in (150, 75, 10, 3, 1)]
    assert counts == [20, 15, 6, 3, 1]


def test_a_grey_clip_is_sampled_too(tiny: Tiny) -> None:
    own = own_frames(tiny.config)
    free = ContentFree(Sampling(**SIZES, audio=True, video=True, own=own))
    parts = [{"type": "video"}, {"type": "text", "text": "Which emotion?"}]
    batch = tiny.encoder.encode([free._conversation([{"role": "user", "content": parts}], 16_000)])
    assert (batch["input_ids"] == tiny.encoder.media_ids["video"]).any()
    assert len(free.grey) == len(own.indices(25, 25.0))
    [told] = token_report.in_words(tiny.encoder, tiny.config, "v")
    assert "as the checkpoint's own processor takes it (model.media=native)" in told


@pytest.mark.parametrize(
    ("model", "modalities", "said"),
    [
        ("qwen2_5_omni_7b", "tav", None),
        ("qwen3_omni_30b_a3b", "tav", None),
        ("qwen3_vl_2b", "tv", None),
        ("video_llama3_2b", "tv", None),
        ("gemma4_e2b", "tav", None),
        ("voxtral_mini_3b", "ta", None),
        ("qwen2_audio_7b", "ta", None),
        ("phi4_multimodal", "ta", None),
        ("phi4_multimodal", "tav", "whose processor takes single pictures and has no way of its own to choose them"),
        ("gemma3n_e2b", "tv", "set model.media=uniform, or leave v out"),
        ("smollm2", "t", "is put together of parts here, so that no processor and no model card is its own"),
        ("server", "tav", "is at a server, whose processor is given the frames that are sent: set model.media=uniform"),
    ],
)
def test_what_cannot_be_native_is_refused(configure, model: str, modalities: str, said: str | None) -> None:
    words = [f"model={model}", f"modalities={modalities}", "dataset=demo"]

    def found(*more: str) -> list[str]:
        try:
            configure(*words, *more, program="evaluate")
        except ConfigError as error:
            return [sentence for sentence in str(error).splitlines() if "model.media" in sentence]
        return []

    refused = found("model.media=native")
    assert len(refused) == (said is not None)
    assert all(s.startswith(f"model.media=native, but model={model} ") and said in s for s in refused)
    assert not found()


def test_settings_of_uniform_frames_are_refused_beside_it(configure) -> None:
    words = ["model=qwen2_5_omni_7b", "model.media=native", "model.num_frames=8", "model.frame_size=112"]
    cfg = configure(*words)
    with pytest.raises(ConfigError) as refused:
        check_uniform_settings(words, cfg)
    first, second = str(refused.value).splitlines()
    assert first.startswith("model.frame_size does nothing beside model.media=native")
    assert second.startswith("model.num_frames does nothing beside model.media=native")
    check_uniform_settings(words[:2], cfg)
    check_uniform_settings(words[2:], replace(cfg, model=replace(cfg.model, media=Media.uniform)))


def test_a_signature_says_which(configure) -> None:
    how = {"counted": 1, "expected": 1, "used": 1, "scored": 1, "unreadable": 0, "policy": "strict"}
    how |= {"readout": "score", "reader": "lenient", "version": "0.1"}
    assert signature("uar", **how, media="native").endswith("|reader:lenient|media:native|affect:0.1")
    cfg = configure("model=qwen2_5_omni_7b", "modalities=tav")
    assert media_of(cfg) == "uniform" and media_of(replace(cfg, modalities="t")) is None


def test_a_run_with_and_without_caches_says_how_it_was_given_clips(
    checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tiny_manifest(tmp_path / "corpus", train=9)
    words = ["model=qwen2_5_omni_3b", f"model.checkpoint={checkpoint('qwen_omni')}", "model.media=native"]
    words += ["dataset=manifest", f"datasets.manifest.root={table}", "modalities=tav", "model.precision=float32"]
    words += ["trainer.check_workers=1", "trainer.progress=false", "trainer.accelerator=cpu"]
    monkeypatch.chdir(tmp_path)
    found = []
    for name, caches in {
        "filled": ["trainer.encoder_cache=on", f"cache_root={tmp_path / 'kept'}"],
        "read": ["trainer.encoder_cache=on", f"cache_root={tmp_path / 'kept'}"],
        "none": ["trainer.encoder_cache=off", "trainer.clip_cache_gb=0", f"cache_root={tmp_path / 'unused'}"],
    }.items():
        output = tmp_path / name
        monkeypatch.setattr("sys.argv", ["evaluate.py", *words, *caches, f"output_root={output}"])
        evaluate.main()
        [folder] = output.glob("*/")
        rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
        found.append(torch.tensor([score for row in rows for score in row["scores"].values()]))
        assert "|media:native|" in (folder / "metrics.json").read_text(encoding="utf-8")
    assert len(found[0]) and torch.equal(found[0], found[1])
    torch.testing.assert_close(found[0], found[2], atol=1e-5, rtol=0)
