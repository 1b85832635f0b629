"""A finished study computed again in part: an untouched one passes, and any tampering is found."""

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

pytestmark = pytest.mark.workflow

MODEL = "dataset=synthetic_linear/model=mlp"
WEIGHTS = f"results/models/{MODEL}/weights.safetensors"
TABLE = "results/verification/cells.csv"


def maps(method, gradient):
    return f"results/attributions/{MODEL}/method={method}/gradient={gradient}/part-0.parquet"


def gradients(gradient):
    return f"results/gradients/{MODEL}/samples=6/gradient={gradient}/part-0.parquet"


def metrics(method):
    return f"results/metrics/{MODEL}/method={method}/part-0.parquet"


def change_number(path):
    """Change the last bits of one number of a table, and nothing else."""
    table = pq.read_table(path, partitioning=None)
    name = "attribution" if "attribution" in table.column_names else "relative_error"
    values = table[name].to_pylist()
    row = next(number for number, value in enumerate(values) if value is not None)
    if name == "attribution":
        values[row][0] += 2**-40
    else:
        values[row] += 2**-40
    column = table.column_names.index(name)
    table = table.set_column(column, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    pq.write_table(table, path, compression="zstd")


def make_stale(path):
    """Let a table say that it came from other code."""
    table = pq.read_table(path, partitioning=None)
    document = json.loads(table.schema.metadata[b"approxgrad"])
    document["provenance"]["code"] = "0" * 64
    pq.write_table(table.replace_schema_metadata({b"approxgrad": json.dumps(document, sort_keys=True)}), path)


def swap_weights(path):
    """Put other weights in the place of a model's."""
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    save_file({name: values * 1.5 for name, values in load_file(path).items()}, path, metadata=metadata)


def verified(place, cells):
    return place.run("verify", overlays=[place.overlay({"verify": {"cells": cells}}, "verify.yaml")])


def test_an_untouched_study_passes_and_a_tampered_one_does_not(tiny_copy):
    outcome = verified(tiny_copy, 1)
    assert outcome.code == 0, outcome.text
    assert len([line for line in outcome.stdout.splitlines() if line.endswith(": agrees")]) == 1
    assert pd.read_csv(tiny_copy.directory / TABLE)["agrees"].all()
    assert not tiny_copy.plan().jobs

    for path in (tiny_copy.directory / "results" / "attributions").rglob("*.parquet"):
        change_number(path)
    outcome = verified(tiny_copy, 1)
    assert outcome.code != 0
    (line,) = (line for line in outcome.stderr.splitlines() if line.startswith("approxgrad: verify"))
    (cell,) = pd.read_csv(tiny_copy.directory / TABLE)["cell"].unique()
    assert cell in line
    assert "in the file, " in line
    assert "Traceback" not in outcome.text


@pytest.mark.soak
@pytest.mark.parametrize(
    ("tamper", "file", "found"),
    [
        (
            change_number,
            maps("saliency", "forward-h2"),
            {
                (maps("saliency", "forward-h2"), "values"),
                (metrics("saliency"), "provenance"),
                (metrics("saliency"), "metrics"),
            },
        ),
        (change_number, metrics("integrated_gradients"), {(metrics("integrated_gradients"), "metrics")}),
        (
            change_number,
            gradients("forward-h2"),
            {(gradients("forward-h2"), "values"), (maps("saliency", "forward-h2"), "provenance")},
        ),
        (
            make_stale,
            maps("integrated_gradients", "forward-h0.1"),
            {
                (maps("integrated_gradients", "forward-h0.1"), "provenance"),
                (metrics("integrated_gradients"), "provenance"),
            },
        ),
        (
            swap_weights,
            WEIGHTS,
            {
                (maps(method, gradient + precision), check)
                for method, gradients, precisions in (
                    ("saliency", ("exact", "forward-h0.5", "forward-h2"), ("", "-float64")),
                    ("integrated_gradients", ("exact", "forward-h0.1"), ("",)),
                    ("integrated_gradients_published", ("forward-h0.1",), ("",)),
                )
                for gradient in gradients
                for precision in precisions
                for check in ("provenance", "values")
            }
            | {
                (gradients(gradient + precision), check)
                for gradient in ("exact", "forward-h0.5", "forward-h2")
                for precision in ("", "-float64")
                for check in ("provenance", "values")
            },
        ),
    ],
    ids=["map", "metric", "gradient", "code", "weights"],
)
def test_each_tampering_is_found_where_it_is(tiny_copy, tamper, file, found):
    tamper(tiny_copy.directory / file)
    outcome = verified(tiny_copy, 100)
    assert outcome.code != 0
    table = pd.read_csv(tiny_copy.directory / TABLE)
    assert table["cell"].nunique() == 11
    wrong = table[~table["agrees"]]
    assert set(zip(wrong["file"], wrong["check"], strict=True)) == found
    (line,) = (line for line in outcome.stderr.splitlines() if line.startswith("approxgrad: verify"))
    assert wrong["cell"].iloc[0] in line
    assert wrong["difference"].iloc[0] in line


@pytest.mark.soak
def test_another_configuration_is_found(tiny_copy):
    overlay = tiny_copy.overlay({"models": {"mlp": {"training": {"epochs": 3}}}}, "other.yaml")
    outcome = tiny_copy.run("verify", overlays=[overlay, tiny_copy.overlay({"verify": {"cells": 100}}, "verify.yaml")])
    assert outcome.code != 0
    wrong = pd.read_csv(tiny_copy.directory / TABLE).query("not agrees")
    assert set(zip(wrong["file"], wrong["check"], strict=True)) == {(WEIGHTS, "provenance")}
    assert set(wrong["difference"]) == {"config.training.epochs is 2 in the file, 3 now"}
