"""What an evaluation changes in each of its clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from affect.config import DatasetConfig, Intervention, InterventionConfig
from affect.config.logs import LOG, is_first
from affect.data.interventions.draws import dropped, partners
from affect.data.part import Part
from affect.data.record import Record

DROPS = {Intervention.drop_audio: Intervention.mute, Intervention.drop_video: Intervention.blank}
"""What happens to the clips that lose a modality. The prompt keeps its place for it, since the clips of a batch have
the same modalities, and a network has features of all: modalities=… is the run that is not given it at all."""

SWAPS = {Intervention.swap_audio: "audio", Intervention.swap_video: "video"}
"""The track that is taken from another clip."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An intervention, and the clips that it is made in. Without arguments nothing is changed."""

    config: InterventionConfig = field(default_factory=InterventionConfig)
    dropped: frozenset[str] = frozenset()
    """Ids of the clips that lose a modality, where a share of them does."""
    partners: Mapping[str, Record] = field(default_factory=dict)
    """By id, for a swap: the record that sound or picture is taken from."""

    def of(self, record: Record) -> InterventionConfig:
        """What is done to the clip of a record."""
        name = self.config.name
        if name in DROPS:
            return InterventionConfig(name=DROPS[name] if record.id in self.dropped else Intervention.none)
        return self.config

    def key(self, record: Record) -> list[str | float]:
        """What tells the changed clip from the unchanged one, but for the partner: nothing where it is unchanged."""
        config = self.of(record)
        if config.name in (Intervention.none, Intervention.text_masked, Intervention.asr_text):
            return []
        if config.name in SWAPS:
            return [config.name.value]  # who the partner is says all that its seed does
        return [config.name.value, *config.strengths.values()]


def plan(parts: Sequence[Part], config: InterventionConfig, datasets: Mapping[str, DatasetConfig]) -> Plan:
    """The plan of an intervention for the records of `parts`. Records that cannot be swapped are moved to the
    exclusions of their part; raises DataError where none is left."""
    ids: frozenset[str] = frozenset()
    chosen: dict[str, Record] = {}
    for part in parts:
        where = f"intervention={config}: {part.dataset} {part.split}"
        if config.name in DROPS:
            own = dropped((record.id for record in part.records), config.share, config.seed)
            ids |= own
            _say(f"{where}: {len(own):,} of {len(part.records):,} clips are given as {DROPS[config.name].value}")
        if config.name in SWAPS:
            dataset = datasets[part.dataset]
            found = partners(part.records, [dataset.task_definitions[name] for name in dataset.tasks], config.seed)
            reason = f"no other clip to swap {SWAPS[config.name]} with: it has no label, or none has another"
            without = {record.id: reason for record in part.records if record.id not in found}
            part.leave_out(without)
            chosen |= found
            left_out = f"; {len(without):,} without such a clip are left out" if without else ""
            _say(f"{where}: {len(found):,} clips get the {SWAPS[config.name]} of one with another label{left_out}")
    return Plan(config, ids, chosen)


def _say(sentence: str) -> None:
    if is_first():
        LOG.info(sentence)
