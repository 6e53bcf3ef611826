"""Scores predictions that were made anywhere: affect score predictions=FILE dataset=NAME …

FILE is a .csv, .tsv or .jsonl table with a row a record:

    id,prediction                   id,prediction,target
    meld/test/0/0,surprise          0/0,"The speaker is surprised.",surprise
    meld/test/0/1,anger             0/1,,anger

`id` is the record's id, or what follows dataset and split in it. `prediction` is a label, a number or the text a model
answered, and is read as the answers of affect's own models are; an empty cell is no answer. Without the column `target`
the gold labels are those of the dataset, and every record of the split is expected to have a row; with it they are
those of the file, and the dataset's files are not needed. A dataset with several tasks needs the column `task`, or the
task named: datasets.NAME.tasks=[emotion]. The split is evaluation.split. Where it is test, the ledger of test splits in
output_root gets a line.
"""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

from affect.cli.entry import entry
from affect.config import Config, ConfigError, WriteError
from affect.evaluation.external import score
from affect.runs import ledger
from affect.runs.identity import configuration_sha256


@entry("score", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    if cfg.predictions is None:
        raise ConfigError("predictions is not set: name the table of predictions, predictions=FILE")
    # The reading of a dataset may say something; standard output is for the result alone.
    with redirect_stdout(sys.stderr):
        result = score(Path(cfg.predictions), cfg, cfg.evaluation.split)
    if cfg.evaluation.split == ledger.SPLIT:
        account = {"dataset": result["dataset"], "ids_sha256": result["ids_sha256"], "used": result["clips"]}
        predicted = Path(cfg.predictions)
        try:
            lines = ledger.openings(predicted, "score", configuration_sha256(cfg), [account], predicted)
            ledger.append(Path(cfg.output_root), lines)
        except WriteError as error:
            # Nothing else is written here, and predictions may be scored where nothing can be.
            result["notes"].append(f"this evaluation of a test split is in no ledger: {error}")
    for note in result["notes"]:
        print(note, file=sys.stderr)
    print(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False))
