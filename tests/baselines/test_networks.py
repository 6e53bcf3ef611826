"""What holds for every fusion network, and each against its paper's formula."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affect.baselines.networks.dropout import dropped
from affect.baselines.networks.lmf import LMF
from affect.baselines.networks.misa import MISA, difference, moment_discrepancy
from affect.baselines.networks.mult import MulT, positions
from affect.baselines.networks.self_mm import FUSED, SelfMM
from affect.baselines.networks.tfn import TFN
from affect.config.fusion import LmfConfig, MisaConfig, MultConfig, SelfMmConfig, TextEncoder, TextVector, TfnConfig

WIDTHS = {"text": 7, "audio": 5, "video": 6}
MOSI = {"text": 768, "audio": 5, "video": 20}
SIZES = {"text_hidden": 8, "text_out": 6, "audio_hidden": 7, "video_hidden": 5}
STILL = {f"{part}_dropout": 0.0 for part in ("text", "audio", "video")}
SMALL = {
    "tfn": lambda widths: TFN(widths, TfnConfig(**SIZES, **STILL, fusion_hidden=16, fusion_dropout=0.0)),
    "lmf": lambda widths: LMF(widths, LmfConfig(**SIZES, **STILL)),
    "mult": lambda widths: MulT(widths, MultConfig(hidden=8, heads=2, layers=2)),
    "misa": lambda widths: MISA(widths, MisaConfig(hidden=16)),
    "misa-lstm": lambda widths: MISA(widths, MisaConfig(hidden=16, text_encoder=TextEncoder.lstm, recurrent_width=4)),
    "self_mm": lambda widths: SelfMM(widths, SelfMmConfig(fused_width=16)),
    "self_mm-paper": lambda widths: SelfMM(widths, SelfMmConfig(second_layer=False, text_vector=TextVector.first)),
}
SUBSETS = [("text",), ("audio", "video"), ("text", "video"), ("text", "audio", "video")]


def batch_of(
    widths: Mapping[str, int], lengths: Mapping[str, list[int]], padding: int = 0, seed: int = 0
) -> dict[str, Tensor]:
    """Random sequences of these lengths, with `padding` steps more at the end than the longest needs."""
    generator = torch.Generator().manual_seed(seed)
    batch = {}
    for modality, width in widths.items():
        sequences = torch.zeros(len(lengths[modality]), max(lengths[modality]) + padding, width)
        for sequence, length in zip(sequences, lengths[modality], strict=True):
            sequence[:length] = torch.randn(length, width, generator=generator)
        batch |= {modality: sequences, f"{modality}_lengths": torch.tensor(lengths[modality])}
    return batch


LENGTHS = {"text": [6, 1, 4, 9], "audio": [20, 2, 7, 1], "video": [3, 5, 1, 8]}


@pytest.mark.parametrize("modalities", SUBSETS, ids="-".join)
@pytest.mark.parametrize("name", SMALL)
def test_neither_padding_nor_the_order_of_the_batch_changes_a_clip(name: str, modalities: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    widths = {modality: WIDTHS[modality] for modality in modalities}
    network = SMALL[name](widths)
    network(batch_of(widths, LENGTHS))  # batch normalisation has seen something
    network.eval()
    with torch.no_grad():
        states = network(batch_of(widths, LENGTHS)).states
        padded = network(batch_of(widths, LENGTHS, padding=5)).states
        order = torch.tensor([2, 0, 3, 1])
        turned = network({key: value[order] for key, value in batch_of(widths, LENGTHS).items()}).states
        alone = [
            network(
                {k: v[i : i + 1, : LENGTHS[k][i]] if k in widths else v[i : i + 1] for k, v in batch.items()}
            ).states
            for batch in [batch_of(widths, LENGTHS)]
            for i in range(4)
        ]
    assert states.shape == (4, network.width)
    assert states.std(0).max() > 1e-4, "clips differ"
    torch.testing.assert_close(padded, states, atol=1e-5, rtol=0)
    torch.testing.assert_close(turned, states[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cat(alone), states, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    network = SMALL[name](WIDTHS)
    fused = network(batch_of(WIDTHS, LENGTHS))
    states = [fused.states, *fused.unimodal.values()]
    loss = sum(nn.Linear(x.shape[1], 1)(x).sum() for x in states)
    (loss if fused.loss is None else loss + fused.loss.sum()).backward()
    assert not [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize(
    ("name", "rate"), [("tfn", 0.01), ("lmf", 0.01), ("mult", 0.01), ("misa", 0.002), ("self_mm", 0.01)]
)
def test_a_planted_signal_is_learnt(name: str, rate: float) -> None:
    torch.manual_seed(0)
    network = SMALL[name](WIDTHS)
    output = nn.Linear(network.width, 1)
    batch = batch_of(WIDTHS, {modality: [6] * 32 for modality in WIDTHS}, seed=1)
    signs = {modality: torch.sign(batch[modality][:, :, 0].mean(1)) for modality in ("text", "audio")}
    for modality, sign in signs.items():
        batch[modality] += sign[:, None, None]
    gold = (signs["text"] + signs["audio"]) / 2
    optimizer = torch.optim.AdamW([*network.parameters(), *output.parameters()], lr=rate)
    errors = []
    for _ in range(40):
        fused = network(batch)
        error = (output(fused.states)[:, 0] - gold).abs().mean()
        optimizer.zero_grad()
        (error if fused.loss is None else error + fused.loss.mean()).backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[0] > 0.5
    assert sum(errors[-5:]) / 5 < 0.25


def test_one_clip_can_be_trained_on() -> None:
    for network in (make(WIDTHS) for make in SMALL.values()):
        assert network(batch_of(WIDTHS, {modality: [3] for modality in WIDTHS})).states.isfinite().all()


def count(network: nn.Module, width: int) -> int:
    """Parameters, with the output layer of one intensity."""
    return sum(p.numel() for p in network.parameters()) + width + 1


def lstm(inputs: int, hidden: int) -> int:
    return 4 * hidden * (inputs + hidden + 2)


def pooled(inputs: int, hidden: int) -> int:
    return 2 * inputs + (inputs + 1) * hidden + 2 * (hidden + 1) * hidden


def test_parameters_of_the_published_settings() -> None:
    # MMSA, config_regression.json: tfn, mosi.
    tfn = TFN(MOSI, TfnConfig(text_hidden=128, text_out=32, audio_hidden=32, video_hidden=128, fusion_hidden=64))
    fused = (33 * 33 * 129 + 1) * 64 + 65 * 64
    expected = lstm(768, 128) + 129 * 32 + pooled(5, 32) + pooled(20, 128) + fused + 65
    assert count(tfn, tfn.width) == expected
    assert f"{expected:,}" in TFN.__doc__
    # MMSA: lmf, mosi; its fused vector is the prediction.
    sizes = {"text_hidden": 128, "text_out": 64, "audio_hidden": 16, "video_hidden": 128}
    lmf = LMF(MOSI, LmfConfig(**sizes, rank=3, fused_width=1))
    expected = lstm(768, 128) + 129 * 64 + pooled(5, 16) + pooled(20, 128) + 3 * (65 + 17 + 129) + 3 + 1 + 2
    assert count(lmf, lmf.width) == expected
    assert f"{expected:,}" in LMF.__doc__
    # MMSA: misa, mosi.
    misa = MISA(MOSI, MisaConfig(hidden=128))
    recurrent = sum(2 * lstm(n, n) + 2 * lstm(2 * n, n) + 4 * n for n in (5, 20))
    projections = sum((n + 1) * 128 + 2 * 128 for n in (768, 4 * 5, 4 * 20))
    transformer = 4 * 129 * 128 + 129 * 2048 + 2049 * 128 + 4 * 128
    expected = recurrent + projections + 7 * 129 * 128 + transformer + (768 + 1) * 384 + 385
    assert count(misa, misa.width) == expected
    assert f"{expected:,}" in MISA.__doc__
    # MMSA: self_mm, mosi. The output layers of the modalities count too.
    self_mm = SelfMM(MOSI, SelfMmConfig())
    encoders = lstm(5, 16) + 17 * 16 + lstm(20, 32) + 33 * 32
    own = sum((n + 1) * width + (width + 1) * width for n, width in ((768, 32), (16, 16), (32, 32)))
    expected = encoders + own + (768 + 16 + 32 + 1) * 128 + 129 * 128 + 129 + 33 + 17 + 33
    assert count(self_mm, self_mm.width) + sum(width + 1 for width in self_mm.unimodal_widths.values()) == expected
    assert f"{expected:,}" in SelfMM.__doc__


@pytest.mark.parametrize(
    ("config", "widths", "expected"),
    [
        # The defaults of the public code.
        (MultConfig(hidden=30, heads=5, layers=5, audio_kernel=1, video_kernel=1), (300, 5, 20), 1_071_211),
        (MultConfig(hidden=30, heads=5, layers=5, audio_kernel=1, video_kernel=1), (300, 74, 35), 1_073_731),
        # Tsai et al. 2019, Table 5, CMU-MOSI.
        (MultConfig(hidden=40, heads=10, layers=4), (300, 74, 35), 1_549_321),
    ],
)
def test_parameters_of_mult(config: MultConfig, widths: tuple[int, int, int], expected: int) -> None:
    def layer(d: int) -> int:
        return 4 * d * d + 4 * d + 8 * d * d + 5 * d + 4 * d

    d, (text, audio, video) = config.hidden, widths
    convolutions = d * (text * config.text_kernel + audio * config.audio_kernel + video * config.video_kernel)
    transformers = 6 * (config.layers * layer(d) + 2 * d) + 3 * (config.layers * layer(2 * d) + 4 * d)
    assert convolutions + transformers + 2 * (6 * d + 1) * 6 * d + 6 * d + 1 == expected
    network = MulT(dict(zip(WIDTHS, widths, strict=True)), config)
    assert count(network, network.width) == expected
    assert f"{expected:,}" in MulT.__doc__


def test_tfn_is_the_outer_product() -> None:
    torch.manual_seed(0)
    network = SMALL["tfn"](WIDTHS).eval()
    batch = batch_of(WIDTHS, LENGTHS)
    with torch.no_grad():
        z = network.subnetworks(batch)
        fused = torch.einsum("ba,bv,bl->bavl", z["audio"], z["video"], z["text"]).flatten(1)
        torch.testing.assert_close(network.fuse(z), fused)
        states = F.relu(network.layers[1](F.relu(network.layers[0](fused))))
        torch.testing.assert_close(network(batch).states, states)
    assert (fused[:, 0] == 1).all()
    # The number that the docstring gives the product of a, v, t.
    a, v, t = 2, 3, 1
    column = (a * z["video"].shape[1] + v) * z["text"].shape[1] + t
    torch.testing.assert_close(fused[:, column], z["audio"][:, a] * z["video"][:, v] * z["text"][:, t])


def test_lmf_is_a_linear_map_of_the_outer_product() -> None:
    torch.manual_seed(0)
    network = SMALL["lmf"](WIDTHS).eval()
    batch = batch_of(WIDTHS, LENGTHS)
    with torch.no_grad():
        z = network.subnetworks(batch)
        weight = torch.einsum(
            "r,rah,rvh,rlh->avlh", network.rank_weights[0], *(network.factors[m] for m in ("audio", "video", "text"))
        )
        outer = torch.einsum("ba,bv,bl->bavl", z["audio"], z["video"], z["text"])
        h = torch.einsum("bavl,avlh->bh", outer, weight) + network.bias
        torch.testing.assert_close(network(batch).states, h)


def test_the_subnetworks() -> None:
    torch.manual_seed(0)
    network = SMALL["tfn"](WIDTHS).eval()
    batch = batch_of(WIDTHS, LENGTHS)
    with torch.no_grad():
        z = network.subnetworks(batch)
        audio = torch.stack([x[:n].mean(0) for x, n in zip(batch["audio"], LENGTHS["audio"], strict=True)])
        subnetwork = network.subnetworks["audio"]
        hidden = subnetwork.norm(audio)
        for linear in subnetwork.linears:
            hidden = F.relu(linear(hidden))
        torch.testing.assert_close(z["audio"], F.pad(hidden, (1, 0), value=1.0))
        text = network.subnetworks["text"]
        last = torch.cat(
            [text.lstm(x[None, :n])[0][:, -1] for x, n in zip(batch["text"], LENGTHS["text"], strict=True)]
        )
        torch.testing.assert_close(z["text"], F.pad(text.linear(last), (1, 0), value=1.0))


class PlainTransformer:
    """One transformer of a StackedTransformer, with torch's own attention and no lengths: the public code's formula."""

    def __init__(self, stack: nn.Module, number: int) -> None:
        self.stack, self.number = stack, number

    def __call__(self, x: Tensor, source: Tensor) -> Tensor:
        x, source = (s * s.shape[-1] ** 0.5 + positions(*s.shape[1:]) for s in (x, source))
        memory = torch.equal(x, source) if x.shape == source.shape else False
        mask = torch.ones(x.shape[1], source.shape[1], dtype=torch.bool)
        mask = mask.triu(1 + abs(x.shape[1] - source.shape[1]))
        for layer in self.stack.layers:
            of = {name: parameter[self.number] for name, parameter in layer.named_parameters()}
            width = x.shape[-1]
            attend = nn.MultiheadAttention(width, layer.heads, batch_first=True)
            attend.load_state_dict(
                {
                    "in_proj_weight": torch.cat([of["queries.weight"], of["keys_values.weight"]]),
                    "in_proj_bias": torch.cat([of["queries.bias"], of["keys_values.bias"]]),
                    "out_proj.weight": of["attention_out.weight"],
                    "out_proj.bias": of["attention_out.bias"],
                }
            )
            norms = [(of[f"{part}.weight"], of[f"{part}.bias"]) for part in ("attention_norm", "feedforward_norm")]
            keys = F.layer_norm(x if memory else source, (width,), *norms[0])
            x = x + attend(F.layer_norm(x, (width,), *norms[0]), keys, keys, attn_mask=mask)[0]
            hidden = F.linear(
                F.layer_norm(x, (width,), *norms[1]), of["feedforward_in.weight"], of["feedforward_in.bias"]
            )
            x = x + F.linear(hidden.relu(), of["feedforward_out.weight"], of["feedforward_out.bias"])
        return F.layer_norm(x, x.shape[-1:], self.stack.norm.weight[self.number], self.stack.norm.bias[self.number])


@pytest.mark.parametrize("steps", [(9, 8, 10), (4, 30, 11)], ids=["together", "pair by pair"])
def test_mult_at_full_length_is_the_published_formula(steps: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    network = MulT(WIDTHS, MultConfig(hidden=8, heads=2, layers=2, text_kernel=2)).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    batch = batch_of(WIDTHS, {m: [n] * 3 for m, n in zip(WIDTHS, steps, strict=True)})
    with torch.no_grad():
        x = {m: network.convolutions[m](batch[m].mT).mT for m in WIDTHS}
        z = {
            pair: PlainTransformer(network.crossmodal, g)(x[pair[0]], x[pair[1]])
            for g, pair in enumerate(network.pairs)
        }
        last = []
        for g, m in enumerate(WIDTHS):
            joined = torch.cat([z[m, s] for s in WIDTHS if s != m], 2)
            last.append(PlainTransformer(network.memory, g)(joined, joined)[:, -1])
        h = torch.cat(last, 1)
        expected = h + network.project_out(F.relu(network.project_in(h)))
        torch.testing.assert_close(network(batch).states, expected, atol=1e-5, rtol=1e-5)


def test_positions() -> None:
    table = positions(50, 8)
    for step in (0, 7, 49):
        for j in range(4):
            angle = torch.tensor((step + 1) * 10_000 ** (-j / 3))
            torch.testing.assert_close(
                table[step, [j, 4 + j]], torch.stack([angle.sin(), angle.cos()]), atol=1e-4, rtol=0
            )
    assert (positions(3, 5)[:, 4] == 0).all()


def test_dropout_drops_at_its_rate_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    ones = torch.ones(1001, 1003)
    for rate in (0.1, 0.5, 0.9):
        out = dropped(ones, rate)
        assert abs((out == 0).double().mean() - rate) < 0.002
        torch.testing.assert_close(out[out != 0], torch.full_like(out[out != 0], 1 / (1 - rate)))
        # All four numbers of a word are dropped as often, and independently of one another.
        of_words = (out == 0).flatten()[: 4 * (out.numel() // 4)].view(-1, 4).double()
        assert (of_words.mean(0) - rate).abs().max() < 0.004
        assert (torch.corrcoef(of_words.T) - torch.eye(4)).abs().max() < 0.01
    assert dropped(ones, 0.0) is ones
    torch.manual_seed(3)
    first = dropped(ones, 0.5)
    torch.manual_seed(3)
    assert torch.equal(first, dropped(ones, 0.5))


def test_the_losses_of_misa_are_its_formulas() -> None:
    random = np.random.default_rng(0)
    one, other = random.random((9, 4)), random.random((9, 4)) ** 2
    cmd = np.linalg.norm(one.mean(0) - other.mean(0))
    for order in (2, 3, 4, 5):
        moments = [((x - x.mean(0)) ** order).mean(0) for x in (one, other)]
        cmd += np.linalg.norm(moments[0] - moments[1])
    torch.testing.assert_close(moment_discrepancy(torch.tensor(one), torch.tensor(other)), torch.tensor(cmd))
    units = [(x - x.mean(0)) / np.linalg.norm(x - x.mean(0), axis=1, keepdims=True) for x in (one, other)]
    frobenius = np.linalg.norm(units[0].T @ units[1]) ** 2
    torch.testing.assert_close(
        difference(torch.tensor(one), torch.tensor(other)), torch.tensor(frobenius / 16), rtol=1e-4, atol=0
    )


def test_the_auxiliary_loss_of_misa_is_their_weighted_sum() -> None:
    torch.manual_seed(0)
    config = MisaConfig(hidden=8, similarity_weight=0.2, difference_weight=0.3, reconstruction_weight=0.5)
    network = MISA(WIDTHS, config).eval()
    batch = batch_of(WIDTHS, LENGTHS)
    with torch.no_grad():
        encoded = {m: network.encoders[m](batch[m], batch[f"{m}_lengths"]) for m in ("audio", "video")}
        encoded["text"] = torch.stack([x[:n].mean(0) for x, n in zip(batch["text"], LENGTHS["text"], strict=True)])
        u = {m: network.projections[m](encoded[m]) for m in WIDTHS}
        p = {m: network.private[m](u[m]) for m in WIDTHS}
        c = {m: network.shared(u[m]) for m in WIDTHS}
        pairs = [("text", "audio"), ("text", "video"), ("audio", "video")]
        similarity = sum(moment_discrepancy(c[a], c[b]) for a, b in pairs) / 3
        differences = sum(difference(p[m], c[m]) for m in WIDTHS) + sum(difference(p[a], p[b]) for a, b in pairs)
        recon = sum((network.decoders[m](p[m] + c[m]) - u[m]).square().mean(1) for m in WIDTHS) / 3
        torch.testing.assert_close(network(batch).loss, 0.2 * similarity + 0.3 * differences + 0.5 * recon)
    # One clip has no moments, and no gradient that is not a number.
    network.train()
    network(batch_of(WIDTHS, {m: [3] for m in WIDTHS})).loss.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_self_mm_is_its_formula() -> None:
    torch.manual_seed(0)
    network = SMALL["self_mm"](WIDTHS).eval()
    batch = batch_of(WIDTHS, LENGTHS)
    with torch.no_grad():
        out = network(batch)
        f = {"text": torch.stack([x[:n].mean(0) for x, n in zip(batch["text"], LENGTHS["text"], strict=True)])}
        for m in ("audio", "video"):
            encoder = network.encoders[m]
            last = [encoder.lstm(x[None, :n])[0][:, -1] for x, n in zip(batch[m], LENGTHS[m], strict=True)]
            f[m] = encoder.linear(torch.cat(last))
        f[FUSED] = torch.cat([f["text"], f["audio"], f["video"]], 1)
        for name in (FUSED, *WIDTHS):
            representation = F.relu(network.representers[name](f[name]))
            torch.testing.assert_close(out.representations[name], representation)
            states = out.states if name == FUSED else out.unimodal[name]
            torch.testing.assert_close(states, F.relu(network.second[name](representation)))
            assert representation.shape[1] == network.representation_widths[name]
    assert {m: x.shape[1] for m, x in out.unimodal.items()} == network.unimodal_widths
    paper = SMALL["self_mm-paper"](WIDTHS).eval()(batch)
    assert paper.states is paper.representations[FUSED]
