import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from approxgrad.evaluation.budgets import agreements, best_of, best_sources, predicted_agreements
from approxgrad.evaluation.frames import SOURCE
from approxgrad.evaluation.uncertainty import Bootstrap
from approxgrad.storage.tables import write_table

BOOTSTRAP = Bootstrap(0, resamples=200)
NAMES = {"dataset": "digits", "model": "cnn", "method": "saliency"}


def rows(family, setting, pearson, evaluations, setting_name="evaluations", reference="exact"):
    own = {"gradient": f"{family}-n{setting}", "family": family, "setting": setting, "setting_name": setting_name}
    own |= {"chosen": False, "dtype": "float32", "evaluations": evaluations, "reference": reference}
    return pd.DataFrame({**NAMES, **own, "sample": range(len(pearson)), "pearson": pearson})


METRICS = pd.concat(
    [
        rows("cosine", 10.0, [0.5, 0.6, 0.7] * 3, 10),
        rows("cosine", 20.0, [0.8, 0.9, np.nan] * 3, 20),
        rows("spsa", 10.0, [0.6, 0.61, 0.62] * 3, 10),
        rows("spsa", 20.0, [0.1, 0.2, 0.3] * 3, 20),
        rows("forward", 0.1, [1.0, 1.0, 1.0] * 3, 13, "step"),
        rows("cosine", 10.0, [0.0, 0.0, 0.0] * 3, 10, reference="truth"),
    ]
)


def test_medians_are_over_the_samples_with_a_value_and_against_the_reference():
    found = agreements(METRICS, BOOTSTRAP).set_index("gradient")
    assert found["median"].to_dict() == pytest.approx(
        {"cosine-n10.0": 0.6, "cosine-n20.0": 0.85, "spsa-n10.0": 0.61, "spsa-n20.0": 0.2, "forward-n0.1": 1.0}
    )
    assert found["n"].to_dict()["cosine-n20.0"] == 6
    assert (found["low"] <= found["median"]).all()
    assert (found["median"] <= found["high"]).all()


def test_the_best_source_costs_no_more_than_the_budget(tmp_path):
    path = tmp_path / "part-0.parquet"
    write_table(path, pa.Table.from_pandas(METRICS[[*SOURCE, "reference", "sample", "pearson"]]), {})
    params = {"seed": 0, "uncertainty": {}, "comparisons": [tuple(NAMES.values())]}
    found, _ = best_sources({"metrics": [path]}, params)
    assert found[["budget", "gradient"]].to_numpy().tolist() == [
        [10, "spsa-n10.0"],
        [13, "forward-n0.1"],
        # The best is not always the one that costs most.
        [20, "forward-n0.1"],
    ]


def test_of_equal_sources_the_cheapest_is_best():
    tied = pd.DataFrame(
        {"family": "f", "gradient": ["b", "a", "c"], "median": [0.5, 0.5, np.nan], "evaluations": [9, 5, 1]}
    )
    assert best_of(tied, ["family"])["gradient"].tolist() == ["a"]


def test_predictions_are_medians_over_the_samples_of_which_something_is_known(tmp_path):
    path = tmp_path / "part-0.parquet"
    predicted = [[0.5, 0.4, 0.6], [None, None, None], [0.7, 0.6, 0.9]]
    write_table(path, pa.table({"sample": [1]}), {"gradient": "cosine-n10", "predicted": {"saliency": predicted}})
    found = predicted_agreements([path], "saliency")
    assert found.to_numpy().tolist() == [["cosine-n10", 0.6, 0.5, 0.75]]
    unknown = {"gradient": "cosine-n2", "predicted": {"saliency": [[None] * 3]}}
    write_table(path, pa.table({"sample": [1]}), unknown)
    assert predicted_agreements([path], "saliency")["predicted"].isna().all()
    # A method of an extension, of which nothing is predicted.
    assert predicted_agreements([path], "own")["predicted"].isna().all()
    assert predicted_agreements([], "saliency").empty
