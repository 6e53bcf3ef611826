"""An epoch of each fusion network on random features of CMU-MOSEI's size, in its published setting, on the CPU.

    OMP_NUM_THREADS=2 python benchmarks/fusion.py [--steps 60] [--models mult lmf …]

16,326 clips of 50 steps; text 768, audio 74, video 35 numbers a step. A step is forward, backward, clipping and AdamW;
`--steps` of them are timed after warm-up, the fastest of `--rounds` rounds counts, and an epoch is as many as the
clips need. On a machine that others use too, the CPU seconds of the process over its threads say what an epoch takes
when they do not; set OMP_WAIT_POLICY=PASSIVE so that waiting threads are not counted. The last line holds dropout
against torch's.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional as F

# A benchmark is started from any folder, and by its path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from affect.baselines.networks.dropout import dropped
from affect.baselines.networks.lmf import LMF
from affect.baselines.networks.misa import MISA
from affect.baselines.networks.mult import MulT
from affect.baselines.networks.self_mm import SelfMM
from affect.baselines.networks.tfn import TFN
from affect.config.families import FAMILIES
from affect.config.groups import CONF

CLIPS, STEPS = 16_326, 50
WIDTHS = {"text": 768, "audio": 74, "video": 35}
NETWORKS = {"tfn": TFN, "lmf": LMF, "mult": MulT, "misa": MISA, "self_mm": SelfMM}


def published(name: str) -> tuple[nn.Module, int]:
    """The network and the batch size of its experiment on CMU-MOSEI."""
    settings = OmegaConf.load(CONF / "experiment" / f"{name}_mosei.yaml")
    rest = {"name": name, "modalities": "tav"}
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(FAMILIES[name]), rest, settings.model))
    return NETWORKS[name](WIDTHS, config), settings.trainer.batch_size


def batch_of(size: int) -> dict[str, torch.Tensor]:
    batch = {modality: torch.randn(size, STEPS, width) for modality, width in WIDTHS.items()}
    return batch | {f"{modality}_lengths": torch.full((size,), STEPS) for modality in WIDTHS}


def seconds_a_step(network: nn.Module, size: int, steps: int, rounds: int) -> tuple[float, float]:
    """Wall and CPU seconds of a training step, of the round with the fewest CPU seconds."""
    output, gold = nn.Linear(network.width, 1), torch.randn(size)
    parameters = [*network.parameters(), *output.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    batches = [batch_of(size) for _ in range(4)]
    network.train()

    def step(number: int) -> None:
        optimizer.zero_grad()
        fused = network(batches[number % len(batches)])
        loss = (output(fused.states)[:, 0] - gold).abs().mean()
        for states in fused.unimodal.values():
            loss = loss + states.mean()
        (loss if fused.loss is None else loss + fused.loss.mean()).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    for number in range(5):
        step(number)
    timed = []
    for _ in range(rounds):
        cpu, wall = time.process_time(), time.perf_counter()
        for number in range(steps):
            step(number)
        timed.append(((time.process_time() - cpu) / steps, (time.perf_counter() - wall) / steps))
    cpu, wall = min(timed)
    return wall, cpu


def best(call, rounds: int = 50) -> float:
    """The fewest seconds of a call."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    arguments = parser.parse_args()
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    print(f"{threads} threads; an epoch of {CLIPS:,} clips of {STEPS} steps, in seconds")
    for name in arguments.models:
        network, size = published(name)
        count = sum(parameter.numel() for parameter in network.parameters())
        wall, cpu = seconds_a_step(network, size, arguments.steps, arguments.rounds)
        steps = math.ceil(CLIPS / size)
        print(
            f"{name:8} batch {size:3}, {steps:5} steps, {count:10,} parameters:"
            f" CPU / threads {cpu / threads * steps:6.1f}, wall {wall * steps:6.1f}"
        )
    numbers = torch.randn(16, STEPS, 960)
    ours, torchs = (best(lambda f=f: f(numbers, 0.1)) for f in (dropped, F.dropout))
    print(f"dropout of {numbers.numel():,} numbers: {ours * 1e3:.2f} ms, torch's {torchs * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
