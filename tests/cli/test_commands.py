"""The command `affect` and its subcommands: help, versions, mistakes, and what `affect config` explains."""

import os
import subprocess
import sys
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import pytest

from affect import __version__
from affect.cli import commands
from affect.cli.config import SCHEMAS, docstrings, explain
from affect.config import FAMILIES, GROUPS, ConfigError

ROOT = Path(__file__).resolve().parents[2]


def affect(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "affect", *words]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_says_what_there_is(tmp_path: Path) -> None:
    for words in ((), ("--help",), ("-h",)):
        done = affect(*words, cwd=tmp_path)
        assert done.returncode == 0 and done.stderr == ""
        assert all(f"\n  {name}  " in done.stdout for name in commands.COMMANDS)
    assert affect("--version", cwd=tmp_path).stdout == f"affect {__version__}\n"
    wrong = affect("trian", cwd=tmp_path)
    assert wrong.returncode == 1 and "there is no command 'trian', did you mean 'train'?" in wrong.stderr


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_every_command_has_a_program_and_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(import_module(f"affect.cli.{name}").main)
    monkeypatch.setattr(sys, "argv", ["affect", name, "--help"])
    try:
        commands.main()
    except SystemExit as end:
        assert end.code in (0, None)
    said = capsys.readouterr().out
    assert f"affect {name}" in said or f"python {name}.py" in said
    assert "python -m affect." not in said


def test_a_program_runs_from_any_folder(tmp_path: Path) -> None:
    done = affect("train", "experiment=demo", "dry_run=true", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "train: smollm2 on demo (emotion), modalities=tav" in done.stdout and not list(tmp_path.iterdir())


def test_every_group_is_explained() -> None:
    assert set(GROUPS) <= set(SCHEMAS)


@pytest.mark.parametrize("group", SCHEMAS)
def test_every_key_of_a_group_is_explained(group: str) -> None:
    said, schema = explain(group), SCHEMAS[group]
    prefix = "" if group == "run" else f"{group}."
    hints = get_type_hints(schema)
    keys = [field.name for field in fields(schema) if not is_dataclass(hints[field.name])]
    assert keys
    for key in keys:
        assert f"{prefix}{key}  (" in said, key
    meanings = docstrings(schema)
    assert [key for key in keys if not meanings.get(key)] == []


def test_families_and_mistakes() -> None:
    assert "model.checkpoint  (str, default required)" in explain("model", "gemma4")
    assert "model.attention  (" in explain("model", "gemma4") and "model.attention  (" not in explain("model", "mult")
    assert "finetuning.method  (lora|rslora|dora|pissa, default lora)" in explain("finetuning")
    assert "Scaled by alpha / √rank" in explain("finetuning")
    assert "knowledge.also  (list[none|cues|mllm|server|file], default [])" in explain("knowledge")
    assert "trainer.max_batches  (int | null, at least 1, default null)" in explain("trainer")
    assert "trainer.progress  (bool, default true)  [runtime]" in explain("trainer")
    assert "  [location]" in explain("run") and "  [data location]" in explain("dataset")
    for family, schema in FAMILIES.items():
        assert [field.name for field in fields(schema) if field.name not in docstrings(schema)] == [], family
    assert set(FAMILIES) >= {"composed", "server"}
    for words, sentence in (
        (("finetunning",), "there is no group 'finetunning', did you mean 'finetuning'?"),
        (("model", "gema4"), "there is no family 'gema4', did you mean 'gemma4'?"),
        (("trainer", "gemma4"), "takes one group, or `model` and a family"),
    ):
        with pytest.raises(ConfigError) as refused:
            explain(*words)
        assert sentence in str(refused.value)
