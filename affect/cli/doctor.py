"""Examines datasets as they are on disk, and says for each finding what to do:

    affect doctor dataset=meld data_root=/data
    affect doctor dataset=[meld,mustard] data_root=/data modalities=t

Counts are held against the published ones by split and class; clips are decoded once, and what was measured of them is
kept under cache_root: a run that was stopped goes on where it was, and a second one decodes nothing. modalities=t looks
at annotations alone, and works without clips. strict=true exits with 1 where a finding is an error. The findings are
kept in cache_root/doctor/DATASET.json, with the ids of all records they are about."""

import sys

from affect.cli.program import entry
from affect.config import Config


@entry("doctor", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    from pathlib import Path

    from affect.config import DataError
    from affect.data.audit.examine import examine
    from affect.data.audit.progress import Bars
    from affect.data.audit.table import console, show
    from affect.data.files import write_json

    cache_root = Path(cfg.cache_root).expanduser()
    folder = cache_root / "doctor"
    try:  # before hours of decoding
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be made ({error.strerror}): name another, cache_root=…") from error
    out = console()
    refused: list[str] = []
    num_errors = 0
    for name, config in cfg.datasets.items():
        try:
            with Bars(name, enabled=cfg.trainer.progress) as bars:
                found = examine(
                    name,
                    config,
                    modalities=cfg.modalities,
                    cache_root=cache_root,
                    max_seconds=cfg.model.max_seconds,
                    num_workers=cfg.trainer.check_workers,
                    progress=bars.advance,
                )
        except DataError as error:
            # The other datasets are examined all the same.
            refused.append(str(error))
            continue
        write_json(folder / f"{name}.json", found.as_json())
        show(found, out)
        out.print(f"Kept in {folder / f'{name}.json'}\n", soft_wrap=True)
        num_errors += found.num_errors
    if refused:
        raise DataError("\n".join(refused))
    if cfg.strict and num_errors:
        print(f"strict=true: {num_errors} of the findings are errors", file=sys.stderr)
        sys.exit(1)
