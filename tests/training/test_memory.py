"""Memory: the longest batch is tried first, and running out of memory ends in a sentence."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from test_processes import losses
from tiny_models import tiny_composed_language, tiny_manifest, tiny_words
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import train
from affect.config import Config, ConfigError
from affect.evaluation import predict as readout
from affect.models import collate
from affect.training import datamodule, memory


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memory")


@pytest.fixture(scope="module")
def quick(root: Path) -> list[str]:
    table = tiny_manifest(root / "corpus", train=8, labels=("a", "b b b", "c, c and once more c"), media=False)
    found = [*tiny_words(root, "composed"), "dataset=manifest", f"datasets.manifest.root={table}", "data_root=data"]
    found += ["datasets.manifest.options.require_clips=false", "modalities=t", "trainer.log_every=1"]
    return [*found, "trainer.max_epochs=1", "trainer.batch_size=4", "finetuning.dropout=0.1"]


@pytest.fixture
def trained(root: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Trains in this process and gives the run folder."""

    def run(name: str, *words: str) -> Path:
        monkeypatch.chdir(root)
        monkeypatch.setattr("sys.argv", ["train.py", *quick, *words, f"output_root={root / name}"])
        train.main()
        [folder] = (root / name).glob("*/")
        return folder

    return run


def test_trying_the_longest_batch_changes_no_number(
    root: Path, trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[list[str]] = []
    step = memory._forward_backward

    def noted(learner: Any, batch: collate.Batch, cfg: Config, device: torch.device) -> None:
        step(learner, batch, cfg, device)
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in learner.module.parameters())
        tried.append([example.record.id for example in batch.examples])

    monkeypatch.setattr(memory, "_forward_backward", noted)
    plain = trained("plain", "trainer.try_longest_batch=off")
    assert tried == []
    first = trained("first", "trainer.try_longest_batch=on")
    [batch] = tried
    assert len(batch) == 4
    assert losses(first) == losses(plain)
    assert (first / "predictions.jsonl").read_bytes() == (plain / "predictions.jsonl").read_bytes()
    states = [torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"] for run in (first, plain)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


def test_on_a_cpu_the_longest_batch_is_not_tried_unless_asked_for(
    trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_forward_backward", None)
    trained("cpu")


def out_of_memory_above(rows: int) -> Callable[..., None]:
    def step(learner: Any, batch: collate.Batch, cfg: Config, device: torch.device) -> None:
        if len(batch.examples) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    return step


@pytest.mark.parametrize(
    ("fits", "expected", "absent"),
    [
        (2, "set trainer.batch_size=2 trainer.accumulate=6, which was tried and fits; a step sees as many", "single"),
        (1, "set trainer.batch_size=1 trainer.accumulate=12, which was tried and fits", "single"),
        (0, "not even with a single clip", "trainer.batch_size="),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_with_numbers(
    trained: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fits: int,
    expected: str,
    absent: str,
) -> None:
    monkeypatch.setattr(memory, "_forward_backward", out_of_memory_above(fits))
    with pytest.raises(SystemExit) as refused:
        trained(f"small{fits}", "trainer.try_longest_batch=on", "trainer.accumulate=3")
    said = str(refused.value.code)
    assert re.search(r"the longest batch, 4 × \d+ tokens, does not fit into the memory of cpu in training", said)
    assert expected in said and absent not in said
    assert "model.gradient_checkpointing=true" in said and "finetuning=qlora" in said


def test_where_checkpointing_makes_the_batch_fit_auto_turns_it_on(
    trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = memory._forward_backward

    def needs_checkpointing(learner: Any, batch: collate.Batch, cfg: Config, device: torch.device) -> None:
        if not learner.module.language.is_activation_checkpointing:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        step(learner, batch, cfg, device)

    monkeypatch.setattr(memory, "_forward_backward", needs_checkpointing)
    found = trained("checkpointed", "trainer.try_longest_batch=on")
    assert (
        "model.gradient_checkpointing=auto is on: without it the longest batch does not fit" in capsys.readouterr()[0]
    )
    monkeypatch.setattr(memory, "_forward_backward", step)
    assert losses(found) == pytest.approx(losses(trained("unchecked")), rel=1e-5)


def test_running_out_of_memory_later_is_a_sentence_too(
    trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    def predict(*_: Any, **__: Any) -> None:
        torch.empty(2**60)  # what a CPU's allocator really says

    monkeypatch.setattr(readout, "predict", predict)
    with pytest.raises(SystemExit) as refused:
        trained("later", "evaluation.batch_size=6")
    assert "a batch of 6 clips does not fit into the memory of cpu in evaluation" in str(refused.value.code)
    assert "set evaluation.batch_size=3, which changes no number" in str(refused.value.code)
    [folder] = (root / "later").glob("*/")
    assert json.loads((folder / "status.json").read_text())["state"] == "failed"


def test_real_allocators_are_understood() -> None:
    for allocate in (lambda: torch.empty(2**60), lambda: np.empty(2**59), lambda: bytearray(2**62)):
        with pytest.raises((RuntimeError, MemoryError)) as raised:
            allocate()
        assert memory.is_out_of_memory(raised.value)
    for error in (RuntimeError("CUDA error: out of memory"), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")):
        assert memory.is_out_of_memory(error)
    assert not memory.is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


# ---------------------------------------------------------------- estimate


def kept_for_backward(config: LlamaConfig, dtype: torch.dtype, dropout: float) -> float:
    """Bytes a token that autograd keeps of a model with LoRA on all linear maps, by counting them."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).to(dtype)
    model = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules="all-linear", lora_dropout=dropout))
    model.train()
    weights = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    rows, length = 2, 200
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype != torch.float32), hooks:
        model(input_ids=torch.randint(0, 100, (rows, length)), logits_to_keep=4)
    return sum(storage.nbytes() for storage in kept.values()) / (rows * length)


@pytest.mark.parametrize(("dtype", "width"), [(torch.float32, 4), (torch.bfloat16, 2)])
@pytest.mark.parametrize("inner", [512, 1376])
def test_the_estimate_of_activations_is_what_autograd_keeps(dtype: torch.dtype, width: int, inner: int) -> None:
    config = LlamaConfig(
        hidden_size=256,
        intermediate_size=inner,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=200,
    )
    assert memory.activation_bytes(config, width) == pytest.approx(kept_for_backward(config, dtype, 0.0), rel=0.25)
    # On a CPU the mask of dropout has four bytes, on a GPU one.
    masked = memory.activation_bytes(config, width, dropout=True)
    assert masked < kept_for_backward(config, dtype, 0.1) < 2 * masked


def test_the_estimate_for_a_language_model_of_seven_billion() -> None:
    sizes = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28}
    assert memory.activation_bytes(SimpleNamespace(**sizes), 2) == pytest.approx(7.3e6, rel=0.1)


@pytest.mark.parametrize(
    "name",
    [
        *("Qwen2_5OmniThinker", "Qwen3OmniMoeThinker", "Gemma3n", "Gemma4", "Phi4Multimodal", "Qwen2Audio"),
        *("AudioFlamingo3", "Voxtral", "Qwen3VL", "VideoLlama3", "NemotronH", "Llama", "GPT2", "OPT"),
    ],
)
def test_every_family_has_an_estimate(name: str) -> None:
    config = getattr(transformers, f"{name}Config")().get_text_config()
    by_token = memory.activation_bytes(config, 2)
    # A layer keeps at least its input, and at most what sixty of them would take.
    assert 1 < by_token / (2 * config.num_hidden_layers * config.hidden_size) < 60


def test_auto_goes_by_the_estimate(
    root: Path, quick: list[str], configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = configure(*quick)
    language = AutoModelForCausalLM.from_pretrained(root / "composed")
    model = torch.nn.Module()
    model.language = language.requires_grad_(False)
    tensors = {"input_ids": torch.zeros(4, 100)}
    each = memory.activation_bytes(language.config, 4, dropout=True)
    for free, on in ((400 * each / memory.SAFE - 1, True), (400 * each / memory.SAFE + 1, False), (0, True)):
        monkeypatch.setattr(memory, "free_bytes", lambda device, free=free: free)
        memory.settle_checkpointing(model, tensors, cfg, torch.device("cpu"))
        assert language.is_activation_checkpointing is on


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.gradient_checkpointing=maybe"], "model.gradient_checkpointing=maybe has to be true, false or auto"),
        (["trainer.num_workers=many"], "trainer.num_workers=many has to be a whole number from 0 on, or auto"),
    ],
)
def test_other_words_than_auto_are_refused(configure: Callable[..., Config], words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        configure(*words)


# ---------------------------------------------------------------- loading, workers


def test_weights_are_mapped_from_their_file_and_not_copied(tmp_path: Path) -> None:
    """Pages that nobody writes to are shared by all processes of a machine that map the file."""
    folder = tiny_composed_language(tmp_path / "language")
    model = AutoModelForCausalLM.from_pretrained(folder)
    mapped = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith("model.safetensors"):
            begin, end = (int(part, 16) for part in line.split()[0].split("-"))
            mapped.append((begin, end))
    assert mapped
    for name, parameter in model.named_parameters():
        assert any(begin <= parameter.data_ptr() < end for begin, end in mapped), name


def test_workers_by_the_device(configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    auto = configure().trainer
    for cores, expected in ((1, 0), (3, 2), (64, 4)):
        monkeypatch.setattr(datamodule.launch, "cores", lambda cores=cores: cores)
        assert datamodule.num_workers(auto, on_gpu=True) == expected
        assert datamodule.num_workers(auto, on_gpu=False) == 0
    assert datamodule.num_workers(configure("trainer.num_workers=7").trainer, on_gpu=False) == 7
