"""What the Lightning Trainer costs: samples a second of the module under the Trainer that affect.training.trainer
builds, over those of a bare PyTorch loop with the same optimiser, schedule and clipping of gradients, on the same
batches in memory.

    python benchmarks/trainer_overhead.py

A Qwen2.5-Omni of random weights, big enough (four layers of width 256, printed with the result) that a step takes tens
of milliseconds, with LoRA. Checkpoints and validation are off: they are work, not overhead. The two alternate.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader
from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

# Before the imports from there: a benchmark is started from any folder, and by its path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tiny_models import qwen_processor, qwen_thinker_config

from affect.cli import program
from affect.cli.validate import conflicts
from affect.config import Config, QwenOmniConfig, Task, register
from affect.config import compose as entry
from affect.data import Record
from affect.evaluation.language import LanguageLearner
from affect.models import Conversation, adapters
from affect.models.collate import Batch
from affect.models.losses import answer_loss
from affect.models.native.qwen_omni import QwenOmni, QwenOmniEncoder
from affect.models.parameter_groups import parameter_groups
from affect.models.sampling import sampling
from affect.prompting.messages import Example
from affect.runs.lifecycle import Stop
from affect.training import trainer
from affect.training.datamodule import ClipData
from affect.training.module import Supervised

WIDTH, LAYERS = 256, 4


def build_model() -> tuple[QwenOmni, QwenOmniEncoder]:
    processor = qwen_processor()
    plain = qwen_thinker_config(processor).to_dict()
    plain["text_config"] |= {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": LAYERS,
        "layer_types": ["full_attention"] * LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        # A head of 64 has 32 frequencies, shared out to time, height and width.
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]},
        "initializer_range": 0.02,
    }
    plain["audio_config"]["output_dim"] = WIDTH
    plain["vision_config"]["out_hidden_size"] = WIDTH
    torch.manual_seed(0)
    backbone = Qwen2_5OmniThinkerForConditionalGeneration(Qwen2_5OmniThinkerConfig(**plain))
    config = QwenOmniConfig(name="tiny", modalities="tav", checkpoint="tiny", frame_size=64)
    encoder = QwenOmniEncoder(processor, config, "tav", backbone.config)
    return QwenOmni(backbone, stops=encoder.stops), encoder


def make_batches(encoder: QwenOmniEncoder, count: int, batch_size: int) -> list[Batch]:
    random = np.random.default_rng(0)
    task = Task(name="emotion", labels=["joy", "anger"])
    batches = []
    for _ in range(count):
        conversations, examples = [], []
        for i in range(batch_size):
            parts = [{"type": "video"}, {"type": "audio"}, {"type": "text", "text": "Which emotion? joy, anger, fear."}]
            messages = [{"role": "user", "content": parts}]
            conversations.append(
                Conversation(
                    messages=messages,
                    answer="joy" if i % 2 else "anger",
                    waveform=random.standard_normal(32_000).astype(np.float32) / 10,
                    frames=random.integers(0, 256, (4, 56, 56, 3), dtype=np.uint8),
                    seconds=2.0,
                )
            )
            record = Record(id=f"x/train/{i}", dataset="x", split="train", text="", group="g")
            examples.append(Example(record=record, task=task, language="en", messages=messages, answer="joy"))
        batches.append(Batch(examples=examples, tensors=encoder.encode(conversations), failed=[]))
    return batches


class InMemory(ClipData):
    """ClipData whose batches are there already."""

    def __init__(self, batches: list[Batch]) -> None:
        L.LightningDataModule.__init__(self)
        self.batches = batches

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None)


class Clock(L.Callback):
    """Seconds of the epoch, without the Trainer's own setting up."""

    def on_train_epoch_start(self, *_: Any) -> None:
        self.begin = time.perf_counter()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.seconds = time.perf_counter() - self.begin


def under_the_trainer(module: Supervised, batches: list[Batch], cfg: Config) -> float:
    with tempfile.TemporaryDirectory() as folder:
        lightning = trainer.build(cfg, Path(folder), Stop(Path(folder)))
        lightning.callbacks = [c for c in lightning.callbacks if not isinstance(c, ModelCheckpoint)]
        lightning.callbacks.append(clock := Clock())
        lightning.limit_val_batches = 0
        module.train()
        lightning.fit(module, InMemory(batches))
    return clock.seconds


def bare(module: Supervised, batches: list[Batch], cfg: Config) -> float:
    model = module.model.train()
    optimizer = torch.optim.AdamW(parameter_groups(model, cfg.finetuning), fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / len(batches))
    begin = time.perf_counter()
    for batch in batches:
        loss = answer_loss(model, batch.tensors)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), cfg.trainer.max_grad_norm)
        optimizer.step()
        scheduler.step()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("overrides", nargs="*", help="of the configuration, such as trainer.progress=false")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    register()
    words = ["model=qwen2_5_omni_3b", "trainer.accelerator=cpu", "trainer.max_epochs=1", *options.overrides]
    with initialize_config_dir(str(program.CONF), version_base="1.3"):
        cfg = entry.load(compose("config", overrides=words), "train", conflicts)
    model, encoder = build_model()
    adapters.apply(model, cfg.finetuning)
    learner = LanguageLearner(model, encoder, cfg.finetuning, cfg.evaluation, sampling(cfg))
    module = Supervised(learner, cfg.finetuning, lambda predictions: {})
    batches = make_batches(encoder, options.steps, options.batch_size)
    # What is done once (thread pools, imports) is in none of the times.
    under_the_trainer(module, batches[:3], cfg)
    bare(module, batches[:3], cfg)
    ratios, rates = [], []
    count = options.steps * options.batch_size
    for _ in range(options.repetitions):
        loop, lightning = bare(module, batches, cfg), under_the_trainer(module, batches, cfg)
        ratios.append(loop / lightning)
        rates.append((count / loop, count / lightning))
    length = batches[0].tensors["input_ids"].shape[1]
    print(
        f"\n{LAYERS} layers of width {WIDTH}, batches of {options.batch_size} × {length}"
        f" tokens, a step of the bare loop {1000 * options.batch_size / median(r[0] for r in rates):.0f} ms"
    )
    print(f"bare loop {median(r[0] for r in rates):.1f} samples/s, Trainer {median(r[1] for r in rates):.1f} samples/s")
    print(
        f"ratio: median {median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f} in {len(ratios)} repetitions"
    )


if __name__ == "__main__":
    main()
