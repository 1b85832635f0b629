"""Zoo: normalisations, pooling, and other layers of torch and torchvision."""

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from zoo import equal, images, normal, positive, refused, sequences
from zoo_parts import CHANGES, TRAINING, cnn, mlp, with_statistics, wrapped

# Normalisations

equal("batch norm", lambda: with_statistics(mlp(nn.BatchNorm1d(6))))
equal(
    "batch norm after a convolution",
    lambda: with_statistics(cnn(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), flat=12)),
    images,
)
equal("batch norm of volumes", lambda: with_statistics(cnn(nn.BatchNorm3d(1), flat=8)), normal(2, 1, 2, 2, 2))
equal(
    "batch norm in a network that is in training mode elsewhere",
    lambda: nn.Sequential(nn.Linear(5, 4).train(), nn.BatchNorm1d(4).eval(), nn.Tanh().train()),
)
equal("frozen batch norm of torchvision", lambda: cnn(torchvision.ops.FrozenBatchNorm2d(2), flat=32).train(), images)
equal(
    "synchronised batch norm", lambda: nn.SyncBatchNorm.convert_sync_batchnorm(with_statistics(mlp(nn.BatchNorm1d(6))))
)
refused("batch norm of images in training mode", lambda: cnn(nn.BatchNorm2d(2), flat=32).train(), TRAINING, images)
refused("batch norm in training mode", lambda: mlp(nn.BatchNorm1d(6)).train(), TRAINING)
refused(
    "one batch norm of many in training mode",
    lambda: nn.Sequential(mlp(), mlp(nn.BatchNorm1d(6), features=3).train()),
    TRAINING,
)
refused(
    "batch norm without running statistics, vectors",
    lambda: mlp(nn.BatchNorm1d(6, track_running_stats=False)),
    "model: .*(batch|rows|more than 1 value)",
)
refused(
    "batch norm without running statistics, images",
    lambda: cnn(nn.BatchNorm2d(2, track_running_stats=False), flat=32),
    "beside other.*batch_size=1",
    images,
    alone=True,
)
refused(
    "functional batch norm over the batch",
    lambda: wrapped(lambda net, x: net(F.batch_norm(x, None, None, training=True)), cnn(flat=32)),
    "batch_size=1",
    images,
    alone=True,
)
equal("layer norm", lambda: mlp(nn.LayerNorm(6)))
equal("group norm", lambda: mlp(nn.GroupNorm(2, 6)))
equal("root mean square norm", lambda: mlp(nn.RMSNorm(6)))
equal("instance norm", lambda: cnn(nn.InstanceNorm2d(2, affine=True), flat=32), images)
equal(
    "instance norm with running statistics",
    lambda: with_statistics(cnn(nn.InstanceNorm2d(2, track_running_stats=True), flat=32)),
    images,
)
refused(
    "instance norm that collects running statistics",
    lambda: cnn(nn.InstanceNorm2d(2, track_running_stats=True), flat=32).train(),
    CHANGES,
    images,
)
equal("local response norm", lambda: cnn(nn.LocalResponseNorm(2), flat=32), images)
equal("cross-map local response norm", lambda: cnn(nn.CrossMapLRN2d(2), flat=32), images)
equal("normalised rows", lambda: wrapped(lambda net, x: net(F.normalize(x, dim=1)), mlp()))
equal("softmax without an axis, of vectors", lambda: nn.Sequential(nn.Linear(5, 3), nn.Softmax()).eval())
refused(
    "softmax without an axis, of sequences",
    lambda: wrapped(lambda net, x: net(torch.cat([x, nn.Softmax()(x)], 2)).sum(1), nn.Linear(8, 2)),
    "batch_size=1",
    sequences,
    alone=True,
)

# Pooling

POOLS = {
    "max-pooling with a tuple of one": (lambda: nn.MaxPool2d((2,)), 8),
    "max-pooling with ceil_mode": (lambda: nn.MaxPool2d(3, 2, ceil_mode=True), 8),
    "max-pooling, padded": (lambda: nn.MaxPool2d(3, 2, padding=1), 8),
    "max-pooling, dilated": (lambda: nn.MaxPool2d(2, 1, dilation=2), 8),
    "max-pooling, overlapped": (lambda: nn.MaxPool2d(3, 1), 8),
    "max-pooling with gaps": (lambda: nn.MaxPool2d(1, 2), 8),
    "max-pooling, not square": (lambda: nn.MaxPool2d((2, 1), (1, 2)), 12),
    "max-pooling, adaptive": (lambda: nn.AdaptiveMaxPool2d((3, 1)), 6),
    "max-pooling of a class of its own": (lambda: type("Pool", (nn.MaxPool2d,), {})(2), 8),
    "mean-pooling": (lambda: nn.AvgPool2d(2), 8),
    "mean-pooling, padded and counted": (lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, divisor_override=5), 18),
    "mean-pooling, adaptive": (lambda: nn.AdaptiveAvgPool2d(1), 2),
    "power-pooling": (lambda: nn.LPPool2d(2, 2), 8),
    "pooling of flattened rows": (lambda: nn.Sequential(nn.Flatten(), nn.MaxPool1d(2)), 16),
}
for name, (pool, flat) in POOLS.items():
    equal(name, lambda pool=pool, flat=flat: cnn(nn.Conv2d(2, 2, 1), pool(), flat=flat), images)


class Unpooled(nn.Module):
    """Pooling that returns indices, and its inverse."""

    def __init__(self):
        super().__init__()
        self.pool, self.back, self.last = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2), nn.Linear(32, 2)

    def forward(self, x):
        return self.last(self.back(*self.pool(x)).flatten(1))


equal("max-pooling with indices, and unpooling", lambda: Unpooled().eval(), images)
equal("max-pooling of volumes", lambda: cnn(nn.MaxPool3d((1, 2, 2)), flat=2), normal(2, 1, 2, 2, 2))
refused(
    "fractional max-pooling, which is random",
    lambda: cnn(nn.FractionalMaxPool2d(2, output_size=3), flat=18),
    "two evaluations",
    normal(2, 2, 5, 5),
)

# Other layers

equal("a bilinear layer", lambda: wrapped(lambda net, x: net(x, x.flip(1)), nn.Bilinear(5, 5, 2)))
equal("PReLU, GLU and RReLU", lambda: mlp(nn.PReLU(), nn.GLU(), nn.RReLU(), nn.Linear(3, 6)))
refused("RReLU in training mode", lambda: mlp(nn.RReLU(0.1, 0.9)).train(), CHANGES)
equal("dropout in eval mode", lambda: mlp(nn.Dropout(0.5), nn.AlphaDropout(0.5), nn.FeatureAlphaDropout(0.5)))
refused("dropout in training mode", lambda: mlp(nn.Dropout(0.5)).train(), TRAINING)
refused("channel dropout in training mode", lambda: cnn(nn.Dropout2d(0.5), flat=32).train(), TRAINING, images)
equal("unfolded and folded", lambda: cnn(nn.Unfold(3), nn.Linear(4, 4), nn.Fold((4, 4), 3), flat=32), images)
equal("pixels shuffled", lambda: cnn(nn.PixelUnshuffle(2), nn.ChannelShuffle(2), nn.PixelShuffle(2), flat=32), images)
equal("interpolated", lambda: cnn(nn.Upsample(scale_factor=1.5, mode="bicubic"), flat=72), images)
equal(
    "interpolated with anti-aliasing",
    lambda: wrapped(lambda net, x: net(F.interpolate(x, (3, 3), mode="bilinear", antialias=True)), cnn(flat=18)),
    images,
)
equal(
    "sampled on a grid that the input moves",
    lambda: wrapped(
        lambda net, x: net(
            F.grid_sample(x, F.affine_grid(0.5 * x[:, 0, :2, :3], x.shape, align_corners=False), align_corners=False)
        ),
        cnn(flat=32),
    ),
    images,
)
equal(
    "flattened and unflattened",
    lambda: nn.Sequential(
        nn.Flatten(), nn.Unflatten(1, (8, 4)), nn.Linear(4, 2), nn.Flatten(0, 1), nn.Unflatten(0, (-1, 8)), nn.Flatten()
    ).eval(),
    images,
)
equal(
    "bags of embeddings of rounded inputs",
    lambda: wrapped(lambda net, x: net((4 * x).round().long() + 3), nn.EmbeddingBag(12, 3)),
    positive(3, 4),
    step=0.5,
)
equal(
    "embeddings of some features beside others",
    lambda: wrapped(
        lambda net, x: net[1](torch.cat([net[0](x[:, 0].floor().long().clamp(0, 3)), x[:, 1:]], 1)),
        nn.ModuleList([nn.Embedding(4, 2), nn.Linear(6, 2)]),
    ),
)
equal(
    "torchvision's normalisation as a layer",
    lambda: nn.Sequential(torchvision.transforms.Normalize([0.5, 0.4], [0.2, 0.3]), cnn(flat=32)).eval(),
    images,
)
equal(
    "deformable convolution",
    lambda: wrapped(
        lambda net, x: net(
            torchvision.ops.deform_conv2d(x, 0.3 * x.repeat(1, 4, 1, 1)[:, :, :4, :4], torch.full((2, 2, 2, 2), 0.25))
        ),
        cnn(flat=32),
    ),
    normal(2, 2, 5, 5),
)
equal("stochastic depth in eval mode", lambda: mlp(torchvision.ops.StochasticDepth(0.5, "row")))
refused(
    "stochastic depth in training mode",
    lambda: mlp(*[torchvision.ops.StochasticDepth(0.5, "row"), nn.Linear(6, 6)] * 4).train(),
    CHANGES,
)
refused(
    "dropped blocks in training mode",
    lambda: cnn(torchvision.ops.DropBlock2d(0.5, 3), flat=32).train(),
    CHANGES,
    images,
)
