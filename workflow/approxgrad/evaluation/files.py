"""Where the tables that compare attributions lie, and the cached arrays that some are made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from approxgrad.storage.cached_arrays import ArrayFile
    from approxgrad.study.study import Study

METRIC_TABLE = "results/metrics/dataset={dataset}/model={model}/method={method}/part-0.parquet"
"""Metrics of every sample of a data set, model and method."""

RESIDUALS = "results/completeness/dataset={dataset}/model={model}/part-0.parquet"
"""Completeness residuals of the path methods of a model."""

ERROR_PARTS = "results/error_parts/dataset={dataset}/model={model}/part-0.parquet"
"""Rounding and truncation of a model's attributions, where both are measured."""

FAITHFULNESS = "results/faithfulness/dataset={dataset}/model={model}/method={method}/part-0.parquet"
"""Faithfulness of the maps of every sample of a data set, model and method."""

TEST_MEASURES = "results/test_metrics/dataset={dataset}/model={model}/part-0.parquet"
"""Path of the measures of a model on the test rows."""

PUBLISHED_METRICS = "results/published/metrics/source={source}/method={method}/part-0.parquet"
"""Metrics of the maps that others cached."""

PUBLISHED_FILES = "results/published/files"
"""The files that these are in, and what is to be said of them; without ending."""


def cached_files(study: Study, source: str, method: str) -> list[ArrayFile]:
    """Return the files of a method in a source of cached arrays."""
    return [file for file in study.cached_arrays(source) if file.method == method]


def described_files(study: Study) -> list[tuple[str, dict[str, Any]]]:
    """Return the path of every file of cached arrays, and what :func:`.cached_scales.scales_table` takes of it."""
    from approxgrad.descriptions import written

    found = []
    for source, own in study.config.cached_arrays.items():
        used = {file.path for file in study.cached_arrays(source)}
        for file in study.matching_arrays(source):
            described = {"source": source, "method": file.method, "step": file.step, "used": file.path in used}
            found.append((str(file.path), described | {"names": written(own.arrays)}))
    return found
