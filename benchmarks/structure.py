"""The rooms of affect/: files, lines, and the imports between them, upward ones and circles.

python benchmarks/structure.py [FOLDER]     FOLDER is a checkout; this one by default
"""

import ast
import sys
from collections import Counter
from pathlib import Path

ROOMS = ["config", "data", "prompting", "models", "baselines", "evaluation", "runs", "knowledge", "training", "reports"]
ROOMS += ["cli"]


def modules(root: Path) -> dict[str, Path]:
    """Path by module name."""
    paths = sorted((root / "affect").rglob("*.py"))
    return {".".join(p.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): p for p in paths}


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of affect that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "affect":
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name if name in known else str(node.module) for name in names}
    return found - {"affect"}


def place(module: str) -> str:
    """The folder of affect/ that a module lies in, or the module itself where it lies in none."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "affect"


def circles(graph: dict[str, set[str]]) -> list[str]:
    """What is left when modules without unresolved imports are taken away again and again."""
    left = {module: needs & graph.keys() - {module} for module, needs in graph.items()}
    while free := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in free:
            del left[module]
    return sorted(left)


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]
    known = modules(root)
    graph = {module: imports(path, known) for module, path in known.items()}
    lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in known.items()}
    places = Counter(map(place, known))
    print(f"{len(known)} modules in {len(places)} places directly under affect/, {sum(lines.values()):,} lines")
    for name in sorted(places, key=lambda name: (ROOMS.index(name) if name in ROOMS else len(ROOMS), name)):
        total = sum(count for module, count in lines.items() if place(module) == name)
        needs = Counter(place(i) for m, found in graph.items() if place(m) == name for i in found if place(i) != name)
        print(f"  {name:<18}{places[name]:>4} files {total:>7,} lines  imports {', '.join(sorted(needs)) or 'nothing'}")
    between = [(m, i) for m, found in graph.items() for i in found if place(m) != place(i)]
    upward = [
        (m, i)
        for m, i in between
        if {place(m), place(i)} <= set(ROOMS) and ROOMS.index(place(i)) > ROOMS.index(place(m))
    ]
    print(f"{len(between)} imports between places, {len(upward)} upward, modules in circles: {len(circles(graph))}")
    for module, imported in upward:
        print(f"  upward: {module} imports {imported}")


if __name__ == "__main__":
    main()
