"""How many clips a second `knowledge=cues` describes, and how much processor time a clip takes.

    python benchmarks/cues.py --clips 100

Clips of 3 to 4 s, 640 × 360 pixels (--height for others) at 25 frames a second (H.264) with a voice (AAC), from files
to text, with two threads. Processor time is what to compare where the machine has other things to do. The second run
finds all measurements kept.
"""

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from affect.cli import program
from affect.cli.validate import conflicts
from affect.config import Config, register
from affect.config import compose as entry
from affect.data import loading
from affect.data.demo_corpus.render import render_voice
from affect.data.media import SAMPLING_RATE, write_clip
from affect.knowledge import Description
from affect.knowledge.fill import clip_hashes
from affect.knowledge.sources import load

NUM_FILES = 8
"""Different files; the clips are cut out of them with different ends."""


def make(root: Path, count: int, height: int) -> Path:
    width = height * 16 // 9
    random = np.random.default_rng(0)
    for i in range(NUM_FILES):
        # A landscape that drifts, and noise as of a camera: neither still, which decodes too fast, nor white noise. It
        # has no face in it, which is when looking for one takes longest.
        wide = landscape(random, height)
        frames = np.empty((100, height, width, 3), dtype=np.uint8)
        for k in range(100):
            frame = np.roll(wide, 3 * k * height // 360, axis=1)[:, :width]
            frames[k] = np.clip(frame + random.normal(0, 4, frame.shape), 0, 255)
        write_clip(
            root / f"{i}.mp4",
            frames=frames,
            fps=25,
            waveform=render_voice(0, 4.0, np.random.default_rng(i), random),
            sampling_rate=SAMPLING_RATE,
        )
    with open(root / "clips.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("clip", "text", "label", "split", "start", "end"))
        for i in range(count):
            rows.writerow((f"{i % NUM_FILES}.mp4", "", "ab"[i % 2], "train", 0, round(3 + 0.9 * i / count, 4)))
    return root / "clips.csv"


def landscape(random: np.random.Generator, height: int) -> np.ndarray:
    """float32[height, 8 / 3 height, 3]: noise with the spectrum of photographs, an amplitude of one over the
    frequency."""
    width = height * 8 // 3
    down, across = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    amplitude = 1 / np.maximum(np.hypot(down, across), 1 / width)
    layers = [np.fft.ifft2(np.fft.fft2(random.normal(size=(height, width))) * amplitude).real for _ in range(3)]
    return np.stack([128 + 45 * layer / layer.std() for layer in layers], axis=2).astype(np.float32)


def described(cfg: Config) -> list[str]:
    parts = loading.read(cfg, ["train"])
    records = parts[0].records
    found = list(load(cfg, parts).describe(records, clip_hashes(records, cfg)))
    assert all(isinstance(item, Description) for item in found)
    return [item.text for item in found]


def timed(function: Callable[[], list[str]]) -> tuple[float, float, list[str]]:
    wall, processor = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - wall, time.process_time() - processor, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--height", type=int, default=360, help="of the pictures, 16:9")
    args = parser.parse_args()
    count = args.clips
    register()
    with tempfile.TemporaryDirectory() as folder, initialize_config_dir(str(program.CONF), version_base="1.3"):
        table = make(Path(folder), count, args.height)
        load_of = f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        print(f"{count} clips of 3 to 4 s, {args.height} pixels high; {load_of}")
        for modalities in ("audio", "audio,video"):
            words = [
                *("dataset=manifest", f"datasets.manifest.root={table}", "modalities=tav", "knowledge=cues"),
                *("datasets.manifest.options.start=start", "datasets.manifest.options.end=end"),
                *(f"knowledge.modalities=[{modalities}]", "trainer.progress=false"),
                f"cache_root={folder}/cache_{modalities.replace(',', '_')}",
            ]
            cfg = entry.load(compose("config", overrides=words), "knowledge", conflicts)
            texts = []
            for name in ("first run", "second run"):
                with redirect_stdout(None):
                    wall, processor, said = timed(lambda cfg=cfg: described(cfg))
                texts.append(said)
                print(
                    f"{modalities:12} {name:10} {count / wall:7.1f} clips/s, {1000 * processor / count:6.1f} ms of"
                    " processor time a clip"
                )
            assert texts[0] == texts[1], "the second run says something else"


if __name__ == "__main__":
    main()
