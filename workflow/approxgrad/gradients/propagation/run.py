"""Changes of a network's output for perturbed features: blocks of positions on windows, or batches on whole maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx

from approxgrad.gradients.evaluating.batching import balanced_slices
from approxgrad.gradients.propagation.form import Axes
from approxgrad.gradients.propagation.forms import cleaned, with_positions
from approxgrad.gradients.propagation.memory import blocks, copies_at_once
from approxgrad.gradients.propagation.network import unit_moves
from approxgrad.gradients.propagation.patches import Patches
from approxgrad.gradients.propagation.plan import Plan, Windows
from approxgrad.gradients.propagation.windows import Block, PaddedMap, Window, whole

Part = tuple[Tensor, Tensor]
"""Places of some features in a list, and the changes of the output for them: integers (k,), and (k, *output)."""


class Propagator:
    """Propagates changes of single features of one point.

    Parameters
    ----------
    plan : Plan
        What works on windows.
    row : Tensor
        The point, of shape (1, ...).
    budget : int
        Bytes to occupy.

    Attributes
    ----------
    output : Tensor
        The output at the point, in double precision.
    """

    def __init__(self, plan: Plan, row: Tensor, budget: int) -> None:
        self._plan, self._network, self._budget = plan, plan.network, budget
        self._base = plan.network.base(row)
        self.output = self._base.output
        self._row, self._shape, self._device = row, row.shape, row.device
        self._maps: dict[fx.Node, Any] = {}
        self._inside: dict[Axes, PaddedMap] = {}
        for node, form in plan.windows.forms.items() if plan.windows else ():
            before = plan.windows.axes[form.rule.moving[0]]  # type: ignore[union-attr]
            self._maps[node] = form.maps(self._base.kept.pop(node), before, plan.windows.axes[node])  # type: ignore[union-attr]

    def changes(self, features: Tensor, moves: Tensor) -> Iterator[Part]:
        """Yield the changes of the output if each feature is moved alone.

        Parameters
        ----------
        features : Tensor
            Numbers of features, each once.
        moves : Tensor
            By how much each is moved, float64.
        """

        def moved(number: Tensor) -> Tensor:
            return self._row.double() + unit_moves(self._shape, features[number], moves[number], torch.float64)[0]

        if self._plan.windows is None:
            source = self._network.graph.source
            for part in balanced_slices(len(features), copies_at_once(self._plan, self._budget)):
                change = unit_moves(self._shape, features[part], moves[part] / self._network.unit, self._network.dtype)
                number = torch.arange(part.start, part.stop, device=self._device)
                yield self._complete((number, self._change({source: change})), moved)
            return
        # On the host, which says what is propagated together; the device need not be waited for.
        own, alike = features.cpu(), bool((moves == moves[:1]).all())
        places = torch.full((self._shape.numel() + 1,), -1)
        places[own] = torch.arange(len(own))
        height, width = self._plan.patches.counts[1:]  # type: ignore[union-attr]
        wanted = set((own // width % height).tolist())
        phases = len(self._plan.windows.source[0].starts)
        for block in blocks(self._plan, self._budget):
            if wanted.isdisjoint(phase + phases * row for phase in block.down for row in block.rows):
                continue
            number = places[perturbed(block, self._plan)]
            if bool((number >= 0).any()):
                start = self._start(self._plan.windows, number, moves / self._network.unit, alike)
                yield self._complete(self._part(block, start, number), moved)

    def replaced(self, other: Tensor) -> Iterator[Part]:
        """Yield the changes of the output if each of the plan's patches is replaced by that of another input.

        Parameters
        ----------
        other : Tensor
            Of the shape of the point.
        """
        patches, difference = self._plan.patches, other.double() - self._row.double()
        assert patches is not None
        assert self._plan.windows is not None
        (y, x), channels = self._plan.windows.source, torch.arange(self._shape[1], device=self._device)
        shifts = torch.arange(patches.counts[0], device=self._device)[:, None] * patches.stride[0]
        inside = (channels >= shifts) & (channels < shifts + patches.window[0])
        map_ = PaddedMap((difference / self._network.unit).to(self._network.dtype), y, x, 0.0)
        masks = box_masks(patches, self._device)
        for block in blocks(self._plan, self._budget):
            number = perturbed(block, self._plan)
            data = difference.new_zeros(*number.shape, y.width, x.width, len(channels), dtype=self._network.dtype)
            for place, view in map_.views(block):
                torch.mul(view, inside[:, None, None, None, None, :], out=data[place])
            part = self._part(block, Window(data, y, x, clean=True), number)
            yield self._complete(part, lambda own: torch.where(masks(own), other.double(), self._row.double()))

    def masked(self, masks: Callable[[Tensor], Tensor], count: int, other: Tensor) -> Iterator[Part]:
        """Yield the changes of the output if the features of each mask are replaced by those of another input.

        Parameters
        ----------
        masks : callable
            From numbers of masks, of shape (K,), to these: Boolean, (K, ...) with the shape of one input.
        count : int
            How many there are.
        other : Tensor
            Of the shape of the point.
        """
        difference = other.double() - self._row.double()
        for part in balanced_slices(count, copies_at_once(self._plan, self._budget)):
            number = torch.arange(part.start, part.stop, device=self._device)
            change = (difference * masks(number).unsqueeze(1) / self._network.unit).to(self._network.dtype)
            found = number, self._change({self._network.graph.source: change})
            yield self._complete(found, lambda own: torch.where(masks(own), other.double(), self._row.double()))

    def _complete(self, part: Part, moved: Callable[[Tensor], Tensor]) -> Part:
        """Evaluate the points of a part, each made by `moved` from its place, where a rule has found no number."""
        places, changes = part
        for lost in (~changes.flatten(1).isfinite().all(dim=1)).nonzero().flatten():
            point = moved(places[lost : lost + 1])
            changes[lost] = (self._network.graph.evaluated(point) - self.output).to(changes.dtype)
        return part

    def _part(self, block: Block, start: Window, number: Tensor) -> Part:
        """Return the changes of the output for the copies of a block that have a number, which the host knows."""
        assert self._plan.windows is not None
        wholes = self._windowed(block, self._plan.windows, start)
        flat = number.flatten()
        wanted = (flat >= 0).nonzero().squeeze(1)
        if len(wanted) < len(flat):
            places = wanted.to(self._device)
            wholes = {node: value.index_select(0, places) for node, value in wholes.items()}
        return flat[wanted].to(self._device), self._change(wholes)

    def _change(self, changes: dict[fx.Node, Tensor]) -> Tensor:
        """Return the change of the output in units of the output."""
        found = self._network.change(self._base, changes)
        return found if self._network.unit == 1 else found.double() * self._network.unit

    def _windowed(self, block: Block, windows: Windows, start: Window) -> dict[fx.Node, Tensor]:
        """Return the changes of all nodes where windows end, for all positions of a block."""
        source = self._network.graph.source
        known = {source: start}
        wholes: dict[fx.Node, Tensor] = {}
        self._end(source, known[source], windows, block, wholes)
        for node, form in windows.forms.items():
            read = []
            for own in form.rule.moving:
                window, free = known[own], own in windows.freed[node]
                if form.needs_clean and not window.clean:
                    window = self._clean(window, block, free)
                elif not free and form.overwrites:
                    window = window.copied()
                read.append(window)
            known[node] = form.change(read, self._maps[node], windows.axes[node], block)
            self._end(node, known[node], windows, block, wholes)
            for own in windows.freed[node]:
                del known[own]
        return wholes

    def _start(self, windows: Windows, number: Tensor, moves: Tensor, alike: bool) -> Window:
        """Return the perturbed pixels as windows: of length 1 along the positions if all are moved alike."""
        y, x = windows.source
        channels, dtype = self._shape[1], self._network.dtype
        unit = torch.eye(channels, dtype=dtype, device=self._device)[:, None, None, None, None, :]
        chosen = moves[:1] if alike else moves[number.clamp(min=0).to(self._device)][..., None, None, None]
        size = chosen.to(dtype)
        positions = (1, 1) if alike else number.shape[3:]
        data = (unit * size).expand(*number.shape[:3], *positions, 1, 1, channels).contiguous()
        return Window(data, y, x, clean=True)

    def _clean(self, window: Window, block: Block, free: bool) -> Window:
        if window.clean:
            return window
        key = (window.y, window.x)
        if key not in self._inside:
            ones = torch.ones(1, 1, window.y.size, window.x.size, dtype=self._network.dtype, device=self._device)
            self._inside[key] = PaddedMap(ones, *key, 0.0)
        return cleaned(window, block, self._inside[key], overwrite=free)

    def _end(
        self, node: fx.Node, window: Window, windows: Windows, block: Block, wholes: dict[fx.Node, Tensor]
    ) -> None:
        """Make whole maps of the windows of a node, where they are read."""
        for end in windows.ends.get(node, ()):
            own = self._clean(window, block, free=False) if end.needs_clean else window
            wholes[end.node] = end.change(with_positions(own, block), block)
        if node in windows.read_whole:
            wholes[node] = whole(with_positions(window, block), block)


def perturbed(block: Block, plan: Plan) -> Tensor:
    """Return the number of the perturbed patch of each copy of a block, -1 behind the last: see :class:`Window`."""
    assert plan.windows is not None
    assert plan.patches is not None
    channels, height, width = plan.patches.counts
    y, x = plan.windows.source
    down = torch.tensor([[phase + len(y.starts) * row for row in block.rows] for phase in block.down])
    across = torch.tensor([[phase + len(x.starts) * one for one in range(x.positions)] for phase in block.across])
    row, column = down[:, None, None, :, None], across[None, :, None, None, :]
    number = (torch.arange(channels)[None, None, :, None, None] * height + row) * width + column
    return torch.where((row < height) & (column < width), number, -1)


def box_masks(patches: Patches, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return what turns numbers of boxes, of shape (K,), into masks of one input: Boolean, (K, *shape)."""
    _, height, width = patches.counts

    def masks(number: Tensor) -> Tensor:
        covered = torch.ones(len(number), 1, 1, 1, dtype=torch.bool, device=device)
        for axis, place in enumerate((number // (height * width), number // width % height, number % width)):
            start = (place * patches.stride[axis])[:, None]
            along = torch.arange(patches.shape[axis], device=device)
            own = (along >= start) & (along < start + patches.window[axis])
            shape = [len(number), 1, 1, 1]
            shape[axis + 1] = -1
            covered = covered & own.reshape(shape)
        return covered

    return masks
