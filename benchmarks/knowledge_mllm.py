"""How much batches save the source `mllm`: clips described in batches, against the same clips one by one, and whether
both say the same.

    python benchmarks/knowledge_mllm.py

A tiny Qwen2.5-Omni of random weights on CPU, float32, greedy: it never ends its turn, so every description is as long
as is allowed. Decoding the clips, prompting and encoding are within both times. The two alternate, so that what else
the machine does falls on both.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from hydra import compose, initialize_config_dir

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from tiny_models import tiny_manifest, tiny_qwen_omni

from affect.cli import program
from affect.cli.validate import conflicts
from affect.config import Config, register
from affect.config import compose as entry
from affect.data import loading
from affect.data.part import Part
from affect.knowledge import Description
from affect.knowledge.sources import mllm


def configured(root: Path, batch_size: int, tokens: int, threads: int) -> tuple[Config, list[Part]]:
    main = "knowledge.mllm_models.main"
    words = [
        *("dataset=manifest", f"datasets.manifest.root={root / 'clips.csv'}", "modalities=t", "knowledge=mllm"),
        *(f"model@{main}=qwen2_5_omni_3b", f"{main}.checkpoint={root / 'model'}", f"{main}.num_frames=4"),
        *(f"{main}.frame_size=64", f"knowledge.max_new_tokens={tokens}", f"knowledge.mllm_batch_size={batch_size}"),
        *("trainer.accelerator=cpu", f"trainer.check_workers={threads}", f"cache_root={root / 'cache'}"),
    ]
    with initialize_config_dir(str(program.CONF), version_base="1.3"):
        cfg = entry.load(compose("config", overrides=words), "evaluate", conflicts)
    return cfg, loading.read(cfg, ["test"])


def described(cfg: Config, parts: list[Part]) -> tuple[float, dict[tuple[str, str], str]]:
    """Seconds and texts. The model is loaded before the clock starts: that is done once, whatever the batch."""
    source = mllm.load(cfg, parts)
    loaded = {generator.name: source._load(generator) for generator in source.generators}
    source._load = lambda generator: loaded[generator.name]  # type: ignore[method-assign]
    records = parts[0].records
    begin = time.perf_counter()
    outcomes = list(source.describe(records, {record.id: "" for record in records}))
    seconds = time.perf_counter() - begin
    assert all(isinstance(outcome, Description) for outcome in outcomes)
    return seconds, {(outcome.id, outcome.modality): outcome.text for outcome in outcomes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    register()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tiny_manifest(root, train=3, val=3, test=options.clips)
        tiny_qwen_omni(root / "model")
        how = (options.tokens, options.threads)
        one_by_one, together = configured(root, 1, *how), configured(root, options.batch_size, *how)
        described(*together)  # what is done once (thread pools, caches) is in none of the times
        ratios, times = [], []
        for _ in range(options.repetitions):
            (slow, expected), (fast, found) = described(*one_by_one), described(*together)
            assert found == expected, "a batch says something else than its clips alone"
            ratios.append(slow / fast)
            times.append((slow, fast))
        print(f"{options.clips} clips, audio and video, {options.tokens} tokens a description; all texts are the same")
        print(f"one by one {options.clips / median(t[0] for t in times):.1f} clips/s")
        print(f"in batches of {options.batch_size} {options.clips / median(t[1] for t in times):.1f} clips/s")
        print(f"ratio: median {median(ratios):.1f}, from {min(ratios):.1f} to {max(ratios):.1f}")


if __name__ == "__main__":
    main()
