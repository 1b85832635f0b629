"""Zoo: attention, recurrent networks, and other models of sequences."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from zoo import equal, normal, refused, sequences
from zoo_parts import CHANGES, wrapped

even_sequences = normal(2, 3, 4)


class Attends(nn.Module):
    """Attention of torch over a sequence."""

    def __init__(self, **options):
        super().__init__()
        self.attention, self.last = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)
        self.options = options

    def forward(self, x):
        return self.last(self.attention(x, x, x, **self.options)[0].mean(1))


class Einsum(nn.Module):
    """Attention of one's own."""

    def __init__(self):
        super().__init__()
        self.three = nn.Linear(4, 12)

    def forward(self, x):
        query, key, value = self.three(x).chunk(3, -1)
        weights = torch.einsum("btd,bsd->bts", query, key).div(2).softmax(-1)
        return torch.einsum("bts,bsd->btd", weights, value)[:, -1]


class Scaled(nn.Module):
    """torch's scaled dot products, causal or with a bias, and dropout that eval mode turns off."""

    def __init__(self, causal=False, dropout=0.0):
        super().__init__()
        self.three, self.causal, self.dropout = nn.Linear(4, 12), causal, dropout

    def forward(self, x):
        parts = [part.unflatten(-1, (2, 2)).transpose(1, 2) for part in self.three(x).chunk(3, -1)]
        found = F.scaled_dot_product_attention(*parts, is_causal=self.causal, dropout_p=self.dropout)
        return found.transpose(1, 2).flatten(2).sum(1)


class Padded(nn.Module):
    """A transformer that leaves out steps which are marked as padding: torch takes its path of nested tensors."""

    def __init__(self, layers=1):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.encoder, self.last = nn.TransformerEncoder(layer, layers), nn.Linear(4, 2)

    def forward(self, x):
        mask = torch.zeros(len(x), x.shape[1], dtype=torch.bool)
        mask[:, -1] = True
        return self.last(self.encoder(x, src_key_padding_mask=mask).sum(1))


class Positions(nn.Module):
    """Positional encodings, made for the longest sequence at first use and kept."""

    def __init__(self):
        super().__init__()
        self.table, self.last = None, nn.Linear(4, 2)

    def forward(self, x):
        if self.table is None or self.table.shape[0] < x.shape[1]:
            self.table = torch.sin(torch.arange(x.shape[1])[:, None] / 10 ** (torch.arange(4) / 4))
        return self.last((x * self.table).tanh().sum(1))


class Rotary(nn.Module):
    """Rotary embeddings that are cached by length and dtype."""

    def __init__(self):
        super().__init__()
        self.cache, self.last = {}, nn.Linear(4, 2)

    def forward(self, x):
        key = (x.shape[1], x.dtype)
        if key not in self.cache:
            angles = torch.arange(x.shape[1], dtype=x.dtype)[:, None] * torch.tensor([1.0, 0.1], dtype=x.dtype)
            self.cache[key] = torch.polar(torch.ones_like(angles), angles)
        turned = torch.view_as_complex(x.reshape(*x.shape[:-1], 2, 2).contiguous()) * self.cache[key]
        return self.last(torch.view_as_real(turned).flatten(2).tanh().sum(1))


class Recurrent(nn.Module):
    """A recurrent network and what is read from its last step."""

    def __init__(self, kind=nn.GRU, state=None, first=True, **options):
        super().__init__()
        self.cell = kind(4, 3, batch_first=first, **options)
        self.last, self.state, self.first = nn.LazyLinear(2), state, first
        self(torch.ones(1, 3, 4))

    def forward(self, x):
        state = () if self.state is None else (self.state(1, len(x), 3),)
        if self.first:
            return self.last(self.cell(x, *state)[0][:, -1])
        return self.last(self.cell(x.transpose(0, 1), *state)[0][-1])


def transformer(**options):
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, **options), 1)


# Attention

equal("attention", lambda: Attends().eval(), sequences)
equal(
    "attention without averaged weights",
    lambda: Attends(average_attn_weights=False, need_weights=False).eval(),
    sequences,
)
equal(
    "attention with a causal mask", lambda: Attends(attn_mask=torch.triu(torch.ones(3, 3), 1).bool()).eval(), sequences
)
refused(
    "attention over the batch, for want of batch_first",
    lambda: wrapped(lambda net, x: net(x, x, x)[0].sum(1), nn.MultiheadAttention(4, 2)),
    "beside other.*batch_size=1",
    sequences,
    alone=True,
)
equal("attention by einsum", lambda: Einsum().eval(), sequences)
equal("scaled dot products", lambda: Scaled().eval(), sequences)
equal("scaled dot products, causal", lambda: Scaled(causal=True).eval(), sequences)
refused("scaled dot products with dropout", lambda: Scaled(dropout=0.5).eval(), "two evaluations", sequences)
equal("a transformer on torch's fast path", lambda: transformer().eval(), even_sequences, target=(2, 1))
equal(
    "a transformer with its norm first",
    lambda: transformer(norm_first=True, activation="gelu").eval(),
    even_sequences,
    target=(2, 1),
)
equal("a transformer with padding, by nested tensors", lambda: Padded().eval(), even_sequences)
refused("a transformer in training mode", lambda: transformer().train(), CHANGES, even_sequences, target=(2, 1))
equal(
    "an encoder and a decoder",
    lambda: wrapped(lambda net, x: net(x, x[:, :2]).sum(1), nn.Transformer(4, 2, 1, 1, 8, batch_first=True)),
    even_sequences,
)
equal("positional encodings made at first use", lambda: Positions().eval(), sequences)
equal("rotary embeddings", lambda: Rotary().eval(), sequences)
equal(
    "the last token that is not padding",
    lambda: wrapped(lambda net, x: net(x)[torch.arange(len(x)), (x[:, :, 0] > -9).sum(1) - 1], nn.Linear(4, 2)),
    sequences,
)

# Recurrence

for kind in (nn.RNN, nn.GRU, nn.LSTM):
    equal(f"{kind.__name__}", lambda kind=kind: Recurrent(kind).eval(), sequences)
equal("a bidirectional GRU of two layers", lambda: Recurrent(num_layers=2, bidirectional=True).eval(), sequences)
equal("an LSTM with projection", lambda: Recurrent(nn.LSTM, proj_size=2).eval(), sequences)
equal(
    "an LSTM whose time axis comes first, behind a wrapper", lambda: Recurrent(nn.LSTM, first=False).eval(), sequences
)
equal("a GRU in training mode without dropout", lambda: Recurrent().train(), sequences)
equal("a GRU with dropout in eval mode", lambda: Recurrent(num_layers=2, dropout=0.5).eval(), sequences)
equal("an initial state of zeros for the batch", lambda: Recurrent(state=torch.zeros).eval(), sequences)
equal("a cell in a loop over time", lambda: looped(nn.GRUCell(4, 4)), sequences)
equal(
    "packed sequences",
    lambda: wrapped(packed, nn.ModuleList([nn.GRU(4, 3, batch_first=True), nn.Linear(3, 2)])),
    sequences,
)
refused(
    "rows taken for time steps",
    lambda: wrapped(lambda net, x: net(x)[0].sum(1), nn.LSTM(4, 3)),
    "beside other.*batch_size=1",
    sequences,
    alone=True,
)
refused("a random initial state", lambda: Recurrent(state=torch.randn).eval(), "two evaluations", sequences)
refused(
    "an LSTM with dropout in training mode",
    lambda: Recurrent(nn.LSTM, num_layers=2, dropout=0.5).train(),
    CHANGES,
    sequences,
)
refused("an RNN with dropout in training mode inside a model in eval mode", lambda: mixed(), CHANGES, sequences)
refused(
    "a state that is kept from call to call",
    lambda: Stateful().eval(),
    "two evaluations",
    sequences,
    changes_itself=True,
)


def looped(cell):
    def over_time(net, x):
        state = torch.zeros(len(x), 4)
        for step in x.unbind(1):
            state = net(step, state)
        return state

    return wrapped(over_time, cell)


def packed(net, x):
    rows = nn.utils.rnn.pack_padded_sequence(x, [x.shape[1]] * len(x), batch_first=True)
    return net[1](nn.utils.rnn.pad_packed_sequence(net[0](rows)[0], batch_first=True)[0][:, -1])


def mixed():
    net = Recurrent(nn.RNN, num_layers=2, dropout=0.5).eval()
    net.cell.train()
    return net


class Stateful(nn.Module):
    """A recurrent network that goes on from where the last call ended."""

    def __init__(self):
        super().__init__()
        self.cell, self.state = nn.GRUCell(12, 2), None

    def forward(self, x):
        if self.state is None or len(self.state) != len(x):
            self.state = torch.zeros(len(x), 2)
        self.state = self.cell(x.flatten(1), self.state).detach()
        return self.state


# Other sequences

equal(
    "a scan along time",
    lambda: wrapped(lambda net, x: net(torch.cumsum(x.tanh(), 1).logcumsumexp(1)[:, -1]), nn.Linear(4, 2)),
    sequences,
)
equal(
    "a state-space model by convolution in the frequency domain",
    lambda: wrapped(
        lambda net, x: torch.fft.irfft(
            torch.fft.rfft(net(x), dim=1) * torch.fft.rfft(torch.tensor([1.0, 0.5, 0.25]))[None, :, None], n=3, dim=1
        )[:, -1],
        nn.Linear(4, 2),
    ),
    sequences,
)
equal(
    "a spectrogram",
    lambda: wrapped(
        lambda net, x: net(torch.stft(x, 4, 2, window=torch.hann_window(4), return_complex=True).abs().flatten(1)),
        nn.Linear(15, 2),
    ),
    normal(2, 8),
)
equal(
    "a sequence of tokens and their masks",
    lambda: wrapped(lambda net, x: (net(x) * (x[..., :1] > -1)).sum(1) / math.sqrt(3), nn.Linear(4, 2)),
    sequences,
)
