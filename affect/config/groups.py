"""The files in conf/: its folder, and the choices of each group."""

from pathlib import Path

from hydra.core.config_store import ConfigStore

PACKAGE = Path(__file__).resolve().parents[1]

CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
"""Folder of the configuration files: inside an installed package, beside the package in a checkout."""

DELTAS = ("experiment", "sweep")
"""Groups of files that change the rest."""


def choices(group: str) -> list[str]:
    """The files of conf/<group>/, or the names of the schemas."""
    if group == "schema":
        return [name.removesuffix(".yaml") for name in ConfigStore.instance().list(group)]
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))
