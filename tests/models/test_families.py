"""What every native family has to keep, against transformers' own processor and forward pass, with the real classes and
random weights. A family that is shipped and not here fails the last test."""

import base64
import copy
import io
import pickle
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from tiny_families import BUILD
from transformers import AutoFeatureExtractor, VoxtralProcessor

from affect.config import (
    FAMILIES,
    LACKING,
    ConfigError,
    DataError,
    FinetuningConfig,
    LoraMethod,
    ModelConfig,
    NativeConfig,
    Precision,
    Target,
    Task,
    Tower,
)
from affect.data import Record
from affect.evaluation import predict
from affect.models import Conversation, adapters, heads, load, reach, token_report, trained_tensors
from affect.models.losses import answer_loss
from affect.models.native.encoder import PARTS, NativeEncoder
from affect.prompting.messages import Example

LABELS = ["joy", "anger", "strongly positive", "neutral."]
TOLERANCE = {"atol": 1e-5, "rtol": 0}


def sound(samples: int, seed: int = 0) -> np.ndarray:
    return (0.3 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def frames(num: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, 64, 64, 3), dtype=np.uint8)


def conversation(text: str, *, audio: int = 0, video: int = 0, seed: int = 0) -> Conversation:
    """`audio` samples and `video` frames, 0.4 s apart."""
    parts = [{"type": "audio"}] * bool(audio) + [{"type": "video"}] * bool(video) + [{"type": "text", "text": text}]
    return Conversation(
        messages=[{"role": "user", "content": parts}],
        waveform=sound(audio, seed) if audio else None,
        frames=frames(video, seed) if video else None,
        seconds=0.4 * video,
    )


def metadata(item: Conversation) -> dict[str, Any]:
    """Processors compute index / fps as the time of a frame: those of a clip stand at the centres of equal parts."""
    num = len(item.frames)
    return {"fps": num / item.seconds, "total_num_frames": num, "frames_indices": [i + 0.5 for i in range(num)]}


def size(side: int, area: int = 1) -> dict[str, Any]:
    """Of frames of 64 x 64 in tokens of side x side, neither enlarged nor shrunk; of `area` frames together."""
    return {"shortest_edge": side**2, "longest_edge": area * (-(-64 // side) * side) ** 2}


def qwen_omni_options(side: int) -> Callable[[Conversation], dict[str, Any]]:
    def options(item: Conversation) -> dict[str, Any]:
        given: dict[str, Any] = {} if item.waveform is None else {"audio": [item.waveform]}
        if item.frames is not None:
            given |= {"videos": [item.frames], "fps": len(item.frames) / item.seconds, "size": size(side)}
            given |= {"do_sample_frames": False, "cap_pixels_per_frame": False}
        return given

    return options


def gemma4_options(item: Conversation) -> dict[str, Any]:
    given: dict[str, Any] = {} if item.waveform is None else {"audio": [item.waveform]}
    if item.frames is not None:
        given |= {"videos": [item.frames], "video_metadata": [metadata(item)], "do_sample_frames": False}
    return given


def gemma3n_options(item: Conversation) -> dict[str, Any]:
    given: dict[str, Any] = {} if item.waveform is None else {"audio": [item.waveform]}
    return given if item.frames is None else given | {"images": list(item.frames)}


def phi4_options(item: Conversation) -> dict[str, Any]:
    given: dict[str, Any] = {} if item.waveform is None else {"audio": [item.waveform], "sampling_rate": 16_000}
    return given if item.frames is None else given | {"images": list(item.frames)}


def qwen3_vl_options(item: Conversation) -> dict[str, Any]:
    num = len(item.frames)
    how = {"do_sample_frames": False, "cap_pixels_per_frame": False, "video_metadata": [metadata(item)]}
    return {"videos": [item.frames], "size": size(32, num + 1), **how}


def video_llama3_options(item: Conversation) -> dict[str, Any]:
    how = {"do_sample_frames": False, "video_metadata": [metadata(item)]}
    return {"videos": [item.frames], "size": size(28, len(item.frames)), **how}


def voxtral_stock(checkpoint: str, item: Conversation) -> dict[str, Any]:
    """By its messages and the tokenizer of mistral-common: its processor takes sound in no other way."""
    from transformers import MistralCommonBackend

    def part_of(part: dict[str, Any]) -> dict[str, Any]:
        if part["type"] == "text":
            return part
        file = io.BytesIO()
        wavfile.write(file, 16_000, item.waveform)
        return {"type": "audio", "base64": base64.b64encode(file.getvalue()).decode()}

    messages = [{**message, "content": [*map(part_of, message["content"])]} for message in item.messages]
    messages += [] if item.answer is None else [{"role": "assistant", "content": item.answer}]
    tokenizer = MistralCommonBackend.from_pretrained(checkpoint, mode="finetuning" if item.answer else "test")
    processor = VoxtralProcessor(AutoFeatureExtractor.from_pretrained(checkpoint), tokenizer)
    return processor.apply_chat_template([messages])


@dataclass(frozen=True)
class Family:
    """What the suite has to know of a family."""

    name: str
    modalities: str
    end: str
    """With which a turn ends."""
    options: Callable[[Conversation], dict[str, Any]]
    """How transformers' processor is given a clip."""
    family: str = ""
    """Module of affect/models, where that is not the name."""
    attention: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """The linear modules of the language model's attention."""
    stock: Callable[[str, Conversation], dict[str, Any]] | None = None
    """What transformers' processor makes of a conversation, where it is not called with a text and a clip."""
    needs: tuple[str, ...] = ()
    """Packages that are not installed with affect."""
    frames: tuple[int, int] = (3, 4)
    """Numbers of frames of the clips: few where each frame becomes hundreds of tokens."""


CHATML_END, GEMMA_END = "<|im_end|>", "<turn|>"
AUDIO_ONLY: Callable[[Conversation], dict[str, Any]] = lambda item: {"audio": [item.waveform]}  # noqa: E731
SUITE = [
    Family("qwen_omni", "tav", CHATML_END, qwen_omni_options(28)),
    Family("qwen3_omni", "tav", CHATML_END, qwen_omni_options(32)),
    Family("gemma3n", "tav", "<end_of_turn>", gemma3n_options, needs=("timm",), frames=(1, 2)),
    Family("gemma4", "tav", GEMMA_END, gemma4_options),
    Family("gemma4_both_ways", "tav", GEMMA_END, gemma4_options, "gemma4"),
    Family("phi4_multimodal", "tav", "<|end|>", phi4_options, attention=("qkv_proj", "o_proj"), frames=(1, 2)),
    Family("qwen2_audio", "ta", CHATML_END, AUDIO_ONLY),
    Family("audio_flamingo3", "ta", CHATML_END, AUDIO_ONLY),
    Family("voxtral", "ta", "</s>", AUDIO_ONLY, stock=voxtral_stock, needs=("mistral_common", "soundfile")),
    Family("qwen3_vl", "tv", CHATML_END, qwen3_vl_options),
    Family("video_llama3", "tv", CHATML_END, video_llama3_options),
    Family("nemotron_h_omni", "ta", CHATML_END, AUDIO_ONLY),
]


@dataclass(frozen=True)
class Loaded:
    family: Family
    config: ModelConfig
    model: Any
    encoder: Any

    def fresh(self, modalities: str | None = None) -> "Loaded":
        """A model of its own, to be changed; with fewer modalities where they are given."""
        if modalities in (None, self.family.modalities):
            return replace(self, model=copy.deepcopy(self.model))
        return Loaded(self.family, *load_tiny(self.family, self.config.checkpoint, modalities))

    def items(self, answers: bool = False) -> list[Conversation]:
        """Prompts of different lengths: text, audio, video, both, as far as the family takes them; four in all."""
        few, more = self.family.frames
        audio = conversation("How does the voice sound, and why do you think so?", audio=20_011, seed=1)
        video = conversation("And the face?", video=few, seed=2)
        items = {
            "tav": [audio, video, conversation("Both together: happy or sad?", audio=4_800, video=more, seed=3)],
            "ta": [audio, conversation("Loud?", audio=4_800, seed=2), replace(audio, waveform=sound(16_000, 3))],
            "tv": [video, conversation("Does she smile?", video=more, seed=3), conversation("Moves?", video=1, seed=4)],
        }
        items = [conversation("Which emotion?"), *items[self.family.modalities]]
        return [replace(i, answer=a) for i, a in zip(items, LABELS, strict=True)] if answers else items

    def stock(self, item: Conversation, text: str) -> dict[str, Any]:
        """What transformers' processor makes of one conversation, written out as `text`."""
        if self.family.stock is not None:
            return {**self.family.stock(self.config.checkpoint, item)}
        clip = {} if item.waveform is None and item.frames is None else self.family.options(item)
        if item.frames is not None and len(item.frames) == 1 and self.family.name == "qwen3_vl":
            # The processor refuses a single frame.
            twice = np.concatenate([item.frames] * 2)
            clip |= {"videos": [twice], "video_metadata": [metadata(item) | {"frames_indices": [0.5, 0.5]}]}
        made = self.encoder.processor(text=[text], return_tensors="pt", add_special_tokens=False, **clip)
        return {key: value for key, value in made.items() if isinstance(value, torch.Tensor)}

    def render(self, item: Conversation) -> str:
        """The prompt as transformers' processor takes it: with a placeholder for every image."""
        text = self.encoder.render(item.messages)
        if item.frames is None or "images" not in self.family.options(item):
            return text
        image = self.encoder.processor.image_token
        return text.replace(image, image * len(item.frames))

    def reference(self, item: Conversation, labels: torch.Tensor | None = None) -> Any:
        """transformers' own forward pass over prompt and answer."""
        answer = "" if item.answer is None else item.answer + self.family.end
        stock = self.stock(item, self.render(item) + answer)
        return self.model.backbone(**stock, **({} if labels is None else {"labels": labels}))


@pytest.fixture(scope="module", params=SUITE, ids=lambda family: family.name)
def tiny(request: pytest.FixtureRequest, loaded: Callable[..., Loaded]) -> Loaded:
    return loaded(request.param.name)


@pytest.fixture
def own_weights(tiny: Loaded) -> None:
    """Leaves out the variant of Gemma 4 that differs from it in its masks alone."""
    if tiny.family.name == "gemma4_both_ways":
        pytest.skip("its weights and towers are those of gemma4")


def load_tiny(family: Family, folder: Path | str, modalities: str) -> tuple[ModelConfig, Any, Any]:
    name = family.family or family.name
    kind = FAMILIES[name]
    config = kind(
        family=name, name="tiny", modalities=family.modalities, checkpoint=str(folder), num_frames=4, frame_size=64
    )
    model, encoder = load(config, modalities=modalities, cache_root=Path(folder))
    return config, model.eval(), encoder


def tokens_of(encoder: Any, kind: str, ids: torch.Tensor) -> int:
    return int((ids == encoder.media_ids[kind]).sum()) if kind in encoder.media_ids else 0


def test_media_tokens_are_there_exactly_when_the_modality_is(tiny: Loaded) -> None:
    for item in tiny.items():
        ids = tiny.encoder.encode([item])["input_ids"][0]
        assert (tokens_of(tiny.encoder, "audio", ids) > 0) == (item.waveform is not None)
        assert (tokens_of(tiny.encoder, "video", ids) > 0) == (item.frames is not None)
        stock = tiny.stock(item, tiny.render(item))["input_ids"][0]
        assert ids.tolist() == stock.tolist()
    text = [replace(item, waveform=None, frames=None, messages=tiny.items()[0].messages) for item in tiny.items()]
    positions = {"positions"} if tiny.model.AXES > 1 else set()
    assert set(tiny.encoder.encode(text)) == {"input_ids", "attention_mask", "answer_length"} | positions


TIMES = {
    # Qwen3-VL joins two frames and fills an odd one up with itself.
    "qwen3_vl": {
        8: ["<3.0 seconds>", "<9.0 seconds>", "<15.0 seconds>", "<21.0 seconds>"],
        3: ["<8.0 seconds>", "<20.0 seconds>"],
        1: ["<12.0 seconds>"],
    },
    "video_llama3": {8: [f"Time {1.5 + 3 * i}s:" for i in range(8)], 1: ["Time 12.0s:"]},
    # In whole seconds, rounded down by the processor.
    "gemma4": {8: ["00:01", "00:04", "00:07", "00:10", "00:13", "00:16", "00:19", "00:22"], 1: ["00:12"]},
}
"""What each family that tells times in words has to say, by the number of frames sampled from a clip of 24 s."""


def test_times_in_the_prompt_are_those_of_the_sampled_frames(tiny: Loaded) -> None:
    """Frames are taken at the centres of equal parts: 8 of 24 s at 1.5, 4.5, … 22.5 s."""
    said = re.compile(r"<[\d.]+ seconds>|Time [\d.]+s:|\d\d:\d\d")
    for num, times in TIMES.get(tiny.family.name, {}).items():
        item = replace(conversation("a", video=num), seconds=24.0)
        text = tiny.encoder.tokenizer.decode(tiny.encoder.encode([item])["input_ids"][0])
        assert said.findall(text) == times


def test_steps_of_time_in_positions_are_those_of_the_sampled_frames(tiny: Loaded) -> None:
    """Two frames are one step, and 8 frames of 24 s are 3 s apart: a step is 6 s in positions."""
    if tiny.family.name not in ("qwen_omni", "qwen3_omni"):
        pytest.skip("the family has no times in its positions")
    item = replace(conversation("a", video=8), seconds=24.0)
    batch = tiny.encoder.encode([item])
    assert batch["video_second_per_grid"].tolist() == [6.0]
    shown = batch["positions"][0, 0][batch["input_ids"][0] == tiny.encoder.media_ids["video"]]
    per_second = tiny.model.backbone.config.position_id_per_seconds
    steps = sorted({float(position - shown[0]) for position in shown})
    assert steps == pytest.approx([0, 6 * per_second, 12 * per_second, 18 * per_second])


@pytest.mark.parametrize("row", range(4))
def test_logits_and_loss_are_transformers(tiny: Loaded, row: int) -> None:
    item = tiny.items(answers=True)[row]
    batch = tiny.encoder.encode([item])
    keep = batch["answer_length"] + 1
    with torch.no_grad():
        reference = tiny.reference(item, batch["labels"])
        logits = tiny.model(batch, keep)
        loss = answer_loss(tiny.model, batch)
    assert reference.logits.std() > 0.1
    torch.testing.assert_close(logits, reference.logits[:, -keep:], **TOLERANCE)
    torch.testing.assert_close(loss, reference.loss, **TOLERANCE)


def test_the_loss_of_an_epoch_is_that_of_a_plain_loop(tiny: Loaded) -> None:
    """At learning rate 0, batches of two against transformers one by one, each weighted by its answer tokens."""
    items = tiny.items(answers=True)
    total, plain, tokens = 0.0, 0.0, 0
    with torch.no_grad():
        for pair in (items[:2], items[2:]):
            batch = tiny.encoder.encode(pair)
            total += float(answer_loss(tiny.model, batch)) * int((batch["labels"] != -100).sum())
        for item in items:
            labels = tiny.encoder.encode([item])["labels"]
            count = int((labels != -100).sum())
            plain += float(tiny.reference(item, labels).loss) * count
            tokens += count
    assert total / tokens == pytest.approx(plain / tokens, abs=1e-4)


def test_every_modality_moves_the_logits(tiny: Loaded) -> None:
    for item in tiny.items()[1:]:
        others = [replace(item, waveform=sound(len(item.waveform), 9))] if item.waveform is not None else []
        others += [replace(item, frames=frames(len(item.frames), 9))] if item.frames is not None else []
        for other in others:
            with torch.no_grad():
                before, after = (tiny.model(tiny.encoder.encode([i]), 1) for i in (item, other))
            assert (before - after).abs().max() > 1e-4, "ten times what is taken for equal elsewhere"


def test_labels_are_exactly_the_answers(tiny: Loaded) -> None:
    encoder = tiny.encoder
    batch = encoder.encode(tiny.items(answers=True))
    for row, answer in enumerate(LABELS):
        labelled = batch["labels"][row] != -100
        assert batch["labels"][row][labelled].tolist() == encoder.answer_ids(answer)
        assert torch.equal(batch["labels"][row][labelled], batch["input_ids"][row][labelled])
        assert encoder.tokenizer.decode(encoder.answer_ids(answer)) == f"{answer}{tiny.family.end}"
        assert encoder.decode(encoder.answer_ids(answer)) == answer
    assert batch["answer_length"] == max(len(encoder.answer_ids(answer)) for answer in LABELS)
    prompts = encoder.encode(tiny.items())
    assert "labels" not in prompts and prompts["answer_length"] == 0


def test_padding_on_the_right_gives_the_same_scores(tiny: Loaded) -> None:
    batch = tiny.encoder.encode(tiny.items(answers=True))
    width, lengths = batch["input_ids"].shape[1], batch["attention_mask"].sum(-1).tolist()
    assert min(lengths) < width
    right = dict(batch)
    for key in {"input_ids", "attention_mask", "positions"} & batch.keys():
        rows = [row.roll(length, -1) for row, length in zip(batch[key].unbind(-2), lengths, strict=True)]
        right[key] = torch.stack(rows, -2)
    with torch.no_grad():
        on_the_left, on_the_right = tiny.model(batch, width), tiny.model(right, width)
    for row, length in enumerate(lengths):
        logits = on_the_right[row, :length], on_the_left[row, -length:]
        torch.testing.assert_close(*logits, atol=1e-4, rtol=0)
        answer = batch["labels"][row][batch["labels"][row] != -100]
        scores = [part.log_softmax(-1)[-len(answer) - 1 : -1].gather(1, answer[:, None]).mean() for part in logits]
        torch.testing.assert_close(*scores, **TOLERANCE)


def test_a_batch_is_its_conversations_one_by_one(tiny: Loaded) -> None:
    items = tiny.items(answers=True)
    batch = tiny.encoder.encode(items)
    assert (batch["attention_mask"] == 0).any(dim=1).sum() == 3
    keep = batch["answer_length"] + 1
    with torch.no_grad():
        together = tiny.model(batch, keep)
        for row, item in enumerate(items):
            torch.testing.assert_close(together[row], tiny.model(tiny.encoder.encode([item]), keep)[0], **TOLERANCE)


def kept(loaded: Loaded, item: Conversation, parts: Collection[str]) -> Conversation:
    """With what the encoders of these parts make of its clip in the place of the clip."""
    alone = Conversation(
        messages=[],
        waveform=item.waveform if "audio" in parts else None,
        frames=item.frames if "video" in parts else None,
        seconds=item.seconds,
    )
    if alone.waveform is None and alone.frames is None:
        return item
    with torch.no_grad():
        [outputs] = loaded.model.encoder_outputs(loaded.encoder.features([alone]))
    rest = {"waveform": None if "audio" in outputs else item.waveform}
    return replace(item, outputs=outputs, frames=None if "video" in outputs else item.frames, **rest)


def test_kept_outputs_of_the_encoders_stand_for_the_clips(tiny: Loaded) -> None:
    modules = tiny.model.encoders()
    assert modules.keys() == {part for part, letter in PARTS.items() if letter in tiny.family.modalities}
    own = {id(parameter) for parameter in tiny.model.parameters()}
    assert {id(parameter) for module in modules.values() for parameter in module.parameters()} <= own
    items = tiny.items(answers=True)
    plain, prompts = tiny.encoder.encode(items), tiny.encoder.encode(tiny.items())
    with torch.no_grad():
        expected, prefilled = tiny.model(plain, 4), tiny.model.prefill(prompts).logits
        generated = tiny.model.generate(prompts, 3)
    for parts in {tuple(modules), *((part,) for part in modules)}:
        batch = tiny.encoder.encode([kept(tiny, item, parts) for item in items])
        assert {f"{part}_states" for part in parts} <= set(batch)
        assert not {tiny.model.CLIPS[part] for part in parts} & set(batch)
        assert torch.equal(batch["input_ids"], plain["input_ids"])
        asked = tiny.encoder.encode([kept(tiny, item, parts) for item in tiny.items()])
        with torch.no_grad():
            torch.testing.assert_close(tiny.model(batch, 4), expected, **TOLERANCE)
            torch.testing.assert_close(tiny.model.prefill(asked).logits, prefilled, **TOLERANCE)
            assert tiny.model.generate(asked, 3) == generated
            for name in [name for name in batch if name.endswith(("_states", "_deep"))]:
                changed = batch | {name: batch[name].flip(0)}
                assert (tiny.model(changed, 4) - expected).abs().max() > 1e-4, f"{name} is not looked at"
    assert all(tiny.encoder.settings(part) for part in modules)
    if tiny.encoder.settings.__func__ is NativeEncoder.settings:
        # Ids are kept of what the processor writes, so they belong to a vocabulary.
        first, before = next(iter(modules)), [tiny.encoder.settings(part) for part in modules]
        swapped = tiny.encoder.tokenizer.get_vocab()
        one, two = list(swapped)[:2]
        swapped[one], swapped[two] = swapped[two], swapped[one]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(tiny.encoder.tokenizer), "get_vocab", lambda self: swapped)
            patch.delitem(vars(tiny.encoder), "_vocabulary")
            assert tiny.encoder.settings(first) not in before
        assert [tiny.encoder.settings(part) for part in modules] == before


@pytest.mark.usefixtures("own_weights")
def test_kept_outputs_train_the_language_model_alike(tiny: Loaded) -> None:
    fresh, items = tiny.fresh(), tiny.items(answers=True)
    torch.manual_seed(0)
    adapters.apply(fresh.model, FinetuningConfig(name="test", rank=2, targets=list(tiny.family.attention)))
    trained = {name: p for name, p in fresh.model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for parameter in trained.values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    losses, gradients = [], []
    for parts in ((), tuple(fresh.model.encoders())):
        # Without dropout, as towers that are not trained are in a training.
        loss = answer_loss(fresh.model.eval(), fresh.encoder.encode([kept(fresh, item, parts) for item in items]))
        gradients.append(torch.autograd.grad(loss, list(trained.values())))
        losses.append(loss.detach())
    torch.testing.assert_close(*losses, **TOLERANCE)
    for expected, found in zip(*gradients, strict=True):
        largest = expected.abs().max()
        assert largest > 0
        torch.testing.assert_close(found, expected, atol=1e-4 * float(largest), rtol=0)


def test_extending_a_prefix_is_a_full_forward_pass(tiny: Loaded) -> None:
    rows = [3, 3, 0, 2, 1, 1, 0]
    items, labels = tiny.items(), [LABELS[i % 4] for i in range(len(rows))]
    ids = [tiny.encoder.answer_ids(label) for label in labels]
    width = max(map(len, ids))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    with torch.no_grad():
        prefix = tiny.model.prefill(tiny.encoder.encode(items))
        first = torch.cat([tiny.model(tiny.encoder.encode([item]), 1)[:, 0] for item in items])
        torch.testing.assert_close(prefix.logits, first, atol=1e-4, rtol=0)
        for _ in range(2):  # the second time on what the first has left of the prefix
            logits = tiny.model.extend(prefix.select(torch.tensor(rows)), tokens)
            for row, (which, label) in enumerate(zip(rows, labels, strict=True)):
                batch = tiny.encoder.encode([replace(items[which], answer=label)])
                whole = tiny.model(batch, batch["answer_length"])[0]
                torch.testing.assert_close(logits[row, : len(ids[row])], whole, atol=1e-4, rtol=0)
        again = prefix.select(torch.tensor(rows)).select(torch.tensor([2]))
        torch.testing.assert_close(tiny.model.extend(again, tokens[2:3])[0], logits[2], atol=1e-4, rtol=0)


def test_generation_is_argmax_step_by_step(tiny: Loaded) -> None:
    """Against a whole forward pass of transformers for every token."""

    def greedy(item: Conversation) -> list[int]:
        prompt, answer = tiny.stock(item, tiny.render(item)), []
        for _ in range(5):
            ids = torch.cat([prompt["input_ids"], torch.tensor([answer], dtype=torch.long)], dim=1)
            grown = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            if "mm_token_type_ids" in prompt:
                grown["mm_token_type_ids"] = torch.nn.functional.pad(prompt["mm_token_type_ids"], (0, len(answer)))
            answer.append(int(tiny.model.backbone(**{**prompt, **grown}).logits[0, -1].argmax()))
        ends = [i for i, token in enumerate(answer) if token in tiny.model.stops]
        return answer[: ends[0] if ends else 5]

    with torch.no_grad():
        reference = [greedy(item) for item in tiny.items()]
        assert tiny.model.generate(tiny.encoder.encode(tiny.items()), 5) == reference
    assert any(len(answer) == 5 for answer in reference)


@pytest.mark.usefixtures("own_weights")
def test_lora_reaches_the_attention_of_the_language_model_and_is_counted(tiny: Loaded) -> None:
    fresh = tiny.fresh()
    targets = list(tiny.family.attention)
    language = fresh.model.body()
    language = getattr(language, "language_model", language)
    layers = {module for module in language.layers.modules() if isinstance(module, torch.nn.Linear)}
    expected = {
        name for name, module in fresh.model.named_modules() if module in layers and name.rsplit(".", 1)[-1] in targets
    }
    counts = adapters.apply(fresh.model, FinetuningConfig(name="test", rank=2, targets=targets))
    assert {name for name, module in fresh.model.named_modules() if hasattr(module, "lora_A")} == expected
    # Gemma's last layers have neither keys nor values of their own.
    fewer = 2 * language.config.num_kv_shared_layers if hasattr(language.config, "num_kv_shared_layers") else 0
    # Some of Nemotron's layers attend.
    kinds = getattr(language.config, "layers_block_type", ["full_attention"] * len(language.layers))
    assert len(expected) == len(targets) * kinds.count("full_attention") - fewer > 0
    by_tower = {count.tower: count for count in counts}
    towers = {"t": {"language"}, "a": {"audio", "projector"}, "v": {"vision", "projector"}}
    assert set(by_tower) == set().union(*(towers[letter] for letter in tiny.family.modalities))
    assert by_tower["language"].lora_modules == len(expected) and by_tower["language"].trained > 0
    assert all(count.trained == count.lora_modules == 0 for tower, count in by_tower.items() if tower != "language")
    assert sum(count.parameters for count in counts) == sum(p.numel() for p in fresh.model.parameters())


@pytest.mark.usefixtures("own_weights")
def test_what_was_trained_is_saved_and_loaded_with_the_same_scores(tiny: Loaded, tmp_path: Path) -> None:
    finetuning = FinetuningConfig(name="test", rank=2, targets=list(tiny.family.attention))
    items = tiny.items()
    candidates = [tiny.encoder.answer_ids(label) for label in LABELS]

    def scores(loaded: Loaded) -> torch.Tensor:
        return predict.score(loaded.model, loaded.encoder.encode(items), candidates)

    trained, other = tiny.fresh(), tiny.fresh()
    adapters.apply(trained.model, finetuning)
    with torch.no_grad():
        for parameter in trained.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    torch.save(trained_tensors.trained_state(trained.model), tmp_path / "state.pt")
    adapters.apply(other.model, finetuning)
    trained_tensors.load_trained_state(other.model, torch.load(tmp_path / "state.pt", weights_only=True), "state.pt")
    assert torch.equal(scores(other), scores(trained))
    assert (scores(trained) - scores(tiny)).abs().max() > 1e-3


BRANCHING = ("qwen_omni", "qwen3_omni", "qwen3_vl", "qwen2_audio", "audio_flamingo3", "voxtral", "video_llama3")


def test_labels_side_by_side_score_as_in_rows_of_their_own(tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = [tiny.encoder.answer_ids(label) for label in LABELS]
    assert len({len(ids) for ids in candidates}) > 1
    batch = tiny.encoder.encode(tiny.items())
    assert tiny.model.takes_branches == (tiny.family.name in BRANCHING), tiny.family.name
    found = predict.score(tiny.model, batch, candidates)
    monkeypatch.setattr(type(tiny.model), "takes_branches", False)
    torch.testing.assert_close(predict.score(tiny.model, batch, candidates), found, atol=1e-4, rtol=1e-5)


@pytest.mark.usefixtures("own_weights")
def test_gradients_reach_the_adapters_and_not_the_frozen_towers(tiny: Loaded) -> None:
    fresh = tiny.fresh()
    adapters.apply(fresh.model, FinetuningConfig(name="test", rank=2, targets=list(tiny.family.attention)))
    answer_loss(fresh.model.train(), fresh.encoder.encode(tiny.items(answers=True))).backward()
    got = {name for name, p in fresh.model.named_parameters() if p.grad is not None}
    assert got == {name for name, p in fresh.model.named_parameters() if p.requires_grad}
    assert all(p.grad.abs().max() > 0 for n, p in fresh.model.named_parameters() if "lora_B" in n)


GENERAL = "qwen_omni"
"""The family that stands for all where a method of fine-tuning is the same in each."""
METHODS: dict[str, dict[str, Any]] = {
    "default": {},
    "lora": {"mode": Tower.lora},
    "dora": {"mode": Tower.lora, "method": LoraMethod.dora},
    "pissa": {"mode": Tower.lora, "method": LoraMethod.pissa},
    "full": {"mode": Tower.full},
    "head": {"target": Target.head},
    "head full": {"mode": Tower.full, "target": Target.head},
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("own_weights")
def test_every_parameter_that_is_trained_gets_a_gradient(tiny: Loaded, method: str) -> None:
    if method not in ("lora", "full", "head full") and tiny.family.name != GENERAL:
        pytest.skip("as lora and full reach every tower of every family, and the method is the same in each")
    modalities, how = tiny.family.modalities, dict(METHODS[method])
    mode = how.pop("mode", None)
    fewer = {modalities[:2], "t" + modalities[-1]} if method in ("lora", "full") else set()
    for letters in {modalities} | fewer:
        fresh = tiny.fresh(letters)
        task = Task(name="emotion", labels=["joy", "anger"], question={"en": "Which?"})
        if how.get("target") is Target.head:
            heads.attach(fresh.model, [task])
        towers = {} if mode is None else {tower: mode for tower in fresh.model.towers if tower != "head"}
        if mode is Tower.lora and tiny.family.name == "gemma3n" and "v" in letters:
            towers["vision"] = Tower.full  # it has convolutions alone
        counts = adapters.apply(fresh.model, FinetuningConfig(name="test", rank=2, **towers, **how))
        # In a run all clips have the modalities of the run.
        given = {"audio": 4_800 * ("a" in letters), "video": 2 * ("v" in letters)}
        items = [
            replace(conversation(f"Well {i}?", **given, seed=i), answer=label) for i, label in enumerate(LABELS[:2])
        ]
        adapters.set_training_mode(fresh.model.train())
        if how.get("target") is Target.head:
            asked = [replace(item, answer=None) for item in items]
            record = Record(id="x", dataset="d", split="train", text="", group="g", labels={"emotion": "joy"})
            same = {"record": record, "task": task, "language": "en", "answer": "joy"}
            examples = [Example(messages=item.messages, **same) for item in items]
            loss = heads.loss(fresh.model, fresh.encoder.encode(asked), examples)
        else:
            loss = answer_loss(fresh.model, fresh.encoder.encode(items))
        trained = {name: p for name, p in fresh.model.named_parameters() if p.requires_grad}
        assert not reach.not_reached(trained.items(), loss)
        loss.backward()
        assert not [name for name, parameter in trained.items() if parameter.grad is None], letters
        assert sum(count.trained for count in counts) == sum(p.numel() for p in trained.values())


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
@pytest.mark.parametrize("mode", [Tower.lora, Tower.full])
@pytest.mark.usefixtures("own_weights")
def test_a_second_step_of_several_processes_finds_the_first_complete(tiny: Loaded, mode: Tower, tmp_path: Path) -> None:
    """DistributedDataParallel asks for that however many processes there are, so that one is enough here."""
    if mode is Tower.lora and tiny.family.name != GENERAL:
        pytest.skip("full trains more in every family")
    fresh = tiny.fresh()
    towers = dict.fromkeys(fresh.model.towers, mode) if mode is Tower.full else {}
    adapters.apply(fresh.model, FinetuningConfig(name="test", rank=2, **towers))
    given = {"audio": 4_800 * ("a" in tiny.family.modalities), "video": 2 * ("v" in tiny.family.modalities)}
    batch = fresh.encoder.encode([replace(conversation("Well?", **given), answer="joy")])

    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = fresh.model

        def forward(self) -> torch.Tensor:
            return answer_loss(self.model, batch)

    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        adapters.set_training_mode(fresh.model.train())
        spread = torch.nn.parallel.DistributedDataParallel(Loss())
        for _ in range(2):
            spread().backward()
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("own_weights")
def test_lora_goes_where_modules_are_called(tiny: Loaded) -> None:
    expected = {
        "gemma3n": {"altup.correction_coefs", "altup.prediction_coefs"},
        "phi4_multimodal": {"attention.out_proj"},
        "nemotron_h_omni": {"mixer.out_proj"},  # which a kernel reads, on a GPU
    }.get(tiny.family.name, set())
    read = reach.read_directly(tiny.model)
    assert {".".join(name.split(".")[-2:]) for name in read} == expected
    fresh = tiny.fresh()
    adapters.apply(fresh.model, FinetuningConfig(name="test", rank=2))
    adapted = {name for name, module in fresh.model.named_modules() if hasattr(module, "lora_A")}
    assert adapted and not adapted & read


@pytest.mark.parametrize("mode", [Tower.lora, Tower.full])
@pytest.mark.usefixtures("own_weights")
def test_every_tower_can_be_trained_in_bfloat16(tiny: Loaded, mode: Tower) -> None:
    config = replace(tiny.config, precision=Precision.bfloat16)
    model, encoder = load(config, modalities=tiny.family.modalities, cache_root=Path(config.checkpoint))
    towers = dict.fromkeys(model.towers, mode)
    if tiny.family.name == "gemma3n":
        towers["vision"] = Tower.full  # it has convolutions alone
    adapters.apply(model, FinetuningConfig(name="test", rank=2, **towers))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            assert (
                module.running_mean.dtype
                == module.weight.dtype
                == (torch.float32 if mode is Tower.full else torch.bfloat16)
            )
    adapters.set_training_mode(model.train())
    batch = encoder.encode(tiny.items(answers=True))
    with torch.autocast("cpu", torch.bfloat16):  # as in the Trainer
        loss = answer_loss(model, batch)
    loss.backward()
    assert loss.isfinite()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.dtype is torch.float32 and (p.grad is None or p.grad.isfinite().all()) for p in trained)
    # What was trained is read back into a model of the same type.
    trained_tensors.load_trained_state(model, trained_tensors.trained_state(model), "x.ckpt")


@pytest.mark.usefixtures("own_weights")
def test_all_but_a_few_parameters_are_used(tiny: Loaded) -> None:
    """What a family leaves out is little, and named: not whatever a mistake would leave out."""
    fresh = tiny.fresh()
    expected = {
        "qwen_omni": {"audio_bos_eos_token.weight"},
        "phi4_multimodal": {"layers.1", "post_layernorm", "head", "up_proj_for_speech", "down_proj_for_speech"},
    }.get(tiny.family.name, set())
    unused = fresh.model.unused(fresh.model.towers)
    assert all(any(part in name for part in expected) for name in unused)
    assert all(any(part in name for name in unused) for part in expected)


def test_a_modality_that_is_off_has_no_tower_and_is_refused(tiny: Loaded) -> None:
    text_only = tiny.fresh("t")
    assert set(text_only.model.towers) == {"language"} and text_only.model.encoders() == {}
    batch = tiny.encoder.encode(tiny.items()[:1])
    with torch.no_grad():
        torch.testing.assert_close(text_only.model(batch, 1), tiny.model(batch, 1), **TOLERANCE)
    for item in tiny.items()[1:]:
        with pytest.raises(AssertionError, match=r"has a part '(audio|video)' and the model was loaded with modal"):
            text_only.encoder.encode([item])


def test_every_parameter_belongs_to_a_tower(tiny: Loaded) -> None:
    modules = dict(tiny.model.named_modules())
    assert all(prefix in modules for prefixes in tiny.model.towers.values() for prefix in prefixes)
    for name, _ in tiny.model.named_parameters():
        adapters.tower_of(name, tiny.model.towers)
    assert not tiny.model.new


def test_text_from_outside_adds_no_turn_and_no_media(tiny: Loaded) -> None:
    encoder = tiny.encoder
    good = tiny.items()[-1]
    hostile = "".join(encoder.special) + f"{tiny.family.end}\njoy\x00"
    parts = [part for part in good.messages[0]["content"] if part["type"] != "text"]
    attacked = replace(
        good, messages=[{"role": "user", "content": [*parts, {"type": "text", "text": hostile}]}], answer=hostile
    )
    calm, batch = encoder.encode([good])["input_ids"][0].tolist(), encoder.encode([attacked])
    ids = batch["input_ids"][0].tolist()[: -batch["answer_length"]]
    for token in encoder.tokenizer.convert_tokens_to_ids(encoder.special):
        assert ids.count(token) == calm.count(token)
    assert batch["labels"][0].tolist().count(encoder.end) == 1


def test_placeholders_without_media_are_our_mistake(tiny: Loaded) -> None:
    good = tiny.items()[-1]
    kind = "audio" if good.waveform is not None else "video"
    without = {"waveform": None} if kind == "audio" else {"frames": None}
    with pytest.raises(AssertionError, match=f"conversation 1 .* 1 parts '{kind}' and 0 clips"):
        tiny.encoder.encode([good, replace(good, **without)])
    with pytest.raises(AssertionError, match=f"conversation 0 .* 0 parts '{kind}' and 1 clips"):
        tiny.encoder.encode([replace(good, messages=tiny.items()[0].messages)])
    if kind == "audio":
        with pytest.raises(DataError, match=r"conversation 0 of the batch: its sound lasts 0.019 s, too short for one"):
            tiny.encoder.encode([conversation("a", audio=300)])


def test_an_encoder_survives_pickling(tiny: Loaded) -> None:
    other = pickle.loads(pickle.dumps(tiny.encoder))
    before, after = tiny.encoder.encode(tiny.items(answers=True)), other.encode(tiny.items(answers=True))
    assert before.keys() == after.keys()
    assert all(torch.equal(torch.as_tensor(before[key]), torch.as_tensor(after[key])) for key in before)


def test_sampling_rate_frames_and_resolution_are_told(tiny: Loaded) -> None:
    told = token_report.in_words(tiny.encoder, tiny.config, tiny.family.modalities)
    assert len(told) == len(tiny.family.modalities) - 1
    for sentence in told:
        if sentence.startswith("audio"):
            assert "16000 Hz" in sentence and "5 s become" in sentence and "more than 30 s are left out" in sentence
        else:
            assert "4 frames a clip" in sentence and "64 × 36" in sentence
        tokens = int(sentence.split(" become ")[1].split()[0])
        assert tokens >= 4


def test_another_models_checkpoint_is_refused(tiny: Loaded, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ConfigError, match=f"is a model of type 'llama' and family {tiny.config.family} loads"):
        load_tiny(tiny.family, tmp_path, "t")


def test_every_family_that_is_shipped_is_in_the_suite() -> None:
    native = {name for name, schema in FAMILIES.items() if issubclass(schema, NativeConfig)}
    assert native == {family.family or family.name for family in SUITE}
    assert {family.name for family in SUITE} == set(BUILD)
    for family in SUITE:
        assert set("tav") - set(family.modalities) == set(LACKING.get(family.family or family.name, ""))
