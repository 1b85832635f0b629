"""Write `columns.md`, the data dictionary, from what the code says of its tables: python docs/columns.py."""

import math
from pathlib import Path

from approxgrad.evaluation.metrics import METRICS
from approxgrad.storage.attributions import ATTRIBUTION_COLUMNS, SOURCE_COLUMNS

PAGE = Path(__file__).with_name("columns.md")

OPENING = """# Columns of the results

<!-- made by: python docs/columns.py -->

Tables are parquet files. Their folders are named `key=value`, and readers of a folder (pandas, DuckDB, pyarrow) see
the keys `dataset`, `model`, `method` and `gradient` as columns. The key `approxgrad` of each file's metadata is a JSON
document that says how it was made; `approxgrad.read_provenance(path)` returns that part of it.

## Attributions

`results/attributions/` and `results/gradients/`: a row for each attributed test row. The metadata hold the shape of an
input, names of features and classes (`feature_names`, `feature_groups`, `classes`), normalisation, options of the
method, cost, device and versions.
"""
METRIC_TABLES = """
## Metrics

`results/metrics/`: a row for each gradient source, reference and test row. Besides `gradient`, {columns}, `sample` and
`origin` as above there are `reference` (what the attribution is compared with: `exact`, `exact of` a twin, the name of
a source that stands in, or `truth`) and the metrics, null where they are undefined:
"""
OTHERS = {
    "`results/summary/metrics`": "a metric of a source: `mean`, `median` and their intervals (`_low`, `_high`), "
    "`std` (population), quartiles, `n` samples with a value, `undefined` ones without",
    "`results/completeness/`": "a sample of a path method: `attribution_sum`, `output`, `baseline_output`, `residual` "
    "(the sum minus the change of the output), `relative_residual`",
    "`results/error_parts/`": "a `part` of the error at a setting: `error` (median), quartiles, `n` samples, and "
    "`unrounded`, the family that splits it",
    "`results/faithfulness/`": "a source and sample: `deletion` and `insertion` (areas, units of the output) and "
    "`infidelity` (their square), null where undefined",
    "`results/sensitivity/`": "a sample of a source: `sensitivity`, the largest change of the map over its size, null "
    "for a map of zeros",
    "`results/summary/faithfulness`": "a `measure` of a source: `median`, `gain` over the reference, their "
    "intervals, `relative_error`, `p_value`, `p_adjusted`, `verdict`",
    "`results/published/files`": "a file of maps that others cached: `used` or left out, `n` maps, `size` (median "
    "over them of the largest absolute exact value), `ratio` to the usual size, `remark`",
    "`results/test_metrics/`, `results/summary/models`": "a measure of a model on test rows: `metric`, `value`, `n`",
    "`results/learning_curves/`": "an epoch of a training: `epoch`, `split`, `metric`, `value`, `best`",
    "`data/<dataset>/*.parquet`": "a row of the data: `features`, `target`, and `effects` and `origin` where known",
}


def page():
    """Return the page in Markdown."""
    lines = [OPENING, "| column | type | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | `{kind}` | {line} |" for name, (kind, line) in ATTRIBUTION_COLUMNS.items()]
    lines.append(METRIC_TABLES.format(columns=", ".join(f"`{name}`" for name in SOURCE_COLUMNS)))
    lines += ["| column | metric | question | range | perfect |", "|---|---|---|---|---|"]
    for name, metric in METRICS.items():
        low, high = (f"{end:g}" if math.isfinite(end) else "∞" for end in (metric.lower, metric.upper))
        lines.append(f"| `{name}` | {metric.label} | {metric.line} | {low} to {high} | {metric.best:g} |")
    lines += ["", "## Other tables", "", "| table | what a row is |", "|---|---|"]
    lines += [f"| {table} | {line} |" for table, line in OTHERS.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
