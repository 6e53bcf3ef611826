"""The law of the rooms: a folder of affect/ imports those above it in ROOMS, and nothing imports in a circle."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = [
    "config",
    "data",
    "prompting",
    "models",
    "baselines",
    "evaluation",
    "runs",
    "knowledge",
    "training",
    "reports",
    "cli",
]
"""From the foundation up. `knowledge` and `training` do not know each other."""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in sorted((ROOT / "affect").rglob("*.py"))}


def imports(module: str) -> Iterator[str]:
    """Every module of affect that a module imports, wherever in it, type hints included."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.split(".")[0] == "affect":
            assert node.level == 0, f"{module}: relative imports hide who imports whom"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from {name if name in MODULES else node.module for name in names}


def test_a_room_imports_only_rooms_above_it() -> None:
    assert len(MODULES) > 100
    for module in MODULES:
        for imported in imports(module):
            here, there = ((*name.split("."), "", "")[1] for name in (module, imported))
            if here in ("", "__main__") or there in ("", here):
                continue
            assert ROOMS.index(there) < ROOMS.index(here), f"{module} imports {imported}, which lies below it"
            assert {here, there} != {"knowledge", "training"}, f"{module} imports {imported}"


def test_nothing_imports_in_a_circle() -> None:
    left = {module: set(imports(module)) - {module, "affect"} for module in MODULES}
    while free := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in free:
            del left[module]
    assert not left, f"these import each other: {sorted(left)}"


def test_every_folder_of_affect_is_a_room() -> None:
    folders = {path.name for path in (ROOT / "affect").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(ROOMS)


QUICK = (
    "config",
    "data.readers",
    "data.loading",
    "prompting.messages",
    "prompting.fewshot",
    "runs",
    "evaluation.attribution",
    "evaluation.conflict",
    "evaluation.metrics",
    "evaluation.error_analysis",
    "evaluation.parsing",
    "evaluation.probe",
    "cli.entry",
    "cli.program",
    "cli.checked",
    "cli.points",
    "cli.show",
)


def test_what_must_be_quick_does_not_import_torch() -> None:
    quick = [m for m in MODULES if any(f"{m}.".startswith(f"affect.{part}.") for part in QUICK)]
    assert {"affect.cli.program", "affect.data.readers.meld", "affect.evaluation.parsing"} <= set(quick)
    code = f"import sys, {', '.join(quick)}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "affect" in loaded
    assert not loaded & {"torch", "transformers", "lightning", "peft", "torchmetrics", "av", "wandb"}


def test_a_reader_knows_neither_configuration_nor_other_readers() -> None:
    readers = [name for name in MODULES if name.startswith("affect.data.readers.")]
    assert len(readers) > 15
    shared = {"affect.data.readers.mmsa", "affect.data.readers.places", "affect.data.readers.scenes"}
    for module in readers:
        for imported in imports(module):
            if imported.startswith("affect.data.readers."):
                assert imported in shared, f"{module} imports {imported}"
            assert imported != "affect.config.schema", f"{module} imports {imported}"
        for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "affect.config":
                names = {alias.name for alias in node.names}
                assert names <= {"DataError", "Kind", "Task", "Value"}, f"{module} imports {sorted(names)}"


def test_names_say_what_a_module_is_for() -> None:
    parts = {part for name in MODULES for part in name.split(".")}
    assert not parts & {"util", "utils", "base", "helper", "helpers", "common", "misc", "core", "tools"}
    for module, path in MODULES.items():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{module} has no docstring"


def test_no_exception_is_swallowed() -> None:
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{module}, line {node.lineno}: a bare except"
                silent = all(isinstance(step, ast.Pass | ast.Continue) for step in node.body)
                broad = isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
                assert not (silent and broad), f"{module}, line {node.lineno}: every exception is passed over"


def test_the_wheel_has_every_package() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    packages = {module_of(path.parent) for path in (ROOT / "affect").rglob("*.py")}
    assert {*listed} - {"affect.conf"} == packages
