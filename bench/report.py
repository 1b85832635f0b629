"""What the benchmark found, as parquet, a figure and a page."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from approxgrad import __version__
from approxgrad.figures.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, VERMILLION, applied_style, save
from approxgrad.models.kind import MODELS
from bench import gpu_page
from bench.ceiling import COMPILED, ENGINE
from bench.peers import ABLATION, LOOP, TUNED
from bench.peers import COMPILED as OWN_COMPILED
from bench.peers import ENGINE as OWN
from bench.propagation import TABLE, write_section
from bench.sections import write_between

COLOURS = {LOOP: VERMILLION, ABLATION: ORANGE, TUNED: PURPLE, OWN: BLUE, OWN_COMPILED: GREEN}
FORMAT_COLOURS = {"contiguous": ORANGE, "channels_last": GREEN}
METHODS = {"saliency": "Saliency", "integrated_gradients": "Integrated Gradients"}


def write_report(
    folder: Path,
    tables: dict[str, pd.DataFrame],
    device: torch.device,
    threads: int,
    settings: dict[str, Any],
    product: float,
) -> None:
    """Write ``performance.md``, ``performance.svg`` and ``.png``, and ``performance/*.parquet`` into a folder."""
    data = folder / "performance"
    data.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_parquet(data / f"{name}.parquet", index=False)
    machine = machine_line(device, threads)
    save(draw(tables, machine), folder / "performance.svg", folder / "performance.png")
    (folder / "performance.md").write_text(page(tables, machine, settings, product))
    write_section(folder / "performance.md", folder / TABLE)
    write_between(folder / "performance.md", "gpu", gpu_page.section(data / "gpu"))
    print(f"wrote {folder / 'performance.md'}")


def machine_line(device: torch.device, threads: int) -> str:
    """Return the machine and the versions as a line."""
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        hardware = f"{models[0] if models else platform.machine()}, {threads} threads"
    # A checkout that is not installed has no metadata.
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "captum", "numpy"))
    return f"{hardware}; Python {platform.python_version()}, approxgrad {__version__}, {versions}"


@applied_style()
def draw(tables: dict[str, pd.DataFrame], machine: str) -> Figure:
    """Return the figure: peers, the sweep behind the ceiling, and scaling."""
    figure = Figure(figsize=(7.2, 6.4), layout="constrained")
    rows = figure.subfigures(3, 1, height_ratios=[1.1, 1, 1])
    models = list(dict.fromkeys(tables["peers"]["model"]))
    for axes, (method, label) in zip(rows[0].subplots(1, len(METHODS)), METHODS.items(), strict=True):
        _draw_peers(axes, tables["peers"][tables["peers"]["method"] == method], models)
        axes.set_title(label)
    rows[0].axes[0].legend(ncols=2, fontsize=5, loc="upper left")
    for axes, model in zip(rows[1].subplots(1, len(models)), models, strict=True):
        _draw_sweep(axes, tables["ceiling"][tables["ceiling"]["model"] == model])
        axes.set_title(MODELS[model].label)
    rows[1].axes[0].set_ylabel("evaluations per second")
    rows[1].axes[0].legend(fontsize=5)
    axis_names = list(dict.fromkeys(tables["scaling"]["axis"]))
    for axes, axis in zip(rows[2].subplots(1, len(axis_names), squeeze=False)[0], axis_names, strict=True):
        _draw_scaling(axes, tables["scaling"][tables["scaling"]["axis"] == axis])
        axes.set_xlabel(axis)
    rows[2].axes[0].set_ylabel("seconds (CNN)")
    figure.suptitle(f"Forward differences: peers, dense ceiling, scaling\n{machine}", fontsize=7)
    return figure


def _draw_peers(axes: Axes, table: pd.DataFrame, models: list[str]) -> None:
    peers = list(dict.fromkeys(table["peer"]))
    for position, peer in enumerate(peers):
        own = table[table["peer"] == peer].set_index("model").reindex(models)
        at = np.arange(len(models)) + 0.17 * (position - (len(peers) - 1) / 2)
        spread = [own["median"] - own["min"], own["max"] - own["median"]]
        axes.bar(at, own["median"], 0.15, color=COLOURS[peer], label=peer, yerr=spread, error_kw={"lw": 0.7})
    axes.set_xticks(range(len(models)), [MODELS[model].label for model in models])
    axes.set_yscale("log")
    axes.set_ylim(top=20 * table["max"].max())
    axes.set_ylabel("seconds per image")


def _draw_sweep(axes: Axes, table: pd.DataFrame) -> None:
    for name, colour in FORMAT_COLOURS.items():
        own = table[table["way"] == name]
        _draw_ranges(axes, own, "batch_size", colour, f"model alone, {name.replace('_', ' ')}")
    for way, marker in ((ENGINE, "*"), (COMPILED, "P")):
        own = table[table["way"] == way]
        axes.plot(own["batch_size"], own["median"], marker, color=BLACK, markersize=6, label=way)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_ylim(0, 1.1 * table["max"].max())
    axes.set_xlabel("batch size")


def _draw_scaling(axes: Axes, table: pd.DataFrame) -> None:
    _draw_ranges(axes, table, "size", BLUE)
    first = table.iloc[0]
    power = -1 if first["axis"] == "threads" else 1
    axes.plot(table["size"], first["median"] * (table["size"] / first["size"]) ** power, ":", color=BLACK, lw=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(table["size"], [str(size) for size in table["size"]])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(f"slope {first['slope']:.2f} (dotted: {power})")


PAGE = """# Performance

Written by `make bench`; do not edit. Change `bench/report.py` and run it again.

Machine and versions: {machine}.

Method: images of 3 x {side} x {side}, float32, forward differences, untrained networks (ResNet-50 with a stem for
small images). All ways to be compared run in turns, {repeats} turns of at least {seconds:g} s after a warm-up; a
table gives the median and the range. Peers run in a process each, because memory that the engine keeps would serve
the others too; from one process to the next, times differ by more than these ranges. The element loop and, for
Integrated Gradients and ResNet-50, the others too are timed on evenly spread features and counted up, by evaluations,
to a whole image. FeatureAblation runs with the `perturbations_per_eval` that is fastest; "same layout" is
FeatureAblation given channels-last weights and the allocator's setting that the engine gives itself, neither of which
a user gets by default. "Compiled" is the engine with the option `compile` (`approxgrad.CompiledModel`): layers fused,
other rounding, seconds of compiling not counted.

![Peers, dense ceiling and scaling](performance.png)

## Peers

Seconds for one image; Integrated Gradients has {path_points} path points. The last column is the largest difference
from the engine's derivatives over the largest derivative: all ways compute the same, up to float32 rounding over h.

{peers}

## Propagated differences

`python -m bench.propagation` (`make bench` runs it too) times propagated differences (docs/propagation.md) beside
dense ones at their fastest batch size, and occlusion beside captum's at its fastest number of perturbations, in turns
on one thread. The ratio is of process CPU times: dense over propagated. The bound is that of the operations saved,
the base included. Whole calls are for one image, again with the same source, so that the model is seen to be the same
and is not traced; parts of the positions are counted up to an image, the base included, without tracing and checks.
Networks are untrained. `auto` looks at a network once and stays dense where propagation would not pay; its cases are
counted up to an image with that look. Cases that are in `performance/propagation.csv` are not measured again.

<!-- propagation: start -->
<!-- propagation: end -->

Published figures of others, none of which is comparable: Krypton (Nakandala et al., SIGMOD 2019,
https://adalabucsd.github.io/research-blog/research/2019/06/07/krypton.html) states up to 5 times for exact occlusion
and up to 35 times for approximate one, on its own images, networks and machines. SIGE (Li et al., NeurIPS 2022,
https://www.github.com/lmxyy/sige) states up to 7.2 times on a GPU of the kind RTX 3090, at 4 to 15 times fewer
operations: one edited region of one image of a generator, and not thousands of small ones. DeltaCNN (Parger et al.,
CVPR 2022,
https://research.facebook.com/publications/deltacnn-end-to-end-cnn-inference-of-sparse-frame-differences-in-videos/)
states up to 7 times against cuDNN: frames of a video on a GPU, where small changes are dropped.

## Share of the dense ceiling

The ceiling is the best rate (evaluations per second) at which the model alone evaluates ready batches, over batch
sizes and memory formats. The engine chooses its batch size by a rule, without timing. The ceiling knows only the model
as it is: the engine can exceed it where it computes convolutions of tiny images as matrix products, and a compiled
model can; the GFLOP/s count the operations of the model as it is. A float32 matrix product reaches {product:,.0f}
GFLOP/s here.

{ceiling}

## What looking at a model costs

Before it differentiates, an attribution evaluates up to three rows alone, again, in company and in batches of two
sizes, sees how much memory that takes, and whether the faster functions agree with the model. It does so once for all
inputs and path points, and it is not in the times above. Seconds for one image:

{looks}

## Scaling

Slope of the logarithm of the time over that of the size (CNN); 1 is proportional.

{scaling}

## Peak memory

Over what model and image take; each row in a process of its own, stopped after some seconds of evaluation (the peak is
reached with the first batches and path points).

{memory}

## On a GPU

`python -m bench --device cuda --minutes 8` runs, most important first: the tests marked `gpu`, agreement with float64
on the CPU, peers and ceiling of the CNN and ResNet-18, the ResNet-50, path points, propagation and budgets, memory,
CUDA graphs and compiled models. All ways take turns in one process; every table is written after each case, so that a
stop loses nothing. `--device cpu --quick` rehearses it. It needs torch, torchvision, numpy, pandas, pyarrow, scipy,
matplotlib and pytest, no installation and no network: `make wheels` collects the rest in `.wheels`.

```bash
python3 -m pip install --no-index --no-deps --target /tmp/site .wheels/*.whl
PYTHONPATH=workflow:/tmp/site python3 -m bench --device cuda --minutes 8 --output docs/performance/gpu
python3 -m bench.gpu_page  # puts the tables here
```

Assumed until then: what `docs/scaling.md` says of GPUs, and that a GPU wants no batch smaller than fits into a
quarter of its memory. What is to be shown, on one card in one run: 200 times the element loop and 3 times
FeatureAblation at its best setting (CNN and ResNet-18, Saliency), 90 % of the dense ceiling, half of the float32
matrix product's rate for the ResNet-50, 5 times the dense ceiling for propagated differences of the CNN, and the same
bytes from run to run.

<!-- gpu: start -->
No GPU was measured yet.
<!-- gpu: end -->
"""


def _draw_ranges(axes: Axes, table: pd.DataFrame, x: str, colour: str, label: str | None = None) -> None:
    """Draw medians over a column with their ranges."""
    ranges = [table["median"] - table["min"], table["max"] - table["median"]]
    axes.errorbar(table[x], table["median"], ranges, color=colour, marker="o", markersize=2, lw=0.8, label=label)


def page(tables: dict[str, pd.DataFrame], machine: str, settings: dict[str, Any], product: float) -> str:
    """Return the text of ``performance.md``."""
    slopes = tables["scaling"].groupby("axis", sort=False)
    slopes = slopes.agg(sizes=("size", lambda sizes: ", ".join(map(str, sizes))), slope=("slope", "first"))
    return PAGE.format(
        machine=machine,
        product=product,
        **{key: settings[key] for key in ("side", "repeats", "seconds", "path_points")},
        peers=_peers(tables["peers"]),
        ceiling=_ceiling(tables["ceiling"]),
        looks=_looks(tables["looks"]),
        scaling=_markdown(slopes.reset_index(), {"slope": "{:.3f}"}),
        memory=_markdown(tables["memory"], {"peak_mib": "{:.0f}", "budget_mib": "{:.0f}", "features": "{:,}"}),
    )


def _peers(table: pd.DataFrame) -> str:
    rows = []
    for (model, method), own in table.groupby(["model", "method"], sort=False):
        reference = own.set_index("peer").loc[OWN, "median"]
        for row in own.itertuples():
            name = row.peer if pd.isna(row.perturbations) else f"{row.peer} ({row.perturbations:.0f} perturbations)"
            rows.append(
                (
                    MODELS[str(model)].label,
                    METHODS[str(method)],
                    name,
                    f"{row.median:.3g} ({row.min:.3g} to {row.max:.3g})",
                    f"{row.median / reference:.2f}",
                    f"{row.error:.0e}",
                )
            )
    columns = ["model", "method", "way", "seconds per image (range)", "times the engine's", "difference"]
    return _markdown(pd.DataFrame(rows, columns=columns), {})


def _looks(table: pd.DataFrame) -> str:
    rows = [
        (
            MODELS[row.model].label,
            "yes" if row.check_rows else "no",
            row.evaluations,
            f"{row.median:.3g} ({row.min:.3g} to {row.max:.3g})",
        )
        for row in table.itertuples()
    ]
    return _markdown(pd.DataFrame(rows, columns=["model", "check_rows", "evaluations", "seconds (range)"]), {})


def _ceiling(table: pd.DataFrame) -> str:
    rows = []
    for model, own in table.groupby("model", sort=False):
        engines = own["way"].isin([ENGINE, COMPILED])
        best = own[~engines].sort_values("median").iloc[-1]
        ceiling = f"{best['median']:,.0f} ({best['way'].replace('_', ' ')}, batch {best['batch_size']})"
        rows += [
            (
                MODELS[str(model)].label,
                ceiling,
                row.way,
                f"{row.median:,.0f} ({row.min:,.0f} to {row.max:,.0f}), batch {row.batch_size}",
                f"{row.share:.1%}",
                f"{row.gigaflops:,.0f}",
            )
            for row in own[engines].itertuples()
        ]
    columns = ["model", "best of the sweep", "way", "its rate (range)", "share", "GFLOP/s"]
    return _markdown(pd.DataFrame(rows, columns=columns), {})


def _markdown(table: pd.DataFrame, formats: dict[str, str]) -> str:
    """Return a table as Markdown."""
    lines = [list(table.columns), ["---"] * table.shape[1]]
    for row in table.itertuples(index=False):
        cells = zip(table.columns, row, strict=True)
        lines.append([formats.get(name, "{}").format(value) for name, value in cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
