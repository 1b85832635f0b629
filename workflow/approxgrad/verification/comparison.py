"""Whether a finished study is what its configuration, code and data say: a part of it computed again and compared."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from approxgrad.evaluation.files import METRIC_TABLE, TEST_MEASURES
from approxgrad.evaluation.metric_tables import method_table
from approxgrad.evaluation.metrics import METRICS
from approxgrad.gradients.precisions import EPSILONS
from approxgrad.provenance.document import CONDITIONS, ProvenanceError, described, read_provenance
from approxgrad.seeds import derive_seed
from approxgrad.storage.attributions import read_attributions
from approxgrad.storage.table_checks import TableError
from approxgrad.storage.tables import read_table
from approxgrad.study.grid import Cell
from approxgrad.study.needs import choice_path, spectrum_path
from approxgrad.study.study import Study
from approxgrad.study.subjects import baseline_values, explained_target, read_subject
from approxgrad.verification.recomputation import Origin
from approxgrad.verification.staircases import noise_tolerance, seen_noise

CPU = torch.device("cpu")


class VerificationError(ValueError):
    """The study is not what its configuration, code and data say."""


@dataclass(frozen=True)
class Finding:
    """One check of one file of a cell: what was compared, and what differs; empty if nothing does."""

    cell: str
    file: str
    check: str
    difference: str

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return not self.difference


def drawn_cells(study: Study) -> list[Cell]:
    """Return the cells that are verified: as many as the configuration says, drawn at random with its seed."""
    options = study.config.verify
    order = np.random.default_rng(derive_seed(options.seed, "verify")).permutation(len(study.cells))
    return [study.cells[number] for number in sorted(order[: options.cells].tolist())]


def files_of(study: Study, cell: Cell) -> dict[str, str]:
    """Return the files that a cell comes from and its metrics, as far as there are any, by what they hold."""
    names = {"dataset": cell.dataset, "model": cell.model, "method": cell.method}
    made = bool(study.model(cell.model).makes)
    evaluating = study.shared_gradient(cell) if study.is_derived(cell) else cell
    files = {
        "data": f"data/{cell.dataset}/test.parquet",
        "weights": "" if made else study.model_file(cell.dataset, cell.model),
        # Beside a file of another form, its measures tell what both came from.
        "measures": TEST_MEASURES.format(**names) if made else "",
        "step": choice_path(study, evaluating),
        "spectrum": spectrum_path(evaluating),
        "gradient": evaluating.path if study.is_derived(cell) else "",
        "metrics": METRIC_TABLE.format(**names) if tuple(names.values()) in study.comparisons else "",
    }
    return {content: path for content, path in files.items() if path}


def verify_cell(
    study: Study, cell: Cell, folder: Path, origins: Mapping[str, Origin], failure: str = ""
) -> list[Finding]:
    """Check one cell, what it comes from and the metrics that come from it.

    Its attribution file, and the shared gradient that it follows from, were computed again in the folder, or a
    `failure` says why not. The `origins` say what would make each of :func:`files_of` now.
    """
    files = files_of(study, cell)
    found = [(path, "provenance", origin_difference(path, origins[path])) for path in files.values()]
    try:
        for path in filter(None, (files.get("gradient"), cell.path)):
            recorded, again = read_provenance(path), folder / path
            if not again.is_file():
                raise ProvenanceError(f"{path}: cannot be computed again ({failure})")
            now = read_provenance(again)
            same = all(recorded.get(name) == now.get(name) for name in CONDITIONS)
            tolerance = None if same else cell_tolerance(study, cell, files.get("weights") or _like(study, cell), again)
            if tolerance == math.inf and value_difference(path, again, tolerance):
                tolerance = measured_tolerance(study, cell, again)
            found.append((path, "provenance", "; ".join(differences(_without(recorded), _without(now)))))
            found.append((path, "values", value_difference(path, again, tolerance)))
        if "metrics" in files:
            found.append(
                (
                    files["metrics"],
                    "metrics",
                    _metric_difference(cell, files["metrics"], origins[files["metrics"]], same),
                )
            )
    except (ProvenanceError, TableError) as error:
        found.append((cell.path, "values", str(error)))
    return [Finding("/".join(cell.keys.values()), *finding) for finding in dict.fromkeys(found)]


def origin_difference(path: str, origin: Origin) -> str:
    """Say how the recorded origin of a file differs from what would make it now; nothing if they agree."""
    try:
        recorded = read_provenance(path)
        now = described(origin.parameters, origin.code, origin.inputs)
    except (ProvenanceError, OSError) as error:
        return str(error)
    return "; ".join(differences(_without(recorded), _without(now)))


def cell_tolerance(study: Study, cell: Cell, weights: Path | str | None, again: Path) -> float:
    """Return how far maps computed under other conditions may be apart; infinite where that is not known."""
    if weights is None:
        return math.inf
    if cell.gradient.is_exact:
        return map_tolerance(weights, cell.gradient.dtype)
    document = read_table(again, [])[1]
    reference = study.exact(cell.dataset, cell.model, cell.method, cell.gradient.dtype)
    scale = read_table(reference.path, [])[1].get("rounding_scale")
    step = document.get("rounding_step")
    growth = math.inf
    if isinstance(scale, (int, float)) and 0 <= scale < math.inf and isinstance(step, (int, float)) and step > 0:
        growth = scale / step
    return map_tolerance(weights, cell.gradient.dtype, growth)


def measured_tolerance(study: Study, cell: Cell, again: Path) -> float:
    """Return :func:`noise_tolerance` with the noise that is seen of a cell's model; infinite if there is no step.

    The model is evaluated; one that must not be, or whose step is not known, has no tolerance.
    """
    kind, step = study.model(cell.model), read_table(again, [])[1].get("rounding_step")
    if kind.rounds_to is None or cell.gradient.is_exact or not isinstance(step, (int, float)) or step <= 0:
        return math.inf
    data, made = f"data/{cell.dataset}", read_attributions(again)
    options = {"kind": kind.name, **kind.opening()}
    weights = study.model_file(cell.dataset, cell.model) or None
    subject = read_subject(options, weights, f"{data}/test.parquet", 0, CPU, cell.gradient.dtype, check_rows=False)
    part = subject.split.rows(made.sample)
    inputs, method = subject.points(part), study.cell_method(cell)
    starts: Any = 0
    if hasattr(method, "baseline"):
        paths = (f"{data}/{name}.parquet" for name in ("train", "test"))
        own = baseline_values(method.baseline, next(paths), part.feature_shape, next(paths))
        starts = torch.from_numpy(own).to(inputs)
    factors = method.factor(inputs, starts).expand(inputs.shape).flatten(1).numpy()
    noise = seen_noise(subject.network, inputs, explained_target(part), kind.rounds_to)
    return noise_tolerance(noise, factors, made.attribution, float(step))


def _like(study: Study, cell: Cell) -> str | None:
    """Return the weights of a network that rounds like a model without weights of its own."""
    other = study.model(cell.model).rounding_model
    return None if other is None else study.model_file(cell.dataset, other)


def map_tolerance(weights: Path | str, dtype: str, growth: float = 0.0) -> float:
    """Return how far maps computed on two machines may be apart, relative to their norm.

    Whatever its order, a sum of n products is off by at most n eps, relative to the sum of their magnitudes; a network
    by the sum of its layers' n. The exact attribution inherits that error. A finite difference divides the error of the
    outputs, ``|f|``, by the step: `growth` is ``scale / step`` with the scale at which an error of ``|f|`` is as large
    as the attribution. Both computations are off, hence twice.
    """
    with safe_open(weights, framework="np") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 - not a mapping
    terms = sum(math.prod(shape[1:]) for shape in shapes if len(shape) > 1)
    return float(2 * terms * EPSILONS[dtype] * (1.0 + growth))


def map_difference(old: NDArray[Any], new: NDArray[Any], tolerance: float) -> str:
    """Say by how much maps differ beyond a relative tolerance; without a finite one, only equal maps agree."""
    if old.shape != new.shape:
        return f"shape {old.shape} in the file, {new.shape} now"
    distance, norm = float(np.linalg.norm(old - new)), float(np.linalg.norm(new))
    if distance == 0 or (math.isfinite(tolerance) and distance <= tolerance * norm):
        return ""
    found = f"maps differ by {distance / norm if norm else math.inf:.2g} of their norm"
    if math.isfinite(tolerance):
        return f"{found}, expected at most {tolerance:.2g}"
    return f"{found}, and no tolerance is known: their reference has no rounding_scale"


def differences(recorded: Any, now: Any, key: str = "") -> list[str]:
    """Return a line for each entry of two documents that differs, with both values where they are short."""
    if isinstance(recorded, dict) and isinstance(now, dict):
        names = sorted(recorded.keys() | now.keys())
        parts = (differences(recorded.get(n), now.get(n), f"{key}.{n}".lstrip(".")) for n in names)
        return [line for part in parts for line in part]
    if recorded == now:
        return []
    return [f"{key} is {_short(recorded)} in the file, {_short(now)} now"]


def write_findings(path: Path | str, findings: Iterable[Finding]) -> None:
    """Write a table of findings as CSV: columns ``cell``, ``file``, ``check``, ``difference`` and ``agrees``."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*(field.name for field in fields(Finding)), "agrees"])
        writer.writerows([*astuple(finding), finding.agrees] for finding in findings)


def value_difference(path: str, again: Path, tolerance: float | None) -> str:
    """Say what differs between two attribution files; without a tolerance, in any bit."""
    if tolerance is not None:
        return map_difference(read_attributions(path).attribution, read_attributions(again).attribution, tolerance)
    (old, recorded), (new, now) = read_table(path), read_table(again)
    for document in (recorded, now):
        document.pop("provenance")
    return _table_difference(old, new) or "; ".join(differences(recorded, now))


def _metric_difference(cell: Cell, path: str, origin: Origin, same: bool) -> str:
    """Say what differs between a table of metrics and the metrics of the stored maps."""
    table = read_table(path)[0].replace_schema_metadata()
    features = len(read_attributions(cell.path).attribution[0])
    # A metric sums over the features.
    tolerance = 0.0 if same else features * float(np.finfo(np.float64).eps)
    return _table_difference(table, method_table(origin.inputs, origin.parameters), tolerance)


def _without(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a provenance document without the conditions, which change only the last digits."""
    return {name: value for name, value in document.items() if name not in CONDITIONS}


def _table_difference(old: pa.Table, new: pa.Table, tolerance: float = 0.0) -> str:
    """Say where two tables first differ, in any bit or by more than a relative tolerance."""
    # These metrics round like numbers of size 1; an error can have any size.
    bounded = {name for name, metric in METRICS.items() if math.isfinite(metric.upper)}
    if old.schema.names != new.schema.names or len(old) != len(new):
        return f"{len(old)} rows of {old.schema.names} in the file, {len(new)} of {new.schema.names} now"
    for name in old.schema.names:
        for row, (left, right) in enumerate(zip(old[name].to_pylist(), new[name].to_pylist(), strict=True)):
            if repr(left) != repr(right) and not _near(left, right, tolerance, tolerance if name in bounded else 0.0):
                return f"{name} of row {row} is {_short(left)} in the file, {_short(right)} now"
    return ""


def _near(left: Any, right: Any, tolerance: float, absolute: float) -> bool:
    return (
        tolerance > 0
        and isinstance(left, float)
        and isinstance(right, float)
        and math.isclose(left, right, rel_tol=tolerance, abs_tol=absolute)
    )


def conclusion(findings: Sequence[Finding]) -> str:
    """Return how many checks were made, or raise a VerificationError that names the first difference."""
    wrong = [finding for finding in findings if not finding.agrees]
    if wrong:
        more = len({finding.cell for finding in wrong}) - 1
        rest = f"; and {more} more cell(s)" if more else ""
        raise VerificationError(f"{wrong[0].cell}: {wrong[0].check} of {wrong[0].file}: {wrong[0].difference}{rest}")
    return f"{len({finding.cell for finding in findings})} cell(s), {len(findings)} checks, all agree"


def described_cell(findings: Sequence[Finding]) -> str:
    """Return one line about the findings of one cell."""
    wrong = [f"{finding.check} of {finding.file}" for finding in findings if not finding.agrees]
    return f"{findings[0].cell}: {'differs in ' + ', '.join(wrong) if wrong else 'agrees'}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
