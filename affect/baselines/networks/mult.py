"""MulT: Multimodal Transformer (Tsai, Bai, Liang, Kolter, Morency, Salakhutdinov, ACL 2019, arXiv 1906.00295)."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affect.baselines.networks.dropout import Dropout, dropped
from affect.baselines.networks.fused import Fused
from affect.baselines.networks.sequences import in_order, last_step, real_steps
from affect.config.fusion import MultConfig

LEAST_MEMORY_LAYERS = 3
"""What the public code gives a self-attention transformer at least."""

SHARE_WITHIN = 1.5
"""Pairs of modalities are computed in one go while padding them to one length costs at most this factor."""


class MulT(nn.Module):
    """Every modality attends to every other one; self-attention over the results; the last steps are joined.

    x_m = Conv1D(features of m)                               [B, T_m, d], without padding: T_m = steps - kernel + 1
    z_{s→m} = D layers of cross-modal attention from x_m to the low-level x_s, both scaled and with positions
    h_m = last step of self-attention layers over [z_{s→m}; z_{s'→m}]
    states = h + W_2 dropout(ReLU(W_1 h)),  h = [h_L; h_A; h_V]

    Mapping, from our names to those of the public implementation (https://github.com/yaohungt/Multimodal-Transformer,
    and MMSA's MULT):
        convolutions.text, .audio, .video    proj_l, proj_a, proj_v
        crossmodal                           the six trans_x_with_y, stacked: number g is target, source = pairs[g],
                                             in the order a_with_l, v_with_l, l_with_a, v_with_a, l_with_v, a_with_v
        memory                               trans_l_mem, trans_a_mem, trans_v_mem, stacked in this order
        project_in, project_out              proj1, proj2
        the task's output layer              out_layer
    Within a stacked transformer, every parameter has one more dimension in front, the number g (see
    StackedTransformer). `pairs` and `memory` follow the modalities given: with two, h_m is of one z; with one, of x_m
    itself, and there is no cross-modal attention.

    What differs from the public code: that has no lengths, so padding took part in attention, and the last step could
    be padding. Here padding is no key, the future mask counts from each clip's own ends, and the last step is the
    clip's own. At full length the formulas are the same. Features that are `hidden` wide have a convolution too, which
    the public code leaves out. Keys and values share one dropout of their positions.

    Parameters, the output layer of one intensity included: the paper states no number. The public code's defaults (d
    30, 5 layers, kernels 1) come to 1,071,211 with CMU-MOSI's 300, 5, 20 numbers a step, as users of that code count
    too, and to 1,073,731 with CMU-MOSEI's 300, 74, 35. The paper's Table 5 for CMU-MOSI (d 40, 4 layers, kernels 1, 3,
    3) comes to 1,549,321 with 300, 74, 35.
    """

    def __init__(self, widths: Mapping[str, int], config: MultConfig) -> None:
        """widths: numbers a step, by modality."""
        super().__init__()
        self.modalities = in_order(widths)
        d, sources = config.hidden, max(1, len(self.modalities) - 1)
        assert d % config.heads == 0, "refused before"
        self.pairs = [(m, s) for s in self.modalities for m in self.modalities if m != s]
        self.kernels = {"text": config.text_kernel, "audio": config.audio_kernel, "video": config.video_kernel}
        self.convolutions = nn.ModuleDict(
            {m: nn.Conv1d(widths[m], d, self.kernels[m], bias=False) for m in self.modalities}
        )
        self.text_dropout = Dropout(config.text_dropout)
        attention_dropout = {
            "text": config.text_attention_dropout,
            "audio": config.audio_attention_dropout,
            "video": config.video_attention_dropout,
        }
        self.crossmodal = (
            StackedTransformer(d, config, config.layers, [attention_dropout[source] for _, source in self.pairs])
            if self.pairs
            else None
        )
        layers = config.memory_layers or max(config.layers, LEAST_MEMORY_LAYERS)
        self.memory = StackedTransformer(
            sources * d, config, layers, [config.text_attention_dropout for _ in self.modalities]
        )
        self.width = len(self.modalities) * sources * d
        self.project_in = nn.Linear(self.width, self.width)
        self.project_out = nn.Linear(self.width, self.width)
        self.output_dropout = Dropout(config.output_dropout)

    def forward(self, batch: Mapping[str, Tensor]) -> Fused:
        """The vectors of the tasks' output layers."""
        sequences, lengths = {}, {}
        for modality in self.modalities:
            sequences[modality], lengths[modality] = self._convolved(batch, modality)
        attended = sequences if self.crossmodal is None else self._attended(sequences, lengths)
        h = self._remembered(attended, lengths)
        return Fused(h + self.project_out(self.output_dropout(F.relu(self.project_in(h)))))

    def _convolved(self, batch: Mapping[str, Tensor], modality: str) -> tuple[Tensor, Tensor]:
        """x_m[B, T_m, d] and its lengths [B]: only windows that lie in the clip, and one where a clip is shorter than
        the window."""
        features, kernel = batch[modality].transpose(1, 2), self.kernels[modality]
        if modality == "text":
            features = self.text_dropout(features)
        features = F.pad(features, (0, max(0, kernel - features.shape[2])))
        convolved = self.convolutions[modality](features).transpose(1, 2)
        return convolved, (batch[f"{modality}_lengths"] - kernel + 1).clamp(min=1)

    def _attended(self, sequences: Mapping[str, Tensor], lengths: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By target [z_{s→m}; z_{s'→m}], [B, T_m, d · sources]."""
        assert self.crossmodal is not None
        by_pair: list[Tensor] = []
        for group in self._groups({name: x.shape[1] for name, x in sequences.items()}):
            targets, sources = zip(*self.pairs[group], strict=True)
            by_pair += self.crossmodal(
                stacked([sequences[m] for m in targets]),
                torch.stack([lengths[m] for m in targets]),
                stacked([sequences[s] for s in sources]),
                torch.stack([lengths[s] for s in sources]),
                group,
            )
        joined: dict[str, list[Tensor]] = {m: [] for m in self.modalities}
        for (target, _), z in zip(self.pairs, by_pair, strict=True):
            joined[target].append(z[:, : sequences[target].shape[1]])
        return {m: torch.cat(parts, 2) for m, parts in joined.items()}

    def _groups(self, steps: Mapping[str, int]) -> list[slice]:
        """Which pairs are computed together: all where their sequences are about as long, else each alone."""
        alone = sum(steps[m] * steps[s] for m, s in self.pairs)
        if len(self.pairs) * max(steps.values()) ** 2 <= SHARE_WITHIN * alone:
            return [slice(0, len(self.pairs))]
        return [slice(g, g + 1) for g in range(len(self.pairs))]

    def _remembered(self, attended: Mapping[str, Tensor], lengths: Mapping[str, Tensor]) -> Tensor:
        """h[B, width]: the last step of every modality's self-attention."""
        steps = [x.shape[1] for x in attended.values()]
        together = len(steps) * max(steps) ** 2 <= SHARE_WITHIN * sum(n**2 for n in steps)
        count = len(steps)
        groups = [slice(0, count)] if together else [slice(g, g + 1) for g in range(count)]
        last: list[Tensor] = []
        for group in groups:
            x = stacked([attended[m] for m in self.modalities[group]])
            last += self.memory.last(x, torch.stack([lengths[m] for m in self.modalities[group]]), group)
        return torch.cat(last, 1)


def stacked(sequences: Sequence[Tensor]) -> Tensor:
    """[G, B, T, width] of G sequences [B, steps, width], zero-padded to the longest."""
    steps = max(x.shape[1] for x in sequences)
    return torch.stack([F.pad(x, (0, 0, 0, steps - x.shape[1])) for x in sequences])


class StackedTransformer(nn.Module):
    """G transformers of one shape with a parameter tensor for all of them: one operation does the work of G.

    A layer, before its number g (public names of a TransformerEncoderLayer; pre-norm, the same norm for queries and
    keys):
        x + W_o attention(norm_0(x), norm_0(source)) + b_o    attention_norm (layer_norms[0]), queries and keys_values
                                                              (the first w and the other 2 w rows of self_attn.
                                                              in_proj_weight and _bias), attention_out (self_attn.
                                                              out_proj)
        x + W_2 dropout(ReLU(W_1 norm_1(x) + b_1)) + b_2      feedforward_norm (layer_norms[1]), feedforward_in (fc1),
                                                              feedforward_out (fc2); W_1 is 4 times as wide
    After all layers: norm (layer_norm). Before them x and source are multiplied by the root of their width, and the
    position is added as in the public code: step i (from 1) has sin(i f_j), then cos(i f_j), with f_j = 10000^(-j / (w
    / 2 - 1)) for j from 0 to w / 2 - 1; the paper's appendix alternates the two and has 10000^(-2j / w).
    """

    def __init__(self, width: int, config: MultConfig, layers: int, attention_dropout: Sequence[float]) -> None:
        """attention_dropout: dropout of attention weights of each of the G transformers."""
        super().__init__()
        self.count, self.future_mask = len(attention_dropout), config.future_mask
        self.layers = nn.ModuleList(StackedLayer(width, config, attention_dropout) for _ in range(layers))
        self.norm = StackedNorm(self.count, width)
        self.dropout = Dropout(config.position_dropout)

    def forward(
        self, targets: Tensor, target_lengths: Tensor, sources: Tensor, source_lengths: Tensor, group: slice
    ) -> Tensor:
        """[G, B, T, width]: `targets` [G, B, T, width] after attention to `sources` [G, B, S, width], of lengths [G,
        B], by the transformers in `group`."""
        mask = self._mask(target_lengths, targets.shape[2], source_lengths, sources.shape[2])
        x, source = self._placed(targets), self._placed(sources)
        for layer in self.layers:
            x = layer(x, source, mask, group)
        return self.norm(x, group)

    def last(self, sequences: Tensor, lengths: Tensor, group: slice) -> Tensor:
        """[G, B, width]: the last own step after self-attention over `sequences` [G, B, T, width]. The last layer
        computes no other step, since nothing reads it."""
        steps = sequences.shape[2]
        mask = self._mask(lengths, steps, lengths, steps)
        x = self._placed(sequences)
        for layer in self.layers[:-1]:
            x = layer(x, x, mask, group)
        final = last_step(x.flatten(0, 1), lengths.flatten()).view(*x.shape[:2], 1, -1)
        # The last own step sees all of the clip, with the future mask too.
        keys = _as_bias(real_steps(lengths.flatten(), steps)[:, None], x.dtype)
        return self.norm(self.layers[-1](final, x, keys, group), group).squeeze(2)

    def _mask(self, target_lengths: Tensor, targets: int, source_lengths: Tensor, sources: int) -> Tensor:
        """[G · B, 1, targets, sources]: what is added to attention weights before the softmax, 0 or -infinity."""
        target_lengths, source_lengths = target_lengths.flatten(), source_lengths.flatten()
        seen = real_steps(source_lengths, sources)[:, None].expand(-1, targets, -1)
        if self.future_mask:
            later = (target_lengths - source_lengths).abs()[:, None, None]
            step = torch.arange(max(targets, sources), device=seen.device)
            seen = seen & (step[None, None, :sources] <= step[None, :targets, None] + later)
        return _as_bias(seen, torch.get_default_dtype())

    def _placed(self, sequences: Tensor) -> Tensor:
        """The input of the first layer: scaled, with positions."""
        steps, width = sequences.shape[-2:]
        return self.dropout(sequences * math.sqrt(width) + positions(steps, width).to(sequences))


def _as_bias(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """[N, 1, …]: 0 where `seen`, else -infinity. The same mask serves every layer, so it is made a number once."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, -math.inf)[:, None]


def positions(steps: int, width: int) -> Tensor:
    """[steps, width]: sinusoids of the steps, counted from 1 (see StackedTransformer); an odd width ends in a 0."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half) * -(math.log(10_000) / max(1, half - 1)))
    angles = torch.arange(1, steps + 1)[:, None] * frequencies
    return F.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, width % 2))


class StackedLayer(nn.Module):
    """A layer of StackedTransformer."""

    def __init__(self, width: int, config: MultConfig, attention_dropout: Sequence[float]) -> None:
        super().__init__()
        count = len(attention_dropout)
        self.heads, self.attention_dropout = config.heads, attention_dropout
        self.attention_norm = StackedNorm(count, width)
        self.queries = StackedLinear(count, width, width, part_of=3 * width)
        self.keys_values = StackedLinear(count, width, 2 * width, part_of=3 * width)
        self.attention_out = StackedLinear(count, width, width)
        self.feedforward_norm = StackedNorm(count, width)
        self.feedforward_in = StackedLinear(count, width, 4 * width)
        self.feedforward_out = StackedLinear(count, 4 * width, width)
        self.relu_dropout = Dropout(config.relu_dropout)
        self.residual_dropout = Dropout(config.residual_dropout)

    def forward(self, x: Tensor, source: Tensor, mask: Tensor, group: slice) -> Tensor:
        """x[G, B, T, width] that attended to source[G, B, S, width], where mask[G · B, 1, T or 1, S] lets it."""
        x = x + self.residual_dropout(self._attention(x, source, mask, group))
        hidden = F.relu(self.feedforward_in(self.feedforward_norm(x, group), group))
        return x + self.residual_dropout(self.feedforward_out(self.relu_dropout(hidden), group))

    def _attention(self, x: Tensor, source: Tensor, mask: Tensor, group: slice) -> Tensor:
        count, batch, steps, width = x.shape
        normed = self.attention_norm(x, group)
        queries = self.queries(normed, group)
        both = self.keys_values(normed if x is source else self.attention_norm(source, group), group)
        keys, values = both.chunk(2, -1)
        queries, keys, values = (
            part.reshape(count * batch, -1, self.heads, width // self.heads).transpose(1, 2)
            for part in (queries, keys, values)
        )
        rates = self.attention_dropout[group] if self.training else [0.0] * count
        # Transformers side by side with the same dropout are one call.
        runs = [(rate, batch * len(list(same))) for rate, same in groupby(rates)]
        sizes = [rows for _, rows in runs]
        parts = [
            attention(*inputs, rate)
            for (rate, _), *inputs in zip(runs, *(x.split(sizes) for x in (queries, keys, values, mask)), strict=True)
        ]
        attended = torch.cat(parts) if len(parts) > 1 else parts[0]
        return self.attention_out(attended.transpose(1, 2).reshape(count, batch, steps, width), group)


def attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, rate: float) -> Tensor:
    """Scaled dot-product attention [N, heads, T, width]; `mask` is added before the softmax, `rate` is the dropout of
    the weights."""
    if not rate:
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    # torch computes it the same way where there is dropout, with its slower random numbers.
    weights = torch.softmax(queries @ keys.mT * queries.shape[-1] ** -0.5 + mask, -1)
    return dropped(weights, rate) @ values


class StackedLinear(nn.Module):
    """G linear layers of one shape: weight[G, outputs, inputs], bias[G, outputs], initialised as in the public code."""

    def __init__(self, count: int, inputs: int, outputs: int, part_of: int | None = None) -> None:
        """part_of: the outputs of the layer that this one is a part of in the public code; initial weights depend on
        it."""
        super().__init__()
        bound = math.sqrt(6 / (inputs + (part_of or outputs)))  # Glorot and Bengio's
        self.weight = nn.Parameter(torch.empty(count, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(count, outputs))

    def forward(self, x: Tensor, group: slice) -> Tensor:
        """[G, B, T, outputs] of x[G, B, T, inputs] by the layers in `group`."""
        weight, bias = of_group(self.weight, group), of_group(self.bias, group)
        return torch.baddbmm(bias[:, None], x.flatten(1, 2), weight.mT).view(*x.shape[:3], -1)


class StackedNorm(nn.Module):
    """G layer normalisations: weight[G, width], bias[G, width]."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(count, width))
        self.bias = nn.Parameter(torch.zeros(count, width))

    def forward(self, x: Tensor, group: slice) -> Tensor:
        """x[G, B, T, width], normalised over its last dimension."""
        weight, bias = of_group(self.weight, group), of_group(self.bias, group)
        return torch.addcmul(bias[:, None, None], F.layer_norm(x, x.shape[-1:]), weight[:, None, None])


def of_group(parameter: Tensor, group: slice) -> Tensor:
    """parameter[group]; itself where that is all of it, since the backward pass of a slice makes a copy."""
    return parameter if group == slice(0, len(parameter)) else parameter[group]
