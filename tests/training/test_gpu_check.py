"""The script behind make gpu_check: what it compares, what its table says, and its whole way on a CPU."""

import importlib.util
import math
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import forked_starts
import pytest
import torch
from tiny_families import BUILD

from affect.config import read_yaml

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_check.py"


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_check"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_family_is_checked(check: ModuleType) -> None:
    assert set(check.MODELS) == {*BUILD, "composed", "composed_pretrained"}
    for name, model in check.MODELS.items():
        config = read_yaml(ROOT / "conf" / "model" / f"{model}.yaml")
        family = config.get("family", "composed")
        assert name.removesuffix("_both_ways").removesuffix("_pretrained") == family, name
    assert set(check.CHECKS) == {"tests", *check.WIDE, *check.MODELS}
    assert len(check.CHECKS) == len(set(check.CHECKS))


def test_losses_that_are_too_far_apart_fail(check: ModuleType) -> None:
    assert check.compare_losses([6.0, 5.1], [6.06, 5.0]) == {"first loss": "6.0000 (0.99%)", "later losses": "2.00%"}
    for found, why in (
        ([6.2, 5.0], r"the loss of step 1 is 6.2000 and 6.0000 on the CPU: 3.3% apart, more than 2%"),
        ([6.0, 5.6], r"the loss of step 2 is 5.6000 and 5.0000 on the CPU: 12.0% apart, more than 10%"),
        ([6.0, math.nan], r"the loss of step 2 is nan"),
        ([6.0], r"1 optimiser steps instead of 2"),
        ([], r"0 optimiser steps instead of 2"),
    ):
        with pytest.raises(check.Failed, match=why):
            check.compare_losses(found, [6.0, 5.0])


def made(lenient: str, **scores: float) -> dict[str, Any]:
    return {"lenient": lenient, "scores": scores or None, "error": None if scores else "no scores here"}


def test_scores_that_are_too_far_apart_and_other_labels_fail(check: ModuleType) -> None:
    expected = {"a": made("joy", joy=-10.0, anger=-20.0), "b": made("joy", joy=-10.0, anger=-10.1)}
    close = {"a": made("joy", joy=-10.2, anger=-20.0), "b": made("anger", joy=-10.1, anger=-10.0)}
    # Of two that are nearly the same, rounding may choose the other.
    assert check.compare_scores(close, expected) == {"scores": "1.00%", "labels": "1 of 2"}
    for clip, why in (
        (made("joy", joy=-12.0, anger=-20.0), "the scores of a are .*: 10.0% apart, more than 5%"),
        (made("joy", joy=math.nan, anger=-20.0), "the scores of a are .*: nan% apart"),
        (made("anger", joy=-10.0, anger=-20.0), "a is anger and joy on the CPU"),
        (made("joy"), "a has no scores: no scores here"),
    ):
        with pytest.raises(check.Failed, match=why):
            check.compare_scores({**close, "a": clip}, expected)
    with pytest.raises(check.Failed, match="1 predictions instead of 2"):
        check.compare_scores({"a": expected["a"]}, expected)


def place(check: ModuleType, root: Path) -> Any:
    return check.Place(root=root, table=root / "clips.csv", device="cuda", width=64, workers=None)


def test_a_check_that_fails_is_a_row_and_the_next_one_begins(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one(_: Any, name: str, until: float) -> dict[str, str]:
        assert until - time.monotonic() <= check.OTHER_SECONDS
        match name:
            case "qwen_omni":
                raise check.Failed("OutOfMemoryError: CUDA out of memory.")
            case "flash_attention":
                raise check.Skipped("the package flash-attn is not installed")
            case "gemma4":
                raise RuntimeError("a | in\n\na message")
            case "phi4_multimodal":
                monkeypatch.setattr(check.time, "monotonic", lambda: math.inf)
        return {"samples/s": "12.0"}

    monkeypatch.setattr(check, "trained_and_evaluated", one)
    names = ["qwen_omni", "flash_attention", "gemma4", "composed", "phi4_multimodal", "voxtral"]
    now = time.monotonic()
    rows = check.run_checks(place(check, tmp_path), names, now + 60)
    assert [row.result for row in rows] == [
        "failed: OutOfMemoryError: CUDA out of memory.",
        "skipped: the package flash-attn is not installed",
        "failed: RuntimeError: a | in",
        "ok",
        "ok",
        "not reached",
    ]
    monkeypatch.undo()
    rows[4].seconds = 0.0
    lines = check.markdown(rows).splitlines()
    assert len(lines) == 8 and lines[5] == "| composed |  |  |  |  | 12.0 |  | 0 | ok |"
    assert lines[4].endswith(r"failed: RuntimeError: a \| in |") and lines[7].endswith("| not reached |")


def test_a_process_that_fails_dies_or_hangs_is_told_apart(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", forked_starts.Popen)
    worker = check.Worker(tmp_path / "log")
    try:
        job = {"program": "train", "device": "cpu", "stand_in": False}
        worker.ask(**job, words=["model=qwen2_5_omni_33b", f"output_root={tmp_path}"])
        with pytest.raises(check.Failed, match=r"(?s)qwen2_5_omni_33b"):
            worker.answer(time.monotonic() + 300)
        with pytest.raises(check.Failed, match="it took too long"):
            worker.answer(time.monotonic())
        worker.process.kill()
        with pytest.raises(check.Failed, match="its process ended with -9"):
            worker.answer(time.monotonic() + 60)
    finally:
        worker.end()


COMMAND = [sys.executable, str(SCRIPT)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_is_refused_in_a_sentence() -> None:
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=500)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(
        "gpu_check needs a CUDA device, and torch finds none here: run it on a machine with one"
    )
    assert "Traceback" not in done.stderr


def test_the_whole_way_on_a_cpu() -> None:
    """bfloat16 is not float32, so that a difference of nothing would mean that one side was compared with itself."""
    done = forked_starts.run([*COMMAND, "--device", "cpu", "--only", "qwen_omni"], timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOT A GPU CHECK" in done.stdout
    [row] = [line for line in done.stdout.splitlines() if line.startswith("| qwen_omni ")]
    _, _, first, later, scores, labels, rate, _, _, result, _ = (cell.strip() for cell in row.split("|"))
    assert result == "ok" and labels.endswith("of 6") and float(rate) > 0
    assert 0 < float(scores.rstrip("%")) < 5 and 0 < float(later.rstrip("%")) < 10
    assert not first.endswith("(0.00%)")
    wrong = forked_starts.run([*COMMAND, "--device", "cpu", "--only", "qwen"], timeout=500)
    assert wrong.returncode == 1 and "--only has qwen, which is no check: choose of sdpa, " in wrong.stderr
