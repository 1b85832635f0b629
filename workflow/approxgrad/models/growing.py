"""Training ensembles of trees, the same to the last bit for a seed, and the files that hold them."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from approxgrad.models.evaluating import explained
from approxgrad.models.kind import ModelError
from approxgrad.models.libraries import needing
from approxgrad.storage.splits import Split

if TYPE_CHECKING:
    from approxgrad.models.trees import Growing

DRAWN_ROWS = 0.632
"""Share of the rows that each tree of LightGBM's forest takes: that of a bootstrap, 1 - 1/e."""

LARGEST_SEED = 2**31
BEFORE_1980 = (1980, 1, 1, 0, 0, 0)
"""The time of everything in an archive, so that its bytes are the same."""


def grown(library: str, options: Growing, path: Path, train: Split, seed: int) -> dict[str, Any]:
    """Train an ensemble on the rows of a split, write its file and return how many leaves it has.

    Parameters
    ----------
    library : str
        ``scikit-learn``, ``xgboost`` or ``lightgbm``.
    options : Growing
        How it is trained.
    path : path
        Where the file goes.
    train : Split
        The training rows; images are flattened.
    seed : int
        Of the draws.

    Raises
    ------
    ModelError
        If the library is not installed or fails, or a class has no rows.
    """
    inputs = train.model_inputs().reshape(len(train.target), -1)
    if train.classes:
        missing = sorted(set(range(len(train.classes))) - set(np.unique(train.target).tolist()))
        if missing:
            raise ModelError(f"training: there are no training rows of class {train.classes[missing[0]]}")
    with needing("trees"):
        train_with = LIBRARIES[library]
        with explained(f"training: {library} fails"):
            content, leaves = train_with(options, inputs, train.target, len(train.classes), seed % LARGEST_SEED)
    path.write_bytes(content)
    return {"leaves": int(leaves)}


def _scikit_learn(options: Growing, inputs: Any, target: Any, classes: int, seed: int) -> tuple[bytes, int]:
    import skops.io
    from sklearn import ensemble

    common = {"max_depth": options.depth, "random_state": seed}
    if options.ensemble == "forest":
        forest = ensemble.RandomForestClassifier if classes else ensemble.RandomForestRegressor
        model = forest(n_estimators=options.trees, **common).fit(inputs, target)
        return reproducible(skops.io.dumps(model)), sum(tree.get_n_leaves() for tree in model.estimators_)
    boosting = ensemble.HistGradientBoostingClassifier if classes else ensemble.HistGradientBoostingRegressor
    model = boosting(
        max_iter=options.trees,
        learning_rate=options.rate,
        max_leaf_nodes=None,
        early_stopping=False,
        categorical_features=None,
        **common,
    ).fit(inputs, target)
    leaves = sum(tree.get_n_leaf_nodes() for iteration in model._predictors for tree in iteration)
    return reproducible(skops.io.dumps(model)), leaves


def _xgboost(options: Growing, inputs: Any, target: Any, classes: int, seed: int) -> tuple[bytes, int]:
    import xgboost

    common: dict[str, Any] = {"n_estimators": options.trees, "max_depth": options.depth, "random_state": seed}
    common |= {"tree_method": "hist", "device": "cpu", "n_jobs": torch.get_num_threads()}
    if options.ensemble == "forest":
        model = (xgboost.XGBRFClassifier if classes else xgboost.XGBRFRegressor)(**common)
    else:
        kind = xgboost.XGBClassifier if classes else xgboost.XGBRegressor
        model = kind(learning_rate=options.rate, **common)
    booster = model.fit(inputs, target).get_booster()
    return bytes(booster.save_raw("ubj")), sum(tree.count("leaf=") for tree in booster.get_dump())


def _lightgbm(options: Growing, inputs: Any, target: Any, classes: int, seed: int) -> tuple[bytes, int]:
    import lightgbm

    common: dict[str, Any] = {"n_estimators": options.trees, "max_depth": options.depth, "random_state": seed}
    common |= {"num_leaves": 2**options.depth, "deterministic": True, "force_row_wise": True, "verbose": -1}
    common |= {"n_jobs": torch.get_num_threads()}
    if options.ensemble == "forest":
        common |= {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": DRAWN_ROWS}
    else:
        common |= {"learning_rate": options.rate}
    kind = lightgbm.LGBMClassifier if classes else lightgbm.LGBMRegressor
    text = kind(**common).fit(inputs, target).booster_.model_to_string()
    return text.encode(), sum(int(leaves) for leaves in re.findall(r"^num_leaves=(\d+)", text, re.MULTILINE))


LIBRARIES: dict[str, Callable[..., tuple[bytes, int]]] = {
    "scikit-learn": _scikit_learn,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
}


def reproducible(content: bytes) -> bytes:
    """Return a skops archive with numbers in the order of its objects instead of their addresses, and without times."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = members.pop("schema.json").decode()
    addresses = dict.fromkeys(re.findall(r'"__id__": (\d+)', schema))
    numbers = {address: str(number) for number, address in enumerate(addresses, start=1)}
    schema = re.sub(r'("__id__": )(\d+)', lambda found: found[1] + numbers[found[2]], schema)
    renamed = {}
    for name in members:
        address, _, ending = name.partition(".")
        renamed[name] = f"{numbers.get(address, address)}.{ending}"
        schema = schema.replace(f'"{name}"', f'"{renamed[name]}"')
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members, key=renamed.__getitem__):
            archive.writestr(zipfile.ZipInfo(renamed[name], BEFORE_1980), members[name], zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo("schema.json", BEFORE_1980), schema, zipfile.ZIP_DEFLATED)
    return written.getvalue()
