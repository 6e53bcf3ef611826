"""Audits datasets on disk, and says for each finding what to do:

    affect doctor dataset=meld data_root=/data
    affect doctor dataset=[meld,mustard] data_root=/data modalities=t

Counts are compared with the published ones by split and class. Clips are decoded once, and their measurements are
cached under cache_root: an interrupted audit continues, and a second one decodes nothing. modalities=t audits the
annotations alone, and works without clips. strict=true exits with 1 where a finding is an error. The findings are
written to cache_root/doctor/DATASET.json, with the ids of all records they are about."""

import sys

from affect.cli.entry import entry
from affect.config import Config


@entry("doctor", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    from pathlib import Path

    from affect.config import DataError
    from affect.data.audit.examine import examine
    from affect.data.audit.table import console, show
    from affect.data.files import write_json
    from affect.data.progress import progress

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
            with progress(cfg.trainer.progress) as bar:
                examination = examine(
                    name,
                    config,
                    modalities=cfg.modalities,
                    cache_root=cache_root,
                    max_seconds=cfg.model.max_seconds,
                    num_workers=cfg.trainer.check_workers,
                    bar=bar,
                )
        except DataError as error:
            # The other datasets are examined all the same.
            refused.append(str(error))
            continue
        write_json(folder / f"{name}.json", examination.as_json())
        show(examination, out)
        out.print(f"Kept in {folder / f'{name}.json'}\n", soft_wrap=True)
        num_errors += examination.num_errors
    if refused:
        raise DataError("\n".join(refused))
    if cfg.strict and num_errors:
        print(f"strict=true: {num_errors} of the findings are errors", file=sys.stderr)
        sys.exit(1)
