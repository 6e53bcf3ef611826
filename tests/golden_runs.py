"""Runs whose numbers a change of structure must not move: losses, predictions and metrics of tiny models.

    python tests/golden_runs.py FILE     writes them to FILE in full precision, to compare two commits on one machine
    python tests/golden_runs.py          writes them rounded to tests/golden/runs.json, after a change that is meant

Other processors differ in the last digits. tests/runs/test_resume.py holds a
resumed run equal to an uninterrupted one.
"""

import contextlib
import csv
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import tiny_families  # noqa: E402
from tiny_models import SMALL_CLIPS, tiny_manifest, tiny_words  # noqa: E402

GOLDEN = Path(__file__).parent / "golden" / "runs.json"

TRAINING = (
    "seed=3",
    "trainer.max_epochs=2",
    "trainer.batch_size=2",
    "trainer.log_every=1",
    "model.max_seconds=5",
    "finetuning.learning_rate=1e-2",
)
NATIVE = {
    "qwen2_5_omni_3b": (tiny_families.qwen_omni, "tav"),
    "gemma4_e2b": (tiny_families.gemma4, "tav"),
    "voxtral_mini_3b": (tiny_families.voxtral, "ta"),
}
"""Native models by configuration, with what makes a tiny checkpoint and the modalities it takes."""


def words_of(root: Path, model: str) -> list[str]:
    """The words that choose the tiny model."""
    if model == "composed":
        return tiny_words(root)
    make, modalities = NATIVE[model]
    folder = root / model
    if not folder.exists():
        make(folder)
    chosen = [f"model={model}", f"model.checkpoint={folder}", "model.name=tiny", f"modalities={modalities}"]
    frames = SMALL_CLIPS if "v" in modalities else ()
    return [*chosen, *frames, "finetuning.rank=2", "trainer.progress=false", f"cache_root={root / 'cache'}"]


def trainings(root: Path) -> dict[str, list[str]]:
    """Name and words of every training."""
    data = ["dataset=manifest", f"datasets.manifest.root={root / 'corpus' / 'clips.csv'}", *TRAINING]
    composed = [*words_of(root, "composed"), *data]
    nothing_kept = ["trainer.encoder_cache=off", "trainer.clip_cache_gb=0"]
    cues = ["prompting=knowledge", "knowledge=cues"]
    native = {model: [*words_of(root, model), *data] for model in NATIVE}
    return {
        "composed": composed,
        "composed_nothing_kept": [*composed, *nothing_kept],
        "composed_cues": [*composed, *cues],
        "composed_head": [*composed, "finetuning.target=head", "evaluation=head"],
        **native,
        "qwen2_5_omni_3b_nothing_kept": [*native["qwen2_5_omni_3b"], *nothing_kept],
    }


EVALUATIONS = {
    "composed": ("generate", "constrained"),
    "composed_cues": ("generate",),
    "qwen2_5_omni_3b": ("generate",),
    "gemma4_e2b": ("generate",),
    "voxtral_mini_3b": ("generate", "constrained"),
}
"""Readouts with which a training is evaluated once more; it is scored at its own end."""


@contextlib.contextmanager
def arguments(words: list[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, words
    os.environ.pop("AFFECT_STAMP", None)
    try:
        yield
    finally:
        sys.argv = before


def ran(program: Callable[[], None], words: list[str], output: Path) -> Path:
    """Runs train or evaluate in this process; gives the run folder."""
    before = set(output.glob("*/"))
    with arguments(["program", *words, f"output_root={output}"]), contextlib.redirect_stdout(io.StringIO()):
        program()
    [folder] = set(output.glob("*/")) - before
    return folder


def numbers(folder: Path) -> dict[str, Any]:
    """What a run folder says: losses by step, predictions, and the numbers of every task."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    predictions = [json.loads(line) for line in (folder / "predictions.jsonl").read_text("utf-8").splitlines()]
    keys = ("id", "task", "answer", "exact", "lenient", "outcome", "scores")
    found = {
        "tasks": {name: _floats(task) for name, task in metrics["tasks"].items()},
        "predictions": [{key: prediction[key] for key in keys} for prediction in predictions],
    }
    log = folder / "log" / "metrics.csv"
    if log.is_file():
        with log.open(encoding="utf-8", newline="") as file:
            found["losses"] = [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]
    return found


def _floats(task: dict[str, Any]) -> dict[str, float]:
    return {key: value for key, value in task.items() if isinstance(value, float)}


def all_numbers(root: Path) -> dict[str, Any]:
    """The numbers of every training and evaluation, by name, made in the empty folder `root`."""
    import evaluate
    import train

    (root / "outputs").mkdir()
    tiny_manifest(root / "corpus", train=9)
    found: dict[str, Any] = {}
    for name, words in trainings(root).items():
        folder = ran(train.main, words, root / "outputs")
        found[name] = numbers(folder)
        for readout in EVALUATIONS.get(name, ()):
            given = [f"run={folder}", f"evaluation={readout}", "trainer.progress=false", f"cache_root={root / 'cache'}"]
            found[f"{name} {readout}"] = numbers(ran(evaluate.main, given, root / "outputs"))
    return found


def rounded(value: Any) -> Any:
    """Every number to five significant digits."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as temporary:
        made = all_numbers(Path(temporary))
    file, content = (Path(sys.argv[1]), made) if len(sys.argv) > 1 else (GOLDEN, rounded(made))
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
