"""One measurement of LLaMA-Factory, ms-swift or TRL, in an environment of its own: peers.py starts it there.

    /path/to/env/bin/python benchmarks/peer_training.py --peer trl --folder MADE --epochs 1 --threads 2

Each has an environment of its own, with the build of torch and torchvision for the machine, and then:

    pip install trl==1.16.0 transformers==5.23.0 peft==0.21.2 torchvision torchcodec
    pip install llamafactory==0.9.5 torchcodec
    pip install ms_swift==4.6.0 "transformers<5.20" qwen_omni_utils==0.0.9 decord soundfile librosa av torchcodec

Nothing of affect is imported. `folder` was made by peers.py: `full`, a checkpoint of the whole model (ms-swift and
LLaMA-Factory load no other) with the thinker's weights that affect trains, and `conversations.json`, the turns that
affect would show, with the clip and the answer. Every peer decodes the mp4 itself, picture and sound, by its own means:
LLaMA-Factory and transformers (TRL) read sound with torchcodec, which wants FFmpeg's libraries on the system.

Each is trained by its own public way: LLaMA-Factory's `run_exp` on a dataset of its sharegpt format, ms-swift's
`SwiftSft` on its messages format, TRL's `SFTTrainer` with a collator of ours around transformers' processor, as TRL's
examples for video do, since its own collator takes images only. Where they differ from their defaults, it is to do the
same work (rank, targets, batch, learning rate, float32, frames) or less: no gradient checkpointing, no checkpoints, no
reports. The rest stays theirs, such as the process that loads data in ms-swift.

In the time: preparation of the dataset, the trainer, all epochs; with TRL and ms-swift making the adapter, with
LLaMA-Factory reading its arguments and writing the adapter, all of it little. Not in it: imports, loading model and
processor. CPU seconds are with those of the data's processes; memory is the largest one process had.

A run in which a tower did not see every clip of every epoch, or in which anything but LoRA on q, k, v and o of the
language model could learn, is refused.
"""

import argparse
import inspect
import json
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BATCH, FPS, RANK, ALPHA, LEARNING_RATE, SIDE = 4, 2.0, 8, 32, 1e-3, 168
# Of a clip of 2 s: 4 frames, two of them a patch of 14 × 14.
PATCHES = 2 * (SIDE // 14) ** 2
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
# Of the language model and of no tower, by whatever name a version of transformers has it.
LANGUAGE_TARGET = r"^(?!.*(audio_tower|visual)).*\.layers\.\d+\.self_attn\.[qkvo]_proj"
# What transformers' arguments are called in every peer.
COMMON: dict[str, Any] = {
    "per_device_train_batch_size": BATCH,
    "gradient_accumulation_steps": 1,
    "learning_rate": LEARNING_RATE,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 1.0,
    "save_strategy": "no",
    "logging_steps": 1000,
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "fp16": False,
    "seed": 0,
}


class Clock:
    """Wall and CPU seconds of what is inside `running`, without what is inside `paused`."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    @staticmethod
    def _now() -> tuple[float, float]:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return time.perf_counter(), sum(usage.ru_utime + usage.ru_stime for usage in usages)

    @contextmanager
    def _counted(self, sign: int) -> Iterator[None]:
        wall, cpu = self._now()
        yield
        end_wall, end_cpu = self._now()
        self.wall += sign * (end_wall - wall)
        self.cpu += sign * (end_cpu - cpu)

    def running(self) -> Any:
        return self._counted(1)

    def paused(self) -> Any:
        return self._counted(-1)


class Watch:
    """What the towers were given and what was trained. The trainer's callback calls `begin` and `end`."""

    def __init__(self) -> None:
        self.clips = {"audio_tower": 0, "visual": 0}
        self.patches = 0
        self.trained: list[str] = []
        self.steps = 0
        self.loss = float("nan")

    def callback(self) -> Any:
        from transformers import TrainerCallback

        watch = self

        class Callback(TrainerCallback):
            def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **rest: Any) -> None:
                watch.begin(model)

            def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
                watch.steps = state.global_step
                found = [entry["train_loss"] for entry in state.log_history if "train_loss" in entry]
                watch.loss = found[-1] if found else float("nan")

        return Callback()

    def begin(self, model: Any) -> None:
        """Lists what is trained, and counts from now on the clips each tower is given."""
        self.trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        for tower, lengths in (("audio_tower", "feature_lens"), ("visual", "grid_thw")):
            [module] = [module for name, module in model.named_modules() if name.split(".")[-1] == tower]
            signature = inspect.signature(type(module).forward)

            def count(
                module: Any, args: tuple, kwargs: dict, tower: str = tower, lengths: str = lengths, of: Any = signature
            ) -> None:
                given = of.bind(module, *args, **kwargs).arguments
                features = next(iter(value for name, value in given.items() if name != "self"))
                if features.numel() and bool((features != features.flatten()[0]).any()):
                    self.clips[tower] += len(given[lengths])
                    self.patches += len(features) if tower == "visual" else 0

            module.register_forward_pre_hook(count, with_kwargs=True)

    def check(self, clips: int, layers: int) -> None:
        """Ends the program in a sentence where the run was not the work that is compared."""
        for tower, seen in self.clips.items():
            if seen != clips:
                sys.exit(f"{tower} was given {seen} clips in training instead of {clips}: the run is not comparable")
        if self.patches != clips * PATCHES:
            sys.exit(f"{self.patches / clips:g} patches of a clip reached the vision tower instead of {PATCHES}")
        pattern = re.compile(LANGUAGE_TARGET + r"\.lora_[AB]\.")
        wrong = [name for name in self.trained if not pattern.search(name)]
        if wrong:
            sys.exit(f"trained, though not LoRA on q, k, v, o of the language model: {', '.join(wrong)}")
        if len(self.trained) != layers * len(TARGETS) * 2:
            sys.exit(f"{len(self.trained)} tensors of LoRA are trained: {', '.join(self.trained)}")
        if self.steps != clips // BATCH:
            sys.exit(f"{self.steps} optimiser steps instead of {clips // BATCH}")


def question(conversation: dict) -> str:
    """The user's turn as ms-swift and LLaMA-Factory want it: media as tags in the text."""
    return "".join(
        part["text"] if part["type"] == "text" else f"<{part['type']}>"
        for part in conversation["messages"][1]["content"]
    )


def turns(conversation: dict) -> list[dict[str, str]]:
    [system] = conversation["messages"][0]["content"]
    return [
        {"role": "system", "content": system["text"]},
        {"role": "user", "content": question(conversation)},
        {"role": "assistant", "content": conversation["answer"]},
    ]


def with_media(conversation: dict) -> dict:
    """A row of ms-swift's and of LLaMA-Factory's formats."""
    return {"messages": turns(conversation), "videos": [conversation["clip"]], "audios": [conversation["clip"]]}


def trl(folder: Path, out: Path, epochs: int, conversations: list[dict], watch: Watch, clock: Clock) -> str:
    import torch
    import trl
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import Qwen2_5OmniProcessor, Qwen2_5OmniThinkerForConditionalGeneration
    from trl import SFTConfig, SFTTrainer

    processor = Qwen2_5OmniProcessor.from_pretrained(folder / "full")
    model = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(folder / "checkpoint", dtype=torch.float32)

    def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
        chats = []
        for row in rows:
            parts = json.loads(row["messages"])
            for part in parts[1]["content"]:
                if part["type"] != "text":
                    part["path"] = row["clip"]
            chats.append([*parts, {"role": "assistant", "content": [{"type": "text", "text": row["answer"]}]}])
        batch = processor.apply_chat_template(
            chats,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            # The size is said here too: the class has one of its own that comes before that of the checkpoint.
            processor_kwargs={
                "padding": True,
                "videos_kwargs": {
                    "fps": FPS,
                    "do_sample_frames": True,
                    "size": {"shortest_edge": 28**2, "longest_edge": SIDE**2},
                },
            },
        )
        missing = [key for key in ("input_features", "pixel_values_videos") if not len(batch.get(key, ()))]
        if missing:
            sys.exit(f"transformers' processor made no {' and no '.join(missing)}")
        labels = torch.full_like(batch["input_ids"], -100)
        for i, row in enumerate(rows):
            # The processor pads on the left: the answer, the end of the turn and a line feed are the last tokens.
            length = len(processor.tokenizer(f"{row['answer']}<|im_end|>\n")["input_ids"])
            labels[i, -length:] = batch["input_ids"][i, -length:]
        return {**batch, "labels": labels}

    with clock.running():
        rows = [
            {"clip": c["clip"], "messages": json.dumps(c["messages"]), "answer": c["answer"]} for c in conversations
        ]
        trainer = SFTTrainer(
            model,
            args=SFTConfig(
                **COMMON,
                output_dir=str(out),
                num_train_epochs=epochs,
                gradient_checkpointing=False,
                remove_unused_columns=False,
                dataset_kwargs={"skip_prepare_dataset": True},
            ),
            data_collator=collate,
            train_dataset=Dataset.from_list(rows),
            processing_class=processor,
            peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=LANGUAGE_TARGET + "$"),
            callbacks=[watch.callback()],
        )
        trainer.train()
    return trl.__version__


def llamafactory(folder: Path, out: Path, epochs: int, conversations: list[dict], watch: Watch, clock: Clock) -> str:
    import transformers.models.qwen2_5_omni.modeling_qwen2_5_omni
    import transformers.models.qwen2_5_omni.processing_qwen2_5_omni  # noqa: F401
    from llamafactory.extras.env import VERSION
    from llamafactory.train.sft import workflow
    from llamafactory.train.tuner import run_exp

    data = out / "data"
    data.mkdir()
    (data / "clips.json").write_text(json.dumps([with_media(c) for c in conversations]))
    description = {
        "file_name": "clips.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "videos": "videos", "audios": "audios"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }
    (data / "dataset_info.json").write_text(json.dumps({"clips": description}))

    def outside(load: Callable) -> Callable:
        def paused(*args: Any, **kwargs: Any) -> Any:
            with clock.paused():
                return load(*args, **kwargs)

        return paused

    workflow.load_tokenizer, workflow.load_model = outside(workflow.load_tokenizer), outside(workflow.load_model)
    settings = {
        **COMMON,
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": str(folder / "full"),
        "finetuning_type": "lora",
        "lora_rank": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "lora_target": ",".join(TARGETS),
        "template": "qwen2_omni",
        "dataset": "clips",
        "dataset_dir": str(data),
        "cutoff_len": 4096,
        "overwrite_cache": True,
        "output_dir": str(out / "run"),
        "num_train_epochs": epochs,
        "disable_gradient_checkpointing": True,
        "video_fps": FPS,
        "video_max_pixels": SIDE**2,
    }
    with clock.running():
        run_exp(settings, [watch.callback()])
    return VERSION


def ms_swift(folder: Path, out: Path, epochs: int, conversations: list[dict], watch: Watch, clock: Clock) -> str:
    # It reads these from the environment when it loads the processor.
    os.environ.update(
        FPS=str(FPS),
        VIDEO_MIN_PIXELS=str(28**2),
        VIDEO_MAX_PIXELS=str(SIDE**2),
        SWIFT_AUDIO_LOAD_BACKEND="soundfile_pyav",
    )
    import swift
    from swift.pipelines import SwiftSft

    class Watched(SwiftSft):
        def train(self, trainer: Any) -> Any:
            trainer.add_callback(watch.callback())
            return super().train(trainer)

    data = out / "clips.jsonl"
    data.write_text("".join(json.dumps(with_media(c)) + "\n" for c in conversations))
    settings = {
        **COMMON,
        "model": folder / "full",
        "model_type": "qwen2_5_omni",
        "check_model": False,
        "torch_dtype": "float32",
        "tuner_type": "lora",
        "lora_rank": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "target_regex": LANGUAGE_TARGET + "$",
        "dataset": data,
        "split_dataset_ratio": 0,
        "load_from_cache_file": False,
        # Without it a clip that cannot be read is replaced by another.
        "strict": True,
        "max_length": 4096,
        "output_dir": out / "run",
        "num_train_epochs": epochs,
        "gradient_checkpointing": False,
        "vit_gradient_checkpointing": False,
    }
    pipeline = Watched([word for name, value in settings.items() for word in (f"--{name}", str(value))])
    with clock.running():
        pipeline.main()
    return swift.__version__


PEERS = {"trl": trl, "llamafactory": llamafactory, "ms_swift": ms_swift}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", choices=PEERS, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS=str(options.threads), HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    # The peers read the program's own arguments when they are given none.
    sys.argv = sys.argv[:1]
    import torch

    torch.set_num_threads(options.threads)
    conversations = json.loads((options.folder / "conversations.json").read_text())
    layers = json.loads((options.folder / "checkpoint" / "config.json").read_text())["text_config"]["num_hidden_layers"]
    watch, clock = Watch(), Clock()
    with tempfile.TemporaryDirectory() as out:
        version = PEERS[options.peer](options.folder, Path(out), options.epochs, conversations, watch, clock)
    clips = len(conversations) * options.epochs
    watch.check(clips, layers)
    sizes = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    found = {"rate": clips / clock.wall, "cpu": clock.cpu, "memory": max(sizes) / 1e6, "loss": watch.loss}
    print("trained: " + ", ".join(watch.trained), file=sys.stderr)
    print("MEASURED " + json.dumps({**found, "version": version}))


if __name__ == "__main__":
    main()
