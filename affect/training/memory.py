"""Tries the longest batch first, and explains out-of-memory errors."""

import contextlib
import gc
import traceback
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch.utilities.memory import is_oom_error
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import PreTrainedModel

from affect.config import ComposedConfig, Config, ConfigError, Strategy, Switch, is_true
from affect.config.launch import place
from affect.config.logs import LOG
from affect.models import precision
from affect.models.collate import Batch
from affect.models.learner import Learner
from affect.models.pretrained import recompute_activations
from affect.prompting.messages import Example
from affect.training.checkpointing import random_states, set_random_states

SAFE = 0.8
"""Share of the free memory that the estimated activations may take. The rest is for towers, logits and fragmentation,
which the estimate leaves out."""

GIGABYTE = 1e9


# ---------------------------------------------------------------- estimate


def activation_bytes(config: Any, width: int, *, dropout: bool = False, eager_tokens: int = 0) -> float:
    """Bytes that the layers of a language model keep for the backward pass, for each token.

    config: transformers' text configuration. width: bytes of a number in the products (2 in bfloat16, also where the
    weights are float32 and the trainer computes in mixed precision). dropout: whether adapters have any, which keeps
    a mask (of one byte on a GPU). eager_tokens: length of the sequence where the attention is eager, which keeps its
    probabilities.

    Counted by what autograd keeps of a layer with adapters on all linear maps, hidden size h, attention width q,
    intermediate size i: two norms keep their input in float32 (8 h); attention its queries, keys, values and output
    (4 q); the gated map its gate, its activation and the other factor (3 i); and the adapters of q, k, v, gate and up
    (5 h), of the output (q) and of the way down (i) their inputs.
    """
    # Gemma 4's layers differ.
    layers = list(getattr(config, "per_layer_config", ())) or [config] * config.num_hidden_layers
    return float(sum(_layer_bytes(layer, width, dropout, eager_tokens) for layer in layers))


def _layer_bytes(config: Any, width: int, dropout: bool, eager_tokens: int) -> float:
    hidden, num_heads = config.hidden_size, config.num_attention_heads
    attention = num_heads * (getattr(config, "head_dim", None) or hidden // num_heads)
    inner = getattr(config, "intermediate_size", None) or 4 * hidden  # as the families that do not name it have it
    inner = max(inner) if isinstance(inner, (list, tuple)) else inner
    experts = getattr(config, "num_experts_per_tok", None)
    if experts and getattr(config, "moe_intermediate_size", None):
        inner = experts * config.moe_intermediate_size
    # Without a cast to another type the adapters of q, k and v share one input, and those of gate and up another.
    adapted = (5 if width < 4 else 2) * hidden + attention + inner
    num_bytes = 8 * hidden + width * (4 * attention + 3 * inner + adapted) + (adapted if dropout else 0)
    return num_bytes + width * 2 * num_heads * eager_tokens


def language_part(model: nn.Module, cfg: Config) -> PreTrainedModel:
    """The module whose layers are checkpointed."""
    return model.language if isinstance(cfg.model, ComposedConfig) else model.backbone


def free_bytes(device: torch.device) -> int:
    """Free memory of a GPU, with what torch has reserved and does not use."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def settle_checkpointing(model: nn.Module, tensors: dict[str, Any], cfg: Config, device: torch.device) -> None:
    """Turns gradient checkpointing on where the activations of this batch are estimated not to fit."""
    part = language_part(model, cfg)
    recompute_activations(part, False)  # an earlier job of a multirun may have had it
    rows, length = tensors["input_ids"].shape
    width = 4 if precision.dtype(precision.settled(cfg.model, cfg.trainer)) == torch.float32 else 2
    eager = length if precision.attention(cfg.model) == "eager" else 0
    dropout = cfg.finetuning.dropout > 0
    each = activation_bytes(part.config.get_text_config(), width, dropout=dropout, eager_tokens=eager)
    needed = rows * length * each
    # Gradients and AdamW's two moments, which are not there yet; and weights that the processes will divide.
    later = sum(12 * p.numel() for p in model.parameters() if p.requires_grad)
    later += sum(p.numel() * p.itemsize for p in model.parameters() if p.device.type != device.type)
    free = free_bytes(device) - later / (place().size if cfg.trainer.strategy is Strategy.fsdp else 1)
    if needed <= SAFE * free:
        return
    if not part.supports_gradient_checkpointing:
        return
    recompute_activations(part, True)
    LOG.info(
        f"model.gradient_checkpointing=auto is on: activations of {rows} × {length} tokens are estimated at"
        f" {needed / GIGABYTE:.1f} GB, and {free / GIGABYTE:.1f} GB are free"
    )


# ---------------------------------------------------------------- the longest batch


def prepare(learner: Learner, train: list[Example], cfg: Config) -> None:
    """Settles gradient checkpointing, and tries the longest batch of training as the configuration says: forward and
    backward, beside as much memory as the optimiser will take. Gradients, random states, statistics and modes are as
    before afterwards.

    Raises ConfigError where the memory does not suffice, which says what would.
    """
    device = precision.device(cfg.trainer)
    switch = cfg.trainer.try_longest_batch
    # A model that the processes will divide may not fit whole beside what training needs.
    divided = cfg.trainer.strategy is Strategy.fsdp and place().size > 1
    tries = switch is Switch.on or (switch is Switch.auto and device.type == "cuda" and not divided)
    settles = cfg.model.gradient_checkpointing == "auto" and device.type == "cuda"
    if not (tries or settles) or not train:
        return
    states = random_states()
    longest = sorted(train, key=learner.length)[-cfg.trainer.batch_size :]
    batch = learner.collator(True)(longest)
    if batch.tensors is not None:
        if not divided:
            learner.module.to(device)
        if settles:
            settle_checkpointing(learner.module, batch.tensors, cfg, device)
        if tries:
            _try(learner, batch, cfg, device)
    set_random_states(states)


def _try(learner: Learner, batch: Batch, cfg: Config, device: torch.device) -> None:
    if _fits(learner, batch, cfg, device):
        return
    _free(device)
    part = language_part(learner.module, cfg)
    may_checkpoint = cfg.model.gradient_checkpointing == "auto" and part.supports_gradient_checkpointing
    if may_checkpoint and not part.is_activation_checkpointing:
        recompute_activations(part, True)
        if _fits(learner, batch, cfg, device):
            LOG.info("model.gradient_checkpointing=auto is on: without it the longest batch does not fit")
            return
        _free(device)
    rows, length = batch.tensors["input_ids"].shape
    fitting = 0
    for size in (size for size in range(rows // 2, 0, -1) if cfg.trainer.batch_size % size == 0):
        if _fits(learner, learner.collator(True)(batch.examples[-size:]), cfg, device):
            fitting = size
            break
        _free(device)
    longest = f"the longest batch, {rows} × {length} tokens,"
    raise ConfigError(remedies(cfg, "training", device, longest, fitting))


def _fits(learner: Learner, batch: Batch, cfg: Config, device: torch.device) -> bool:
    """Whether a training step of this batch fits into memory."""
    model = learner.module
    modes = {module: module.training for module in model.modules()}
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    statistics = [(tensor, tensor.clone()) for norm in norms for tensor in norm.buffers()]
    model.train()
    learner.set_training_mode()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        _forward_backward(learner, batch, cfg, device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        for parameter in model.parameters():
            parameter.grad = None
        for module, mode in modes.items():
            module.training = mode
        for tensor, before in statistics:
            tensor.copy_(before)
        _free(device)
    rows, length = batch.tensors["input_ids"].shape
    if device.type == "cuda":
        peak, total = torch.cuda.max_memory_allocated(device), torch.cuda.mem_get_info(device)[1]
        LOG.info(
            f"the longest batch, {rows} × {length} tokens, fits: {peak / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB"
            " at its peak"
        )
    return True


def _forward_backward(learner: Learner, batch: Batch, cfg: Config, device: torch.device) -> None:
    trained = [p for p in learner.module.parameters() if p.requires_grad]
    moments = [torch.empty_like(p) for p in trained for _ in range(2)]  # AdamW's
    dtype = precision.dtype(precision.settled(cfg.model, cfg.trainer))
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        loss = learner.loss(batch.to(device))
    loss.backward()
    del moments


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


# ---------------------------------------------------------------- out of memory


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means out of memory, on a GPU or a CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        is_oom_error(error)
        or "DefaultCPUAllocator" in text
        or "out of memory" in text
        or "CUBLAS_STATUS_ALLOC_FAILED" in text
    )


@contextlib.contextmanager
def explained(cfg: Config) -> Iterator[None]:
    """Turns running out of memory in the block into a ConfigError that says what to set."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        # What the batch was has gone; where it was computed stands in the stack.
        calls = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
        phase = "evaluation" if calls & {"validation_step", "test_step", "_fill"} else "training"
        raise ConfigError(remedies(cfg, phase, precision.device(cfg.trainer))) from error


def remedies(
    cfg: Config, phase: str, device: torch.device, batch: str | None = None, fitting: int | None = None
) -> str:
    """The sentence for a `batch` that did not fit. phase: training or evaluation. fitting: the largest batch size that
    was tried and fits; 0 is none, None is that none was tried."""
    where = str(device)
    if device.type == "cuda":
        where += f" ({torch.cuda.get_device_properties(device).total_memory / GIGABYTE:.0f} GB)"
    if place().size > 1:
        where += f" of process {place().rank}"
    rows = cfg.trainer.batch_size if phase == "training" else cfg.evaluation.batch_size
    options = []
    if phase == "evaluation" and rows > 1:
        options.append(f"set evaluation.batch_size={rows // 2}, which changes no number")
    if phase == "training" and rows > 1 and fitting != 0:
        smaller = fitting or max(size for size in range(1, rows // 2 + 1) if rows % size == 0)
        how = "which was tried and fits" if fitting else "smaller batches"
        options.append(
            f"set trainer.batch_size={smaller} trainer.accumulate={cfg.trainer.accumulate * rows // smaller}, {how}; a"
            " step sees as many clips as before"
        )
    if phase == "training" and not is_true(cfg.model.gradient_checkpointing):
        options.append("set model.gradient_checkpointing=true, a third slower with the same numbers")
    less = []
    if "v" in cfg.modalities and cfg.model.num_frames > 1:
        less.append(f"model.num_frames={cfg.model.num_frames // 2}")
    if {"a", "v"} & set(cfg.modalities):
        less.append(f"model.max_seconds={cfg.model.max_seconds / 2:g}")
    less.append(f"prompting.max_text_tokens={max(1, cfg.prompting.max_text_tokens // 2)}")
    options.append(f"give the model less to read, {' or '.join(less)}")
    if phase == "training" and not cfg.finetuning.four_bit:
        options.append("make what is trained smaller, finetuning=qlora")
    none = ", not even with a single clip," if fitting == 0 else ""
    return (
        f"{batch or f'a batch of {rows} clips'} does not fit into the memory of {where} in {phase}{none}:"
        f" {'; or '.join(options)}"
    )
