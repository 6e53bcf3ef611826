"""The knowledge files of a run folder:

knowledge.json   who made the descriptions, and what they cost, by split and dataset
leak.json        what they give away, by task
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from affect.config import Config
from affect.config.logs import LOG, is_first
from affect.data.files import write_json
from affect.data.part import Part
from affect.knowledge import cost, leak_audit
from affect.knowledge.attach import Attached
from affect.prompting.messages import Example


def write(
    folder: Path,
    attached: Attached,
    parts: Sequence[Part],
    examples: Mapping[str, Sequence[Example]],
    count: Callable[[list[dict]], int],
    cfg: Config,
) -> None:
    """Writes both files, and says what the audit found; nothing where no description is shown. `examples` are the
    prompts by split, `parts` what is audited, `count` gives the text tokens of messages."""
    if not attached.modalities or not is_first():
        return
    audit = leak_audit.audit(parts, cfg)
    for sentence in leak_audit.in_words(audit):
        LOG.info(sentence)
    costs = {split: cost.by_dataset(those, count, attached.seconds) for split, those in examples.items()}
    write_json(folder / "leak.json", audit)
    write_json(folder / "knowledge.json", attached.account() | {"cost": costs})
