"""Checks affect on one GPU in at most eight minutes, and ends with a table: make gpu_check, or

    python benchmarks/gpu_check.py [--minutes 8] [--only qwen_omni,compile]

What is checked:
- the tests that are marked `gpu`;
- every family of models, with tiny random weights: train.py and evaluate.py on the GPU, in the type that
  model.precision=auto chooses there (bfloat16 since Ampere), against the same training on the CPU in float32, and
  against evaluate.py of the GPU's run on the CPU;
- a wider Qwen2.5-Omni (--width) with sdpa, flash attention, torch.compile and four bits, each against the CPU.

Each check has processes of its own. One that fails, is out of memory or takes too long is a row of the table, and the
next one begins. The exit code is 0 only where nothing failed and everything was reached.

`--device cpu` tries this script where there is no GPU: bfloat16 on the CPU stands for the GPU. It says nothing of GPUs.

Tolerances. bfloat16 has 8 significant bits, so one operation rounds by up to 0.4 %, and the weights of the tiny models
are ten times the usual size, so that roundings move the output visibly. What is "measured" is bfloat16 against float32
on a CPU (--device cpu): the most over all checks. A GPU adds up in another order, hence two to eight times as much.
- FIRST_LOSS: before the first optimiser step both have the same weights. Measured: 0.37 %.
- LATER_LOSS: Adam's first steps are as large as the learning rate, whatever the size of the gradient: where rounding
  turns a small gradient around, its weight moves the other way, and the trainings part. Measured: 1.2 %,
  in 8 steps.
- SCORES: log-likelihoods of labels, of the same trained weights on both devices, as a share of the largest of a clip.
  The same label has to be chosen wherever the two best are further apart on the CPU than this allows both to move.
  Measured: 2.0 %.
These see what is grossly wrong in a whole run. A mask that shows the padding moves the first loss by less than 1 %:
the tests marked gpu see it, in float32, where the logits move by a hundred times what is allowed.
Random numbers of a GPU are not those of a CPU, so dropout is off in all of these runs.
"""

import argparse
import contextlib
import csv
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))
sys.path.insert(0, str(TESTS.parent))

FIRST_LOSS, LATER_LOSS, SCORES = 0.02, 0.10, 0.05

MODELS = {
    "composed": "smollm2",
    "composed_pretrained": "whisper_siglip_qwen2_5_0_5b",
    "qwen_omni": "qwen2_5_omni_3b",
    "qwen3_omni": "qwen3_omni_30b_a3b",
    "gemma3n": "gemma3n_e2b",
    "gemma4": "gemma4_e2b",
    "gemma4_both_ways": "gemma4_31b",
    "phi4_multimodal": "phi4_multimodal",
    "qwen2_audio": "qwen2_audio_7b",
    "audio_flamingo3": "audio_flamingo3",
    "voxtral": "voxtral_mini_3b",
    "qwen3_vl": "qwen3_vl_2b",
    "video_llama3": "video_llama3_2b",
    "nemotron_h_omni": "nemotron_omni_30b_a3b",
}
"""The shipped configuration whose place each tiny checkpoint takes."""

WIDE = {
    "sdpa": ["model.attention=sdpa"],
    "flash_attention": ["model.attention=flash"],
    "four_bit": ["finetuning=qlora"],
    "compile": ["trainer.compile=true"],
}
"""What the wide Qwen2.5-Omni is tried with."""

GPU_TESTS = "tests"
COMPILE = "compile"
# What may take long comes last, so that it is not at the cost of the rest.
CHECKS = (*(name for name in WIDE if name != COMPILE), *MODELS, GPU_TESTS, COMPILE)
SECONDS = {GPU_TESTS: 150.0, COMPILE: 150.0}
"""Time limit of a check, where it is not OTHER_SECONDS."""
OTHER_SECONDS = 75.0
PATIENCE = 4
"""By how much longer everything may take where the CPU stands for the GPU."""


class Failed(Exception):
    """A check failed; the message is the reason in its row."""


class Skipped(Exception):
    """A check has no sense on this machine; the message is the reason in its row."""


@dataclass(slots=True, kw_only=True)
class Row:
    check: str
    result: str = "not reached"
    """`ok`, `failed: why`, `skipped: why` or `not reached`."""
    numbers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


# --- one side of a check, in a process of its own


def work() -> None:
    """Runs train.py and evaluate.py as the lines of standard input ask, each `{"program", "words", "device",
    "stand_in"}`, and answers each with a line. Whatever else is written goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", WANDB_MODE="disabled")
    import lightning  # noqa: F401
    import torch
    import transformers  # noqa: F401

    # Imported before the first job is there, so that a process can be started ahead of it.
    torch.nn.Dropout.forward = lambda self, x: x
    for line in sys.stdin:
        try:
            answer = run_program(**json.loads(line))
        except BaseException as error:
            answer = {"failed": reason(error)}
        print(json.dumps(answer), file=answers, flush=True)


def reason(error: BaseException) -> str:
    said = str(error).strip() or type(error).__name__
    first = " ".join(said.split("\n\n")[0].split())
    return first if isinstance(error, SystemExit) else f"{type(error).__name__}: {first}"


def run_program(program: str, words: list[str], device: str, stand_in: bool) -> dict[str, Any]:
    """Runs train.py or evaluate.py in this process. Gives the run's folder, samples a second of its last epoch and the
    peak of the GPU's memory in bytes; None where there is no such thing. With `stand_in`, `auto` is bfloat16, as on a
    GPU."""
    import torch

    import evaluate
    import train
    from affect.models import precision
    from affect.runs import run_folder
    from affect.training import trainer

    if device == "cuda" and not torch.cuda.is_available():
        raise Failed("torch finds no CUDA device")
    if stand_in:
        precision.dtype = lambda config: torch.bfloat16
        precision.settled = lambda config, _: config
    made: list[Path] = []
    create, build = run_folder.create, trainer.build
    clock = stopwatch()

    def created(*given: Any, **named: Any) -> Path:
        made.append(create(*given, **named))
        return made[-1]

    def built(*given: Any, **named: Any) -> Any:
        lightning = build(*given, **named)
        lightning.callbacks.append(clock)
        return lightning

    run_folder.create, trainer.build = created, built
    sys.argv = [f"{program}.py", *words, f"trainer.accelerator={device}"]
    os.environ.pop("AFFECT_STAMP", None)
    try:
        {"train": train.main, "evaluate": evaluate.main}[program]()
    finally:
        run_folder.create, trainer.build = create, build
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
    return {"folder": str(made[-1]), "rate": clock.rate, "peak": peak}


def stopwatch() -> Any:
    """A callback with the samples a second of the last epoch of training: the first one warms everything up."""
    import lightning as L
    import torch

    class Stopwatch(L.Callback):
        rate: float | None = None

        def _now(self) -> float:
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            return time.perf_counter()

        def on_train_epoch_start(self, *_: Any) -> None:
            self.begin, self.samples = self._now(), 0

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
            self.samples += len(batch.examples)
            self.rate = self.samples / (self._now() - self.begin)

    return Stopwatch()


class Worker:
    """A process of `work`. Raises Failed where a job fails, the process dies, or a job is not done in time."""

    def __init__(self, log: Path) -> None:
        self.log = log
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, __file__, "--worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                cwd=log.parent,
                env=environment,
                start_new_session=True,
            )

    def ask(self, **job: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has died, which `answer` says
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()

    def answer(self, until: float) -> dict[str, Any]:
        said = b""
        while not said.endswith(b"\n"):
            if not select.select([self.process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                raise Failed("it took too long")
            new = os.read(self.process.stdout.fileno(), 65536)
            if not new:
                raise Failed(f"its process ended with {self.process.wait()}: {last_line(self.log)}")
            said += new
        answer = json.loads(said)
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer

    def end(self) -> None:
        end(self.process)


def end(process: subprocess.Popen) -> None:
    """Kills a process and those it has started, such as the compiler's."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"


class Workers:
    """Processes that are ready when they are wanted: there is always one more than were asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count, self.started = folder, 0, []
        self.spare = [self._start(), self._start()]

    def _start(self) -> Worker:
        self.count += 1
        self.started.append(Worker(self.folder / f"process_{self.count}.log"))
        return self.started[-1]

    @contextlib.contextmanager
    def pair(self) -> Iterator[tuple[Worker, Worker]]:
        """Two processes for one check: for the device, and for the CPU."""
        pair = self.spare.pop(0), self.spare.pop(0)
        self.spare = [self._start(), self._start()]
        try:
            yield pair
        finally:
            for worker in pair:
                worker.end()

    def end(self) -> None:
        for worker in self.started:
            worker.end()


# --- what is compared


def losses(folder: Path) -> list[float]:
    with (folder / "log" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def predictions(folder: Path) -> dict[str, dict[str, Any]]:
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return {made["id"]: made for made in map(json.loads, lines)}


def compare_losses(found: list[float], expected: list[float]) -> dict[str, str]:
    """Of one training on two devices. Raises Failed beyond FIRST_LOSS and LATER_LOSS."""
    if not found or len(found) != len(expected):
        raise Failed(f"{len(found)} optimiser steps instead of {len(expected)}")
    apart = [abs(f - e) / abs(e) for f, e in zip(found, expected, strict=True)]
    for step, share in enumerate(apart):
        allowed = LATER_LOSS if step else FIRST_LOSS
        if not share <= allowed:  # also where it is NaN
            raise Failed(
                f"the loss of step {step + 1} is {found[step]:.4f} and {expected[step]:.4f} on the CPU: {share:.1%}"
                f" apart, more than {allowed:.0%}"
            )
    return {"first loss": f"{found[0]:.4f} ({apart[0]:.2%})", "later losses": f"{max(apart[1:], default=0):.2%}"}


def compare_scores(found: dict[str, dict[str, Any]], expected: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Of one trained model on two devices. Raises Failed beyond SCORES, and where another label is chosen although the
    scores are clearly apart."""
    if not found or found.keys() != expected.keys():
        raise Failed(f"{len(found)} predictions instead of {len(expected)}, or of other clips")
    most, same = 0.0, 0
    for clip, made in found.items():
        there, here = made["scores"], expected[clip]["scores"]
        if there is None or here is None:
            raise Failed(f"{clip} has no scores: {made['error'] or expected[clip]['error']}")
        size = max(map(abs, here.values()))
        apart = max(abs(there[label] - score) for label, score in here.items()) / size
        if not apart <= SCORES:
            raise Failed(
                f"the scores of {clip} are {there} and {here} on the CPU: {apart:.1%} apart, more than {SCORES:.0%}"
            )
        best, second = sorted(here.values(), reverse=True)[:2]
        agree = made["lenient"] == expected[clip]["lenient"]
        if not agree and best - second > 2 * SCORES * size:
            raise Failed(f"{clip} is {made['lenient']} and {expected[clip]['lenient']} on the CPU, with scores {here}")
        most, same = max(most, apart), same + agree
    return {"scores": f"{most:.2%}", "labels": f"{same} of {len(found)}"}


# --- the checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where and how everything is run."""

    root: Path
    table: Path
    device: str
    width: int
    """Of the wide Qwen2.5-Omni."""
    workers: Workers

    @property
    def stand_in(self) -> bool:
        return self.device == "cpu"

    def words(self, check: str) -> list[str]:
        """Of train.py for a check, without the device."""
        family = "qwen_omni" if check in WIDE else check
        chosen = [f"model={MODELS[family]}", "model.name=tiny", *checkpoint(self.root, check, self.width)]
        size = ["model.num_frames=2", "model.frame_size=64", "finetuning.rank=8", "model.max_seconds=5"]
        length = ["trainer.max_epochs=2", "trainer.batch_size=4", "trainer.log_every=1", "evaluation.batch_size=4"]
        data = ["dataset=manifest", f"datasets.manifest.root={self.table}", "trainer.progress=false"]
        return [*chosen, *size, *length, *data, f"modalities={modalities(MODELS[family])}", *WIDE.get(check, [])]

    def places(self, side: str, check: str) -> list[str]:
        """Of each side its own, so that neither takes what the other has kept."""
        return [f"output_root={self.root / check / side}", f"cache_root={self.root / check / side / 'cache'}"]


def modalities(model: str) -> str:
    from affect.config import read_yaml
    from affect.config.groups import CONF

    return read_yaml(CONF / "model" / f"{model}.yaml")["modalities"]


def checkpoint(root: Path, check: str, width: int) -> list[str]:
    """Makes the tiny checkpoint of a check where it is not there, and gives the words that name it."""
    from tiny_families import BUILD
    from tiny_models import tiny_composed_language, tiny_siglip, tiny_whisper

    folder = root / "models" / ("wide" if check in WIDE else check)
    new = not folder.exists()
    if not check.startswith("composed"):
        if new and check in WIDE:
            wide_qwen_omni(folder, width)
        elif new:
            BUILD[check](folder)
        return [f"model.checkpoint={folder}"]
    if new:
        tiny_composed_language(folder / "language")
    words = [f"model.language={folder / 'language'}", "model.audio_tokens=2", "model.video_tokens=2"]
    if check == "composed":
        return [*words, "model.encoder_width=16"]
    if new:
        tiny_whisper(folder / "audio")
        tiny_siglip(folder / "vision")
    return [*words, f"model.audio={folder / 'audio'}", f"model.vision={folder / 'vision'}"]


def wide_qwen_omni(folder: Path, width: int) -> None:
    """A Qwen2.5-Omni whose language model has two layers of `width`. The spread of its weights falls with the width, so
    that what is computed with them is as large as in the tiny ones. They are numbers that bfloat16 has too: weights
    that loading rounds may come to lie nearer to another of the 16 levels of four bits."""
    import torch
    from tiny_models import qwen_processor, qwen_thinker_config
    from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

    processor = qwen_processor(chunk_length=30)
    plain = qwen_thinker_config(processor, width).to_dict()
    plain["text_config"]["initializer_range"] = plain["initializer_range"] = 0.2 * (64 / width) ** 0.5
    torch.manual_seed(0)
    model = Qwen2_5OmniThinkerForConditionalGeneration(Qwen2_5OmniThinkerConfig(**plain))
    processor.save_pretrained(folder)
    model.bfloat16().float().save_pretrained(folder)


def trained_and_evaluated(place: Place, check: str, until: float) -> dict[str, str]:
    """One model on the device and on the CPU. Gives the numbers of its row; raises Failed, or Skipped."""
    if check == "flash_attention":
        from transformers.utils import is_flash_attn_2_available

        if place.stand_in or not is_flash_attn_2_available():
            raise Skipped("the package flash-attn is not installed" if not place.stand_in else "it needs a GPU")
    words = place.words(check)
    # Kernels and compilation are the device's affair.
    plain = [word for word in words if not word.startswith(("model.attention=", "trainer.compile="))]
    theirs, ours = place.places("device", check), place.places("cpu", check)
    device = {"device": place.device, "stand_in": place.stand_in}
    cpu = {"device": "cpu", "stand_in": False}
    with place.workers.pair() as (one, other):
        one.ask(program="train", words=[*words, *theirs], **device)
        other.ask(program="train", words=[*plain, *ours], **cpu)
        found, expected = one.answer(until), in_reference(other, until)
        folder = Path(found["folder"])
        one.ask(program="evaluate", words=[f"run={folder}", *theirs], **device)
        other.ask(program="evaluate", words=[f"run={folder}", *ours], **cpu)
        again, there = one.answer(until), in_reference(other, until)
    numbers = {
        "samples/s": f"{found['rate']:.1f}",
        "peak memory": "" if found["peak"] is None else f"{found['peak'] / 1e6:.0f} MB",
    }
    numbers |= compare_losses(losses(folder), losses(Path(expected["folder"])))
    numbers |= compare_scores(predictions(folder), predictions(Path(there["folder"])))
    # The best checkpoint, loaded again on the device, is the model that was tested after training.
    compare_scores(predictions(Path(again["folder"])), predictions(folder))
    return numbers


def in_reference(worker: Worker, until: float) -> dict[str, Any]:
    try:
        return worker.answer(until)
    except Failed as error:
        raise Failed(f"on the CPU, {error}") from error


def gpu_tests(place: Place, until: float) -> dict[str, str]:
    """The tests marked gpu, of the files in which the mark is used."""
    mark = "pytest.mark." + "gpu"  # in two parts, so that no search for it finds this file
    files = sorted(path for path in TESTS.glob("test_*.py") if mark in path.read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "pytest", "--numprocesses=0", "-q", "-m", "gpu", *map(str, files)]
    log = place.root / "tests.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, cwd=TESTS.parent, start_new_session=True
        )
        try:
            code = process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Failed("they took too long") from None
        finally:
            end(process)
    said = last_line(log).strip("= ")
    if code:
        wrong = re.findall(r"^(?:FAILED|ERROR) (?:\S*/)?(\S+)", log.read_text(errors="replace"), re.MULTILINE)
        raise Failed(": ".join([said, ", ".join(wrong)]).rstrip(": "))
    if "passed" not in said:
        raise Skipped(said)
    return {"labels": said}


def run_checks(place: Place, checks: list[str], until: float) -> list[Row]:
    """A row a check, in this order, until the time is up; after that all are `not reached`."""
    rows = [Row(check=check) for check in checks]
    for row in rows:
        begin = time.monotonic()
        if until - begin < 1:
            break
        seconds = SECONDS.get(row.check, OTHER_SECONDS) * (PATIENCE if place.stand_in else 1)
        limit = min(until, begin + seconds)
        try:
            if row.check == GPU_TESTS:
                row.numbers = gpu_tests(place, limit)
            else:
                row.numbers = trained_and_evaluated(place, row.check, limit)
            row.result = "ok"
        except Skipped as why:
            row.result = f"skipped: {why}"
        except Exception as error:
            # What a check makes before it starts a process may fail too: that is its row, and not the end of the rest.
            row.result = f"failed: {error if isinstance(error, Failed) else reason(error)}"
        row.seconds = time.monotonic() - begin
        print(f"{row.check}: {row.result} ({row.seconds:.0f} s)", flush=True)
    return rows


COLUMNS = ("first loss", "later losses", "scores", "labels", "samples/s", "peak memory")


def markdown(rows: list[Row]) -> str:
    lines = [("check", *COLUMNS, "s", "result"), ("---",) * (len(COLUMNS) + 3)]
    for row in rows:
        numbers = (row.numbers.get(name, "") for name in COLUMNS)
        lines.append((row.check, *numbers, f"{row.seconds:.0f}", row.result.replace("|", "\\|")))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def described(device: str) -> str | None:
    """The device and the versions in a line; None where there is no such device. In a process of its own, so that
    nothing of the GPU is held by this one."""
    code = (
        "import sys, torch, transformers\n"
        "if sys.argv[1] == 'cpu':\n    name = 'CPU, bfloat16 for the GPU: NOT A GPU CHECK'\n"
        "elif torch.cuda.is_available():\n"
        "    name = f'{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, bfloat16'\n"
        "    name += '' if torch.cuda.is_bf16_supported(including_emulation=False) else ' is missing: float32'\n"
        "else:\n    sys.exit(3)\n"
        "print(f'{name}, torch {torch.__version__}, transformers {transformers.__version__}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, device], capture_output=True, text=True)
    if done.returncode == 3:
        return None
    if done.returncode:
        raise SystemExit(f"torch cannot be asked for a GPU: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu tries this script, and no GPU")
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything together")
    parser.add_argument("--only", default=",".join(CHECKS), help=f"some of {', '.join(CHECKS)}")
    parser.add_argument("--width", type=int, default=1024, help="of the wide model, a multiple of 64")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work()
    until = time.monotonic() + 60 * options.minutes
    checks = options.only.split(",")
    unknown = [check for check in checks if check not in CHECKS]
    if unknown:
        sys.exit(f"--only has {', '.join(unknown)}, which is no check: choose of {', '.join(CHECKS)}")
    os.environ["TQDM_DISABLE"] = "1"
    line = described(options.device)
    if line is None:
        sys.exit(
            "gpu_check needs a CUDA device, and torch finds none here: run it on a machine with one (nvidia-smi lists"
            " them); --device cpu tries the script itself"
        )
    print(line, flush=True)
    with tempfile.TemporaryDirectory(prefix="affect-gpu-check-") as temporary:
        root = Path(temporary)
        workers = Workers(root)
        try:
            from tiny_models import tiny_manifest

            table = tiny_manifest(root / "corpus", train=16, val=4, test=6)
            place = Place(root=root, table=table, device=options.device, width=options.width, workers=workers)
            rows = run_checks(place, checks, until)
        finally:
            workers.end()
    print(f"\n{line}\n\n{markdown(rows)}\n")
    wrong = [row for row in rows if row.result == "not reached" or row.result.startswith("failed")]
    if wrong:
        sys.exit(f"{len(wrong)} of {len(rows)} checks failed or were not reached: {', '.join(r.check for r in wrong)}")


if __name__ == "__main__":
    main()
