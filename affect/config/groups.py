"""The files in conf/: its folder, and the choices of each group."""

import re
from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]

CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
"""Folder of the configuration files: inside an installed package, beside the package in a checkout."""

DELTAS = ("experiment", "sweep", "launcher")
"""Groups of files that change the rest."""


def choices(group: str) -> list[str]:
    """The files of conf/<group>/, or the names of the schemas."""
    if group == "schema":
        from hydra.core.config_store import ConfigStore  # a tenth of a second, which --help does without

        return [name.removesuffix(".yaml") for name in ConfigStore.instance().list(group)]
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def datasets_chosen(words: Sequence[str]) -> list[str]:
    """A word that chooses the datasets whose keys `words` give (datasets.meld.root=…) beside resume=… or run=…; Hydra
    knows the keys of chosen datasets alone, and the command line does not choose those of the run. No word where the
    command line chooses datasets itself."""
    if not any(word.startswith(("resume=", "run=")) for word in words):
        return []
    if any(re.match(r"[+~]*dataset[=@]", word) for word in words):
        return []
    matches = (re.match(r"[+~]*datasets\.([^.=]+)\.", word) for word in words)
    names = dict.fromkeys(match[1] for match in matches if match and (CONF / "dataset" / f"{match[1]}.yaml").is_file())
    return [f"dataset=[{','.join(names)}]"] if names else []


def own_words(words: Sequence[str], given: Sequence[str]) -> list[str]:
    """`words` without the one that `datasets_chosen` has added."""
    return [word for word in words if not (datasets_chosen(given) and word.startswith("dataset="))]
