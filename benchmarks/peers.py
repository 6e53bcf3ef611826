"""How fast affect trains and evaluates, with each of its caches on and off, beside a loop over stock transformers.

    python benchmarks/peers.py --repetitions 3
    python benchmarks/peers.py --epochs 3 --chunk-length 30 --only stock,all --peer trl=/path/to/env/bin/python

A Qwen2.5-Omni of random weights and 64 clips of 2 s (160 × 160, 10 frames a second, mono 16 kHz AAC) are made; batches
of 4, LoRA of rank 8 on q, k, v and o of the language model, float32, 2 frames a second, learning rate 1e-3.

    stock      decodes and processes every batch when it is needed, with the checkpoint's own processor and padding, and
               takes transformers' own loss: what a trainer around the processor does at the least, in one process
    off        affect with nothing kept and nothing made ahead
    prefetch, clips, encoders, all    with each on, and all of them, from empty caches
    warm       all, with the caches filled by an earlier run
    module     batches that are in memory, encoders included, under the Trainer, in turn with a plain loop over the same
    module kept    likewise with the encoders' outputs in the batches

Each is measured in a process of its own, in turn, and all begin with cold caches of their own; the time is that of
checking, decoding, filling and all epochs, without importing and loading. CPU seconds are of the same stretch, memory
is the largest the process had. LLaMA-Factory, ms-swift and TRL want other versions of the same libraries: `--peer`
names the interpreter of an environment where one is installed, and peer_training.py, which says what is in its time,
trains it there on the same weights, clips and turns.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

# Before the imports from there: a benchmark is started from any folder, and by its path.
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

BATCH, SECONDS, FPS = 4, 2.0, 2
WIDTH = 32
"""Of the language model's hidden states."""
# In pixels: 160 × 160 becomes 168 × 168, a multiple of two patches of 14, instead of the 100,352 pixels of the stock.
FRAME_AREA = {"shortest_edge": 28**2, "longest_edge": 168**2}
LABELS = ["anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"]
OFF = ["trainer.prefetch=0", "trainer.clip_cache_gb=0", "trainer.encoder_cache=off"]
# Clips that go through the encoders at a time: as many as in a batch of an evaluation, which is 16 if nothing is said.
TOGETHER = ["evaluation.batch_size=8"]
SETTINGS = {
    "off": OFF,
    "prefetch": [*OFF[1:]],
    "clips": [OFF[0], OFF[2]],
    "encoders": OFF[:2],
    "all": TOGETHER,
    "warm": TOGETHER,
}
IN_MEMORY = ("module", "module kept")
PAIRS = 5
"""Of module and bare loop in a process. Two processes differ by more than the two do."""
PEERS = ("trl", "llamafactory", "ms_swift")
READOUTS = ("score", "generate", "score kept", "generate kept")


def make(folder: Path, chunk_length: int, num_clips: int) -> None:
    """The checkpoint and the table of clips in `folder`; for peers, the checkpoint of the whole model and the turns.

    The whole model has the same thinker and no talker, but wants its (empty) list of voices. Its processor is told the
    size of frames, which not every peer can be.
    """
    import numpy as np
    import torch
    from tiny_models import qwen_processor, tiny_qwen_omni

    from affect.data.media import SAMPLING_RATE, write_clip

    tiny_qwen_omni(folder / "checkpoint", chunk_length=chunk_length, width=WIDTH)
    full = tiny_qwen_omni(folder / "full", chunk_length=chunk_length, width=WIDTH, full=True)
    config = json.loads((full / "config.json").read_text())
    (full / "config.json").write_text(json.dumps({**config, "enable_audio_output": False}))
    torch.save({}, full / "spk_dict.pt")
    processor = qwen_processor(chunk_length)
    processor.video_processor.size = FRAME_AREA
    processor.save_pretrained(full)
    lines = ["clip,text,label,split"]
    for i in range(num_clips):
        random = np.random.default_rng(i)
        time_ = np.arange(round(SECONDS * SAMPLING_RATE)) / SAMPLING_RATE
        sound = 0.3 * np.sin(2 * np.pi * (120 + 5 * i) * time_) + 0.02 * random.standard_normal(len(time_))
        base = random.integers(0, 256, (20, 20, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        frames = np.stack([np.roll(base, 4 * shift, 1) for shift in range(round(10 * SECONDS))])
        path = folder / f"{i}.mp4"
        write_clip(path, frames=frames, fps=10, waveform=sound.astype(np.float32), sampling_rate=SAMPLING_RATE)
        lines.append(f"{path},number {i} is what I said then,{LABELS[i % 7]},train")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    turns = [
        {"clip": e.record.media, "messages": e.messages, "answer": e.answer}
        for e in asked(configuration(folder, folder / "unused", []))
    ]
    (folder / "conversations.json").write_text(json.dumps(turns))


def asked(cfg: Any) -> list[Any]:
    """The examples of the configuration, as affect shows them."""
    from affect.data import loading
    from affect.prompting import token_budget

    [part] = loading.read(cfg, ["train"])
    task = cfg.datasets["manifest"].task_definitions["label"]
    return [token_budget.example(record, task, cfg.prompting, "tav", lambda messages: 0) for record in part.records]


def configuration(folder: Path, cache: Path, words: list[str]) -> Any:
    from hydra import compose, initialize_config_dir

    from affect.cli import program
    from affect.cli.validate import conflicts
    from affect.config import compose as entry
    from affect.config import register

    register()
    given = [
        *("model=qwen2_5_omni_3b", f"model.checkpoint={folder / 'checkpoint'}", "model.precision=float32"),
        *(f"model.num_frames={round(SECONDS * FPS)}", "model.frame_size=160", "dataset=manifest"),
        *(f"datasets.manifest.root={folder / 'clips.csv'}", f"cache_root={cache}", "trainer.accelerator=cpu"),
        *(f"trainer.batch_size={BATCH}", "finetuning.rank=8", "finetuning.targets=[q_proj,k_proj,v_proj,o_proj]"),
        *("finetuning.learning_rate=1e-3", f"evaluation.batch_size={BATCH}", "evaluation.max_new_tokens=4"),
        *("trainer.progress=false", *words),
    ]
    with initialize_config_dir(str(program.CONF), version_base="1.3"):
        return entry.load(compose("config", overrides=given), "train", conflicts)


@contextmanager
def measured(found: dict[str, float], count: Callable[[], int]) -> Any:
    """Adds samples a second and CPU seconds of the block to `found`."""
    begin, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    yield
    end = resource.getrusage(resource.RUSAGE_SELF)
    found["rate"] = count() / (time.perf_counter() - begin)
    found["cpu"] = end.ru_utime + end.ru_stime - used.ru_utime - used.ru_stime


def affect(folder: Path, cache: Path, words: list[str], measure: str, epochs: int) -> dict[str, float]:
    """One of SETTINGS, IN_MEMORY or READOUTS."""
    import lightning as L
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint

    from affect import models
    from affect.data import loading
    from affect.evaluation import predict
    from affect.evaluation.language import LanguageLearner
    from affect.models import adapters, collate, encoder_cache
    from affect.models.losses import answer_loss
    from affect.models.parameter_groups import parameter_groups
    from affect.models.sampling import sampling
    from affect.prompting import examples as data
    from affect.runs.lifecycle import Stop
    from affect.training import datamodule, trainer, usable_clips
    from affect.training.module import Supervised

    class Ready(list):
        """As a list of its own kind, since Lightning takes a plain one for a list of loaders."""

    class InMemory(datamodule.ClipData):
        """ClipData whose batches are there already."""

        def __init__(self, batches: list[collate.Batch]) -> None:
            L.LightningDataModule.__init__(self)
            self.batches = batches

        def train_dataloader(self) -> Ready:
            return Ready(self.batches)

    cfg = configuration(folder, cache, [*words, f"trainer.max_epochs={epochs}"])
    L.seed_everything(cfg.seed, verbose=False)
    parts = loading.read(cfg, ["train"])
    model, encoder = models.load(cfg.model, modalities="tav", cache_root=cache)
    adapters.apply(model, cfg.finetuning)
    learner = LanguageLearner(model, encoder, cfg.finetuning, cfg.evaluation, sampling(cfg))
    module = Supervised(learner, cfg.finetuning, lambda predictions: {})
    found: dict[str, float] = {}
    num_clips = len(parts[0].records)

    def prepared() -> datamodule.ClipData:
        source = usable_clips.exclude_unusable(parts, cfg)
        by_split = {"train": data.examples(parts, "train", cfg, encoder.count_text, labelled_only=True)}
        by_split["val"] = by_split["train"]
        learner.source = source
        learner.outputs = encoder_cache.prepare(model, encoder, by_split, cfg, source)
        return datamodule.ClipData(by_split, learner, cfg)

    def fit(clips: datamodule.ClipData) -> None:
        run = Path(tempfile.mkdtemp(dir=cache))
        lightning = trainer.build(cfg, run, Stop(run))
        lightning.callbacks = [c for c in lightning.callbacks if not isinstance(c, ModelCheckpoint)]
        lightning.limit_val_batches = 0
        module.train()
        lightning.fit(module, clips)

    def loop(batches: list[collate.Batch]) -> None:
        # Lightning, which would not be there, has an optimiser look for NVIDIA's library at every step.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
        model.train()
        optimizer = torch.optim.AdamW(parameter_groups(model, cfg.finetuning), fused=True)
        for batch in batches * epochs:
            loss = answer_loss(model, batch.tensors)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), cfg.trainer.max_grad_norm)
            optimizer.step()

    if measure in SETTINGS:
        with measured(found, lambda: num_clips * epochs):
            fit(prepared())
        return found
    clips = prepared()
    if measure in IN_MEMORY:
        batches = list(clips.train_dataloader())
        pairs = []
        for i in range(-1, PAIRS):
            # What is done once (thread pools, imports) is in none of the times.
            some = batches if i >= 0 else batches[:2]
            of_loop, of_module = {}, {}
            with measured(of_loop, lambda: num_clips * epochs):
                loop(some)
            with measured(of_module, lambda: num_clips * epochs):
                fit(InMemory(some))
            if i >= 0:
                pairs.append({**of_module, "over bare": of_module["rate"] / of_loop["rate"]})
        return {key: median(pair[key] for pair in pairs) for key in pairs[0]}
    batches = list(clips.val_dataloader())
    cfg.evaluation.readout = type(cfg.evaluation.readout)(measure.split()[0])
    model.eval()
    for end in (2, None):
        with measured(found, lambda: num_clips):
            for batch in batches[:end]:
                predict.predict(model, encoder, batch.tensors, batch.examples, cfg.evaluation)
    return found


def stock(folder: Path, epochs: int) -> dict[str, float]:
    """The loop over transformers' own processor and class."""
    import torch
    from peft import LoraConfig, inject_adapter_in_model
    from transformers import Qwen2_5OmniProcessor, Qwen2_5OmniThinkerForConditionalGeneration

    from affect.data.media import decode
    from affect.models import sampling

    cfg = configuration(folder, folder / "unused", [])
    torch.manual_seed(cfg.seed)
    processor = Qwen2_5OmniProcessor.from_pretrained(folder / "checkpoint")
    processor.tokenizer.padding_side = "right"
    model = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(folder / "checkpoint")
    lora = LoraConfig(r=8, lora_alpha=32, target_modules=r".*language_model.*\.(q|k|v|o)_proj")
    inject_adapter_in_model(lora, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    examples = asked(cfg)
    wanted = sampling.sampling(cfg)
    found: dict[str, float] = {}
    losses = []
    model.train()
    with measured(found, lambda: len(examples) * epochs):
        for epoch in range(epochs):
            order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(epoch)).tolist()
            for at in range(0, len(order), BATCH):
                chosen = [examples[i] for i in order[at : at + BATCH]]
                clips = [decode(example.record.media, wanted) for example in chosen]
                texts = [
                    processor.apply_chat_template(e.messages, tokenize=False, add_generation_prompt=True)
                    + f"{e.answer}<|im_end|>\n"
                    for e in chosen
                ]
                inputs = processor(
                    text=texts,
                    audio=[clip.waveform for clip in clips],
                    videos=[torch.from_numpy(clip.frames).permute(0, 3, 1, 2) for clip in clips],
                    return_tensors="pt",
                    padding=True,
                    videos_kwargs={"do_sample_frames": False, "size": FRAME_AREA},
                )
                labels = torch.full_like(inputs["input_ids"], -100)
                for row, length, example in zip(labels, inputs["attention_mask"].sum(1), chosen, strict=True):
                    answer = torch.tensor(processor.tokenizer(f"{example.answer}<|im_end|>\n")["input_ids"])
                    row[length - len(answer) : length] = answer
                loss = model(**inputs, labels=labels).loss
                losses.append(loss.item())
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
    found["loss"] = sum(losses) / len(losses)
    return found


def one(options: argparse.Namespace) -> None:
    """Measures one thing in this process and prints it."""
    import torch

    torch.set_num_threads(options.threads)
    folder, measure = Path(options.folder), options.measure
    with tempfile.TemporaryDirectory() as empty:
        cache = Path(empty)
        if measure == "stock":
            found = stock(folder, options.epochs)
        elif measure == "warm":
            affect(folder, cache, SETTINGS["all"], "all", 1)
            found = affect(folder, cache, SETTINGS[measure], measure, options.epochs)
        elif measure in SETTINGS:
            found = affect(folder, cache, SETTINGS[measure], measure, options.epochs)
        else:
            kept = ["trainer.encoder_cache=on"] if measure.endswith("kept") else ["trainer.encoder_cache=off"]
            found = affect(folder, cache, kept, measure, options.epochs)
    found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print("MEASURED " + json.dumps(found))


def spread(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument(
        "--chunk-length", type=int, default=300, help="seconds the feature extractor pads to: 300 or 30"
    )
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--only", default="", help="measurements, separated by commas; all without it")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=PYTHON",
        help=f"one of {', '.join(PEERS)} and the interpreter of its environment; may be given several times",
    )
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        one(options)
        return
    if options.clips % BATCH:
        parser.error(f"--clips={options.clips}: whole batches of {BATCH} are compared")
    peers = dict(given.partition("=")[::2] for given in options.peer)
    if wrong := [name for name, python in peers.items() if name not in PEERS or not shutil.which(python)]:
        parser.error(
            f"--peer: {', '.join(wrong)}: give one of {', '.join(PEERS)} as NAME=PYTHON, PYTHON an interpreter"
        )
    everything = ["stock", *SETTINGS, *IN_MEMORY, *READOUTS]
    names = [*peers, *(options.only.split(",") if options.only else everything)]
    if unknown := set(names) - {*everything, *peers}:
        parser.error(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(everything)}")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as made:
        make(Path(made), options.chunk_length, options.clips)
        for _ in range(options.repetitions):
            for name in names:
                words = ["--folder", made, "--epochs", options.epochs, "--threads", options.threads]
                environment = os.environ.copy()
                if name in peers:
                    # So that a peer finds neither affect nor this folder's modules.
                    environment.pop("PYTHONPATH", None)
                    environment["PYTHONSAFEPATH"] = "1"
                    begin = [peers[name], Path(__file__).with_name("peer_training.py"), "--peer", name]
                else:
                    begin = [sys.executable, __file__, "--measure", name]
                command = [*map(str, begin + words)]
                done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
                if done.returncode:
                    sys.exit(f"{name} failed:\n{done.stdout}{done.stderr}")
                line = next(line for line in done.stdout.splitlines() if line.startswith("MEASURED "))
                found[name].append(json.loads(line.removeprefix("MEASURED ")))
    print(
        f"\n{options.clips} clips of {SECONDS:g} s, batches of {BATCH}, {options.epochs} epochs,"
        f" padding {options.chunk_length} s, {options.threads} threads,"
        f" {options.repetitions} repetitions: median (from-to)\n"
    )
    print("| | samples/s | × stock | CPU s | peak memory, GB | mean loss |\n|---|---|---|---|---|---|")
    for name, rows in found.items():
        ratios = [row["rate"] / base["rate"] for row, base in zip(rows, found.get("stock", []), strict=False)]
        cells = [spread([row["rate"] for row in rows]), spread(ratios) if ratios else ""]
        cells += [spread([row[key] for row in rows]) for key in ("cpu", "memory")]
        cells += [spread([row["loss"] for row in rows]) if "loss" in rows[0] else ""]
        version = f" {rows[0]['version']}" if "version" in rows[0] else ""
        print(f"| {name}{version} | {' | '.join(cells)} |")
    best = [max(found[name][i]["rate"] for name in peers) for i in range(options.repetitions)] if peers else []
    for name in found if best else ():
        if name in ("stock", *SETTINGS):
            ratios = [row["rate"] / rate for row, rate in zip(found[name], best, strict=True)]
            print(f"\n{name} / fastest peer: {spread(ratios)}")
    for name in IN_MEMORY:
        if found.get(name):
            print(f"\n{name} / bare loop: {spread([row['over bare'] for row in found[name]])}")
    if found.get("score") and found.get("generate"):
        ratios = [a["rate"] / b["rate"] for a, b in zip(found["score"], found["generate"], strict=True)]
        print(f"\nscore / generate: {spread(ratios)}")


if __name__ == "__main__":
    main()
