"""Scores predictions that were made anywhere: affect score predictions=FILE dataset=NAME …

FILE is a .csv, .tsv or .jsonl table with a row a record:

    id,prediction                   id,prediction,target
    meld/test/0/0,surprise          0/0,"The speaker is surprised.",surprise
    meld/test/0/1,anger             0/1,,anger

`id` is the record's id, or what follows dataset and split in it. `prediction` is a label, a number or the text a model
answered, and is read as the answers of affect's own models are; an empty cell is no answer. Without the column `target`
the gold labels are those of the dataset, and every record of the split is expected to have a row; with it they are
those of the file, and the dataset's files are not needed. A dataset with several tasks needs the column `task`, or the
task named: datasets.NAME.tasks=[emotion]. The split is evaluation.split.
"""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

from affect.cli.entry import entry
from affect.config import Config, ConfigError
from affect.evaluation.external import score


@entry("score", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    if cfg.predictions is None:
        raise ConfigError("predictions is not set: name the table of predictions, predictions=FILE")
    # The reading of a dataset may say something; standard output is for the result alone.
    with redirect_stdout(sys.stderr):
        result = score(Path(cfg.predictions), cfg, cfg.evaluation.split)
    for note in result["notes"]:
        print(note, file=sys.stderr)
    print(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False))
