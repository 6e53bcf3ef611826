"""How good the stored descriptions of clips are:

    affect knowledge quality dataset=demo
    affect knowledge quality run=outputs/my_run

Words for what is measured (loud, high pitch, smile, …) are held against the measurements of the clip; length,
repetition, empty phrases and texts that several clips share are counted. All generators of the store are looked at, and
compared clip by clip. With run=… also how descriptions of clips that the run has right differ from those of clips it
has wrong. knowledge.splits=[test] looks at these splits alone; a run at the split it was evaluated on. Every
description with its verdicts is written to cache_root/quality/DATASETS.json.

judge=true also has a model behind a server rate every description, also beside run=…, whose own model is not asked:

    affect knowledge quality dataset=demo judge=true model=server model.url=http://localhost:8000/v1 model.served=NAME

Its answers are kept, and only missing ones are asked for. It sees neither labels nor predictions."""

from affect.cli.entry import entry
from affect.config import Config


@entry("quality", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    from dataclasses import asdict
    from pathlib import Path

    from affect.cli.meter import Meter
    from affect.data import loading
    from affect.data.files import write_json
    from affect.data.progress import terminal
    from affect.knowledge.quality.analysis import analyse
    from affect.knowledge.quality.ratings import rate
    from affect.reports.console import print_line, print_section
    from affect.reports.description_quality import (
        one_line,
        sections,
        sections_of_judge,
        sentences,
        sentences_of_judge,
    )

    parts = loading.read(cfg, cfg.knowledge.splits if cfg.run is None else [cfg.evaluation.split])
    quality = analyse(parts, cfg)
    path = Path(cfg.cache_root).expanduser() / "quality" / f"{'+'.join(cfg.datasets)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(quality))
    out = terminal()
    for section in sections(quality):
        print_section(section, out)
    for line in sentences(quality):
        print_line(out, one_line(line))
    if cfg.judge:
        records = [record for part in parts for record in part.records]
        with Meter(cfg.trainer.progress, "answers of the judge", "judging") as meter:
            ratings = rate(quality, records, cfg, meter.begin, meter.advance)
        write_json(path, {**asdict(quality), "judge": asdict(ratings)})
        for section in sections_of_judge(ratings, quality):
            print_section(section, out)
        for line in sentences_of_judge(ratings):
            print_line(out, one_line(line))
    print_line(out, f"Kept in {path}")
