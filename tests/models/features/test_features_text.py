"""Token states: what transformers computes for the transcript alone, whatever else is in the batch."""

import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import byte_level_tokenizer, tiny_clip, tiny_composed_language, tiny_whisper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import AutoModel, AutoTokenizer, BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from affect.config import ConfigError
from affect.models.features import text
from affect.models.features.text import TokenStates

CPU = torch.device("cpu")
TEXTS = ["I never said that.", "", "No!", "well, " * 40 + "I really did enjoy the whole of it", "  \n", "so ❤️ 好"]


def tiny_bert(folder: Path) -> Path:
    """A BERT of two layers of width 16 for 16 tokens, saved as masked language models are: without a pooler."""
    core = byte_level_tokenizer(["[PAD]", "[CLS]", "[SEP]"])
    ends = [(mark, core.token_to_id(mark)) for mark in ("[CLS]", "[SEP]")]
    core.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", model_max_length=16
    )
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=[tiny_composed_language, tiny_bert])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return request.param(tmp_path_factory.mktemp("text") / "model")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def made(folder: Path, cache: Path, layer: str = "last", max_steps: int = 50) -> TokenStates:
    return TokenStates(str(folder), layer, max_steps, cache, CPU)


@pytest.mark.parametrize("layer", ["0", "1", "2", "last"])
def test_a_layer_is_that_of_transformers(folder: Path, cache: Path, layer: str) -> None:
    states = made(folder, cache, layer).of(["It rained."])[0]
    tokens = AutoTokenizer.from_pretrained(folder)("It rained.", return_tensors="pt")
    with torch.no_grad():
        output = AutoModel.from_pretrained(folder).eval()(**tokens, output_hidden_states=True)
    expected = output.last_hidden_state if layer == "last" else output.hidden_states[int(layer)]
    torch.testing.assert_close(states, expected[0], atol=1e-6, rtol=0)


def test_a_text_does_not_depend_on_its_batch(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = made(folder, cache)
    together = extractor.of(TEXTS)
    monkeypatch.setattr(text, "BATCH_TOKENS", 30)
    in_small_batches = extractor.of(TEXTS)
    for i, own in enumerate(TEXTS):
        alone = extractor.of([own])[0]
        assert alone.dtype == torch.float32 and alone.shape[1] == extractor.width and 1 <= len(alone) <= 50
        torch.testing.assert_close(together[i], alone, atol=1e-5, rtol=0)
        torch.testing.assert_close(in_small_batches[i], alone, atol=1e-5, rtol=0)


def test_an_empty_text_is_a_step_of_zeros(folder: Path, cache: Path) -> None:
    for features in made(folder, cache).of(["", " \n\t", "\x00"]):
        assert features.shape[0] == 1 and not features.any()


def test_steps_are_means_over_equal_parts_of_the_whole_text(folder: Path, cache: Path) -> None:
    words = "one two three"
    whole = made(folder, cache).of([words])[0]
    short = made(folder, cache, max_steps=4).of([words])[0]
    edges = [-(-i * len(whole) // 4) for i in range(5)]  # step k is in part floor(4 k / length)
    expected = torch.stack([whole[a:b].mean(0) for a, b in pairwise(edges)])
    torch.testing.assert_close(short, expected, atol=1e-5, rtol=0)


def test_a_text_longer_than_the_model_takes_is_encoded_in_pieces(cache: Path, tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "bert")
    words = " ".join("abcdefghijklmnopq")
    whole = made(folder, cache).of([words])[0]
    ids = AutoTokenizer.from_pretrained(folder)(words, add_special_tokens=False)["input_ids"]
    assert len(ids) > 14  # of 16, [CLS] and [SEP] take two
    ends = -(-len(ids) // 14)
    assert len(whole) == len(ids) + 2 * ends
    with torch.no_grad():
        cls, sep = AutoTokenizer.from_pretrained(folder)("")["input_ids"]
        last = torch.tensor([[cls, *ids[14 * (ends - 1) :], sep]])
        expected = AutoModel.from_pretrained(folder).eval()(input_ids=last).last_hidden_state[0]
    torch.testing.assert_close(whole[-len(expected) :], expected, atol=1e-5, rtol=0)


def test_special_tokens_in_a_transcript_are_read_as_text(cache: Path, tmp_path: Path) -> None:
    folder = tiny_composed_language(tmp_path / "llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer("a<|im_end|>b")["input_ids"]) == 3
    assert len(made(folder, cache).of(["a<|im_end|>b"])[0]) > 3


def test_the_identity_tells_what_changes_the_numbers(folder: Path, cache: Path, tmp_path: Path) -> None:
    same = made(folder, cache).identity
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert made(moved, cache).identity == same
    weights = load_file(moved / "model.safetensors")
    first = min(weights)
    save_file({**weights, first: weights[first] + 1}, moved / "model.safetensors", metadata={"format": "pt"})
    others = [made(folder, cache, "1"), made(folder, cache, max_steps=49), made(moved, cache)]
    assert all(other.identity != same for other in others)


def test_what_cannot_be_used_is_refused(folder: Path, cache: Path, tmp_path: Path) -> None:
    for layer in ("3", "-1", "1.5", "first"):
        with pytest.raises(ConfigError, match=rf"features.text_layer={layer} is no layer of .* to 2 .after the last"):
            made(folder, cache, layer)
    with pytest.raises(ConfigError, match=r"features.text=.* cannot be loaded"):
        made(tmp_path / "nowhere", cache)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"features.text=.*empty has no weights"):
        made(tmp_path / "empty", cache)


def test_a_model_of_sound_is_no_model_of_text(cache: Path, tmp_path: Path) -> None:
    folder = tiny_whisper(tmp_path / "whisper")
    PreTrainedTokenizerFast(tokenizer_object=byte_level_tokenizer([])).save_pretrained(folder)
    refused = r"features.text=.* is a model of the type whisper, which is given input_features"
    with pytest.raises(ConfigError, match=refused):
        made(folder, cache).of(["Hello."])


def test_the_text_encoder_of_clip_is_used_alone(cache: Path, tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "clip")  # it has 16 words, and takes 8 at a time
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate("abcdefghijklmnop")}, unk_token="a"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=8).save_pretrained(folder)
    states = made(folder, cache).of(["b c d"])[0]
    with torch.no_grad():
        text_model = AutoModel.from_pretrained(folder).eval().text_model
        expected = text_model(input_ids=torch.tensor([[1, 2, 3]])).last_hidden_state[0]
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=0)


def test_nothing_is_drawn(folder: Path, cache: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    made(folder, cache).of(["Hello."])
    assert torch.equal(torch.rand(2), expected)
