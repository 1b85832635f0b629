"""Zoo: models outside of torch: numpy, scikit-learn, kernels and neighbours."""

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import SVC

from zoo import equal, normal, refused

rows = normal(3, 4, dtype=torch.float64)
seen = np.random.default_rng(0).normal(size=(40, 4))
labels = (seen[:, 0] + seen[:, 1] ** 2 > 0.5).astype(int)
values = np.sin(seen).sum(axis=1)


def fitted(model, method="predict_proba"):
    """Return a function that fits a model of scikit-learn and calls one of its methods."""

    def build():
        function = getattr(model.fit(seen, values if method == "predict" else labels), method)
        return lambda x: torch.from_numpy(function(x.numpy()))

    return build


def one_by_one(x):
    """A model for one row, called for each."""
    return np.array([[float(np.sin(row) @ seen[0]), float(row.max())] for row in x.numpy()])


trees = {"step": 0.5, "roundings": 64}
equal("a forest", fitted(RandomForestClassifier(5, random_state=0)), rows, **trees)
equal(
    "boosted trees",
    fitted(GradientBoostingRegressor(n_estimators=5, random_state=0), "predict"),
    rows,
    target=None,
    **trees,
)
equal("a support vector machine", fitted(SVC(), "decision_function"), rows, target=None)
equal(
    "a pipeline", fitted(make_pipeline(StandardScaler(), PolynomialFeatures(2), LogisticRegression())), rows, target=1
)
equal(
    "nearest neighbours, weighted",
    fitted(KNeighborsRegressor(3, weights="distance"), "predict"),
    rows,
    target=None,
    roundings=256,
)
equal("a Gaussian process", fitted(GaussianProcessRegressor(alpha=0.1), "predict"), rows, target=None, roundings=256)
equal(
    "a network of scikit-learn",
    fitted(MLPRegressor(hidden_layer_sizes=(8,), max_iter=20, random_state=0), "predict"),
    rows,
    target=None,
)
equal(
    "a bound method of scikit-learn that takes tensors",
    lambda: SVC(probability=False).fit(seen, labels).decision_function,
    rows,
    target=None,
)
equal("numpy", lambda: lambda x: np.tanh(x.numpy() @ seen[:4]), rows)
equal("numpy that writes into its input", lambda: lambda x: np.sin(x.numpy(), out=x.numpy()).cumsum(axis=1), rows)
equal("numpy, row by row", lambda: one_by_one, rows)
equal(
    "numpy for tensors that require a gradient",
    lambda: lambda x: np.tanh(np.asarray(x) @ seen[:4]),
    lambda: rows().requires_grad_(),
)
equal(
    "kernels around stored points in torch",
    lambda: lambda x: (-(torch.cdist(x, torch.from_numpy(seen)) ** 2)).exp() @ torch.from_numpy(values),
    rows,
    target=None,
    roundings=256,
)
equal("tables of pandas inside", lambda: lambda x: pd.DataFrame(x.numpy()).cumsum(axis=1).to_numpy(), rows)
equal("numbers of numpy in a list", lambda: lambda x: list(np.sin(x.numpy()).sum(axis=1)), rows, target=None)
equal("half precision of numpy", lambda: lambda x: np.sin(x.numpy()).astype(np.float16), rows, roundings=4, step=0.5)
refused(
    "labels of scikit-learn",
    lambda: lambda x: SVC().fit(seen, labels).predict(x.numpy()),
    "model: (?=.*int64)(?=.*(real|floating|score|probabilit))",
    rows,
    target=None,
)
refused("objects of numpy", lambda: lambda x: np.array([object()] * len(x)), "model: .*", rows, target=None)
refused("a table of pandas", lambda: lambda x: pd.DataFrame(x.numpy()), "model: (?=.*DataFrame)(?=.*tensor)", rows)
