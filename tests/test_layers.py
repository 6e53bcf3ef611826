"""Who may import whom, so that prompts, metrics, datasets and the configuration never wait for torch, and no file grows
into the place where everything ends up."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "affect"

GROUND = {
    "affect.record",
    "affect.tasks",
    "affect.config",
    "affect.tables",
    "affect.labels",
    "affect.serving",
    "affect.launch",
}
READERS = {"affect.datasets"}
PURE = {"affect.prompts", "affect.answers", "affect.metrics", "affect.fewshot", "affect.signs", "affect.thoughts"}
RUNS = {
    "affect.run",
    "affect.atomic",
    "affect.lifetime",
    "affect.splits",
    "affect.clip_rows",
    "affect.leakage",
    "affect.rules",
    "affect.prompt_rules",
    "affect.learning_rules",
    "affect.refusals",
    "affect.entry",
    "affect.inherit",
    "affect.interrupts",
    "affect.roles",
    "affect.imbalance",
    "affect.sweeps",
    "affect.sweep_points",
    "affect.sweep_yaml",
}
TENSORS = {
    "affect.media",
    "affect.models",
    "affect.readout",
    "affect.stream_hashes",
    "affect.adapters",
    "affect.cache",
    "affect.calibrate",
    "affect.corpus",
    "affect.corpus_clips",
    "affect.corpus_states",
    "affect.decoded",
    "affect.endpoint",
    "affect.tensor_files",
    "affect.four_bit",
    "affect.heads",
}
TRAINING = {
    "affect.alignment",
    "affect.compiled",
    "affect.data",
    "affect.duplicates",
    "affect.encoded",
    "affect.losses",
    "affect.memory",
    "affect.module",
    "affect.prefetch",
    "affect.processes",
    "affect.resume",
    "affect.samples",
    "affect.tracking",
    "affect.trainer",
}
KNOWLEDGE = {"affect.knowledge"}
REPORTS = {"affect.report"}
EXPORT = {"affect.export"}
ENTRIES = {"affect.show", "affect.score", "affect.doctor"}

CONFIGURATION = {"hydra", "omegaconf", "yaml"}
HEAVY = {"av", "bitsandbytes", "jinja2", "numpy", "peft", "rich", "safetensors", "torch", "transformers"}

# Each layer: its modules, the parts of affect it may import beside itself, and the libraries.
LAYERS = [
    ({"affect.record", "affect.tasks"}, set(), set()),
    ({"affect.tables"}, {"affect.record"}, set()),
    ({"affect.labels"}, {"affect.record", "affect.tasks"}, set()),
    ({"affect.pickles"}, {"affect.record"}, {"numpy"}),
    ({"affect.config"}, {"affect.tasks"}, CONFIGURATION),
    ({"affect.serving"}, set(), set()),
    ({"affect.launch"}, {"affect.config"}, set()),
    (
        READERS,
        {"affect.record", "affect.tasks", "affect.tables", "affect.labels", "affect.config", "affect.pickles"},
        set(),
    ),
    (PURE, GROUND | {"affect"}, {"numpy"}),
    # A rule asks the prompts what they would show.
    (RUNS, GROUND | READERS | {"affect", "affect.prompts"}, CONFIGURATION | {"rich"}),
    (TENSORS, GROUND | PURE | READERS, HEAVY | {"httpx"}),
    (TRAINING, GROUND | PURE | READERS | RUNS | TENSORS, HEAVY | {"lightning", "torchmetrics", "wandb"}),
    (
        KNOWLEDGE,
        GROUND | PURE | READERS | RUNS | TENSORS | TRAINING,
        HEAVY | {"cv2", "huggingface_hub", "omegaconf", "opencc", "pyarrow", "snowballstemmer"},
    ),
    (REPORTS, GROUND | PURE | RUNS | TENSORS | TRAINING, {"rich", "numpy"}),
    (
        EXPORT,
        GROUND | {"affect"} | PURE | RUNS | TENSORS | TRAINING | REPORTS | READERS,
        HEAVY | {"omegaconf"},
    ),
    (
        ENTRIES,
        GROUND | {"affect"} | PURE | RUNS | TENSORS | TRAINING | KNOWLEDGE | REPORTS | READERS,
        {"rich", "numpy"},
    ),
]

# (module, what it imports): the only steps upwards, each with its reason.
EXCEPTIONS = {
    # The demo corpus is rendered on first use, by a function that reading it never reaches.
    ("affect.datasets.demo", "affect.corpus"),
    # torch is waited for only where srun or torchrun started several processes, or another process started this one.
    ("affect.entry", "affect.processes"),
    # Words are pure: a cue or a language without any is refused before a run folder is made.
    ("affect.prompt_rules", "affect.knowledge.cue_words"),
}

# A reader knows the layout of one dataset. The package itself puts options and labels against the configuration.
READERS_MAY = {
    "affect.labels",
    "affect.record",
    "affect.tasks",
    "affect.tables",
    "affect.pickles",
    "affect.datasets.mmsa",
    "affect.datasets.places",
    "affect.datasets.scenes",
}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every module that a file imports, wherever in it, and whether only for type hints. `from affect import x` is
    affect.x where that is a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hints = {
        node
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and isinstance(test.test, ast.Name) and test.test.id == "TYPE_CHECKING"
        for node in ast.walk(test)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in hints) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide who imports whom"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if whole in MODULES else node.module, node in hints)


def inside(module: str, parts: set[str]) -> bool:
    """Whether a module is one of `parts` or lies in one; `affect` itself holds only the version."""
    return any(module == part or (part != "affect" and module.startswith(f"{part}.")) for part in parts)


def layer_of(module: str) -> tuple[set[str], set[str], set[str]]:
    found = [layer for layer in LAYERS if inside(module, layer[0])]
    assert len(found) == 1, f"{module} is in {len(found)} layers: give it a place in LAYERS, or the code another home"
    return found[0]


def test_the_imports_are_read_at_all():
    assert len(MODULES) > 25
    assert ("affect.corpus", False) in set(imports(MODULES["affect.datasets.demo"])), (
        "imports inside functions are missed"
    )
    assert ("torch", True) in set(imports(MODULES["affect.models"])), "imports for type hints are taken for real ones"
    assert ("affect.splits", False) in set(imports(ROOT / "train.py")), "`from affect import module` is missed"


@pytest.mark.parametrize("module", [name for name in MODULES if name != "affect"])
def test_a_module_imports_only_what_lies_below_it(module):
    own, parts, libraries = layer_of(module)
    for imported, only_for_hints in imports(MODULES[module]):
        top = imported.split(".")[0]
        if only_for_hints or top in sys.stdlib_module_names or (module, imported) in EXCEPTIONS:
            continue
        if top == "affect":
            assert inside(imported, own | parts), f"{module} imports {imported}, which is not below it"
        else:
            assert top in libraries, (
                f"{module} imports {imported}: {', '.join(sorted(libraries)) or 'the standard library'} is allowed"
            )


def test_every_exception_is_still_needed():
    for module, imported in EXCEPTIONS:
        assert imported in {name for name, _ in imports(MODULES[module])}, f"{module} no longer imports {imported}"


def test_there_are_no_circles():
    above: dict[str, set[str]] = {
        module: {
            name for name, hints in imports(path) if name in MODULES and not hints and (module, name) not in EXCEPTIONS
        }
        for module, path in MODULES.items()
    }
    done: set[str] = set()
    while len(done) < len(above):
        free = {module for module in above if module not in done and above[module] - {module} <= done}
        assert free, f"these import each other: {sorted(set(above) - done)}"
        done |= free


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("affect.datasets.")])
def test_a_reader_knows_neither_configuration_nor_other_readers(module):
    for imported, _ in imports(MODULES[module]):
        if imported.startswith("affect") and (module, imported) not in EXCEPTIONS:
            assert imported in READERS_MAY, f"{module} imports {imported}"


def test_what_must_be_quick_does_not_import_torch():
    light = [
        *(name for name in MODULES if inside(name, GROUND | READERS | PURE | RUNS)),
        "affect.show",
    ]
    assert {"affect.prompts", "affect.answers", "affect.metrics", "affect.datasets.meld", "affect.entry"} <= set(light)
    code = f"import sys, {', '.join(light)}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "affect" in loaded
    assert not loaded & {"torch", "transformers", "lightning", "peft", "torchmetrics", "av", "wandb"}


# ---------------------------------------------------------------- sizes and names


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize(("file", "most"), [("train.py", 90), ("evaluate.py", 90), ("affect/module.py", 200)])
def test_what_has_to_stay_readable_aloud_stays_short(file, most):
    assert lines(ROOT / file) <= most


def test_nothing_is_called_after_being_useful():
    parts = {part for name in MODULES for part in name.split(".")}
    assert not parts & {"util", "utils", "base", "helper", "helpers", "common", "misc", "core", "tools"}


def test_every_module_says_what_it_is_for():
    for module, path in MODULES.items():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{module} has no docstring"


def test_no_exception_is_swallowed():
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{module}, line {node.lineno}: a bare except"
                silent = all(isinstance(step, ast.Pass | ast.Continue) for step in node.body)
                broad = isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
                assert not (silent and broad), f"{module}, line {node.lineno}: every exception is passed over"
