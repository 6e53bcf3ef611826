"""Paths of tables and clips, with hints if the root is one folder too high or too deep; the option `context`."""

from collections.abc import Sequence
from pathlib import Path

from affect.config import DataError
from affect.data.tables import missing_file


def table_path(root: Path, name: str) -> Path:
    """Path of the table `name` in `root`. Raises DataError if it is missing, naming a folder nearby that has it."""
    path = root / name
    if path.is_file():
        return path
    if folder := folder_nearby(root, name):
        raise DataError(f"{path} does not exist, but {folder / name} does: set the dataset's root to {folder}")
    raise missing_file(path)


def folder_nearby(root: Path, name: str) -> Path | None:
    """A folder nearby with the file `name`: one level up, one level down, or of a name similar to that of `root`."""
    folders = [root.parent]
    if root.is_dir():
        folders += sorted(folder for folder in root.iterdir() if folder.is_dir())
    elif root.parent.is_dir():
        # MMSA's folders are called MOSI, MOSEI, SIMS, ch-simsv2s; the configuration's mosi, mosei, sims, simsv2.
        folders += sorted(f for f in root.parent.iterdir() if f.is_dir() and root.name.casefold() in f.name.casefold())
    return next((folder for folder in folders if (folder / name).is_file()), None)


def clips_folder(root: Path, name: str) -> Path | None:
    """The folder `name` of `root`; None if there is none. Raises DataError if it is one folder deeper."""
    if (root / name).is_dir():
        return root / name
    for deeper in sorted(root.glob(f"*/{name}")):
        raise DataError(f"the clips are in {deeper}, but looked for in {root / name}: move the folder {name} there")
    return None


def check_context(context: int | None, dataset: str) -> None:
    """Raises DataError if the option `context` is negative."""
    if context is not None and context < 0:
        raise DataError(f"options.context={context} of {dataset} counts earlier turns: 0 is none, null is all")


def last(turns: Sequence[str], context: int | None) -> tuple[str, ...]:
    """The last `context` turns; all of them if it is None."""
    return tuple(turns if context is None else turns[max(0, len(turns) - context) :])
