"""What a run folder keeps of the knowledge in its prompts, beside the predictions:

knowledge.json   who made the descriptions, and what they cost, by split and dataset
leak.json        what they give away, by task
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from affect.atomic import write_json
from affect.config import Config
from affect.knowledge import cost, leak
from affect.knowledge.attach import Attached
from affect.lifetime import is_first, say
from affect.prompts import Example
from affect.splits import Part


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
    audit = leak.audit(parts, cfg)
    for sentence in leak.in_words(audit):
        say(sentence)
    costs = {split: cost.by_dataset(those, count, attached.seconds) for split, those in examples.items()}
    write_json(folder / "leak.json", audit)
    write_json(folder / "knowledge.json", attached.account() | {"cost": costs})
