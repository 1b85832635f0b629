"""Where the tables that compare attributions lie."""

METRIC_TABLE = "results/metrics/dataset={dataset}/model={model}/method={method}/part-0.parquet"
"""Metrics of every sample of a data set, model and method."""

RESIDUALS = "results/completeness/dataset={dataset}/model={model}/part-0.parquet"
"""Completeness residuals of the path methods of a model."""

PUBLISHED_METRICS = "results/published/metrics/source={source}/method={method}/part-0.parquet"
"""Metrics of the maps that others cached."""
