"""The number type, attention kernel and device that a configuration asks for on this machine."""

from dataclasses import replace

import torch

from affect.config import Accelerator, Attention, ModelConfig, Precision, TrainerConfig, launch


def device(trainer: TrainerConfig) -> torch.device:
    """Where this process computes; Lightning's Trainer puts the model there too."""
    if trainer.accelerator is Accelerator.cpu or not torch.cuda.is_available():
        return torch.device("cpu")
    # SLURM may show each process its own device alone.
    return torch.device("cuda", launch.place().local_rank if torch.cuda.device_count() > 1 else 0)


def settled(config: ModelConfig, trainer: TrainerConfig) -> ModelConfig:
    """`config` with which the model is loaded: precision=auto is float32 where trainer.accelerator=cpu, even if the
    machine has a GPU."""
    if trainer.accelerator is Accelerator.cpu and config.precision is Precision.auto:
        return replace(config, precision=Precision.float32)
    return config


def dtype(config: ModelConfig) -> torch.dtype:
    """Type of the weights. `auto` is bfloat16 on a GPU that computes in it, else float32.

    Emulated bfloat16 does not count: GPUs older than Ampere and CPUs without AVX512-BF16 compute it many times slower
    than float32.
    """
    if config.precision is not Precision.auto:
        return getattr(torch, config.precision.value)
    native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float32


def attention(config: ModelConfig) -> str:
    """transformers' name of the attention kernel. `auto` is sdpa, which PyTorch has on every device."""
    return Attention.sdpa.value if config.attention is Attention.auto else config.attention.value
