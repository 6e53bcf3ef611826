"""Self-MM's labels of single modalities: the unimodal label generation module (Yu et al., AAAI 2021, arXiv
2102.04830, Equations 3 to 9)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from affect.baselines.networks.self_mm import FUSED

SMALLEST = 1e-8
"""What is added to divisors."""


class UnimodalLabels(nn.Module):
    """An intensity of every training clip for each modality alone, made from the clip's own during training.

    All numbers are distances from the middle of the task's range, so that their signs are the two classes. With y_m the
    clip's gold number and F_i its representation of all modalities (i = m) or of one (i = s):

        C_i^p, C_i^n = mean F_i of the clips with positive and with negative labels y_i, as each was last seen
        D_i^p = ||F_i - C_i^p||² / √width, D_i^n alike     (`squared`; else ||F_i - C_i^p||, as in the public code)
        r_i = (D_i^n - D_i^p) / (D_i^p + ε)
        y_s = (y_m r_s / r_m) / 2 + (y_m + r_s - r_m) / 2, cut to ±bound        (r is the paper's alpha)
        y_s^(n) = (n - 1) / (n + 1) y_s^(n-1) + 2 / (n + 1) y_s    in epoch n = 2, 3, …;  y_s^(1) = y_m

    The cut is the public code's. In the loss a label weighs tanh(|y_s - y_m|): nothing in the first epoch.

    Labels by people take the place of generated ones and stay as they are. While a class is empty, no labels
    are generated. Clips that were not seen yet are in no centre.

    All state is in buffers, by the clip's place among the training clips, so that a checkpoint holds it; nothing is
    random.
    """

    def __init__(
        self,
        gold: Tensor,
        widths: Mapping[str, int],
        bound: float,
        by_people: Mapping[str, Tensor] | None = None,
        squared: bool = True,
    ) -> None:
        """gold: y_m[N]. widths: width of the representation, by modality and of FUSED. by_people: by modality [N], NaN
        where there is no label."""
        super().__init__()
        self.modalities = [name for name in widths if name != FUSED]
        self.bound, self.squared = bound, squared
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.register_buffer("seen", torch.zeros(len(gold), dtype=torch.bool))
        self.register_buffer("gold", gold.clone())
        for name, width in widths.items():
            self.register_buffer(f"{name}_representations", torch.zeros(len(gold), width))
        for modality in self.modalities:
            known = (by_people or {}).get(modality, torch.full_like(gold, torch.nan))
            self.register_buffer(f"{modality}_by_people", ~known.isnan())
            self.register_buffer(f"{modality}_labels", torch.where(known.isnan(), gold, known))

    def labels(self, modality: str) -> Tensor:
        """y_s[N] as they are now."""
        return self.get_buffer(f"{modality}_labels")

    def weights(self, modality: str, places: Tensor) -> Tensor:
        """tanh(|y_s - y_m|) of the clips at these places."""
        return (self.labels(modality)[places] - self.gold[places]).abs().tanh()

    def begin_epoch(self, epoch: int) -> None:
        """epoch: counted from 1."""
        self.epoch.fill_(epoch)

    def centres(self, name: str) -> Tensor:
        """C_i^p and C_i^n [2, width]; NaN where a class is empty."""
        labels = self.gold if name == FUSED else self.labels(name)
        members = (torch.stack([labels > 0, labels < 0]) & self.seen).float()
        return members @ self.get_buffer(f"{name}_representations") / members.sum(1, keepdim=True)

    @torch.no_grad()
    def update(self, places: Tensor, representations: Mapping[str, Tensor]) -> None:
        """Generates the labels of the clips at these places from the representations [B, width] they have just had,
        and keeps those for the centres. Nothing changes before the first epoch, when a batch is only tried.
        """
        if self.epoch == 0:
            return
        if self.epoch > 1:
            fused = self._relative_distance(FUSED, representations[FUSED])
            for modality in self.modalities:
                own = self._relative_distance(modality, representations[modality])
                self._generate(modality, places, own, fused)
        for name in (FUSED, *self.modalities):
            self.get_buffer(f"{name}_representations")[places] = representations[name].detach()
        self.seen[places] = True

    def _relative_distance(self, name: str, representations: Tensor) -> Tensor:
        """r_i [B]."""
        positive, negative = (
            torch.linalg.vector_norm(representations - centre, dim=1) for centre in self.centres(name)
        )
        if self.squared:
            root = representations.shape[1] ** 0.5
            positive, negative = positive.square() / root, negative.square() / root
        return (negative - positive) / (positive + SMALLEST)

    def _generate(self, modality: str, places: Tensor, own: Tensor, fused: Tensor) -> None:
        gold, before = self.gold[places], self.labels(modality)[places]
        ratio, shift = own / (fused + SMALLEST) * gold, gold + own - fused
        new = (0.5 * ratio + 0.5 * shift).clamp(-self.bound, self.bound)
        n = self.epoch.item()
        new = (n - 1) / (n + 1) * before + 2 / (n + 1) * new
        keep = self.get_buffer(f"{modality}_by_people")[places] | new.isnan()
        self.labels(modality)[places] = torch.where(keep, before, new)
