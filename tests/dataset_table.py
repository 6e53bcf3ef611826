"""Writes the table of datasets in docs/data.md and the list of them in README.md: python tests/dataset_table.py"""

import re
from pathlib import Path

from omegaconf import OmegaConf

from affect.config import DatasetConfig
from affect.config.groups import CONF
from affect.data import SPLITS, readers
from affect.data.counts import total

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES = {"en": "English", "zh": "Mandarin"}
TABLE = re.compile(r"^\| `dataset` \| tasks .*?(?=^Files are looked for)", re.MULTILINE | re.DOTALL)
NAMES = re.compile(
    r"(?<=^\| `dataset` \| training and evaluation data; several with `\[a,b\]` \| ).*(?= \|$)", re.MULTILINE
)


def configurations() -> dict[str, DatasetConfig]:
    """The shipped datasets by name."""
    found = {}
    for path in sorted((CONF / "dataset").glob("*.yaml")):
        plain = OmegaConf.load(path)
        plain.root = "nowhere"
        found[path.stem] = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(DatasetConfig), plain))
    return found


def counts(config: DatasetConfig) -> str:
    """Published records of train, val and test, or of all together where these are not published one by one."""
    published = readers.published(config)
    by_split = {each.splits[0]: each for each in published if len(each.splits) == 1}
    if by_split.keys() == set(SPLITS):
        exact = all(each.exact for each in by_split.values())
        return ("" if exact else "about ") + " / ".join(f"{by_split[split].count:,}" for split in SPLITS)
    together = total(published)
    return "–" if together is None else f"{together.count:,}"


def table() -> str:
    """The table and the list of known issues below it."""
    lines = [
        "| `dataset` | tasks | language | published clips (train / val / test, or all) | licence |",
        "|---|---|---|---|---|",
    ]
    issues = []
    for name, config in configurations().items():
        module = readers.module(config.reader)
        language = "any" if name == "manifest" else LANGUAGES[config.language]
        tasks = "yours: [your own clips](own_clips.md)" if name == "manifest" else ", ".join(config.task_definitions)
        lines.append(f"| `{name}` | {tasks} | {language} | {counts(config)} | {module.LICENCE} |")
        issues += [f"- `{name}`: {issue.what}" for issue in module.KNOWN_ISSUES]
    return "\n".join(
        [
            *lines,
            "",
            "Known issues, which every copy has, and which `affect doctor` lists by clip:",
            "",
            *issues,
            "",
            "",
        ]
    )


def names() -> str:
    first = ["demo", "manifest"]
    others = [name for name in configurations() if name not in first]
    return ", ".join(f"`{name}`" + (" (default)" if name == "demo" else "") for name in [*first, *others])


def updated() -> dict[Path, str]:
    """By file, its text with the table or list as it should be."""
    texts = {}
    for path, pattern, content in ((ROOT / "docs" / "data.md", TABLE, table()), (ROOT / "README.md", NAMES, names())):
        text = path.read_text(encoding="utf-8")
        assert len(pattern.findall(text)) == 1, path
        texts[path] = pattern.sub(lambda _, content=content: content, text)
    return texts


if __name__ == "__main__":
    for path, text in updated().items():
        path.write_text(text, encoding="utf-8")
