"""Trees as tables of nodes, the same for all libraries: to see that a file is whole, and for TreeSHAP.

A row goes left at a node if its feature is at most the threshold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.models.kind import ModelError
from approxgrad.models.ubj import read_ubj

Array = NDArray[Any]

END = "\nend of trees"
"""What follows the trees of a LightGBM model."""

BROKEN: tuple[type[Exception], ...] = (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)
"""What reading a file raises that is damaged, or of another program."""


@dataclass(frozen=True)
class Table:
    """A tree of n nodes, of which number 0 is the root.

    Attributes
    ----------
    left, right, feature, threshold : ndarray
        Shape (n,): the children of a node, the feature that decides between them, and its threshold.
    inner : ndarray
        Shape (n,): whether a node has children.
    values : ndarray
        Shape (n, K): what a leaf adds to the outputs.
    column : int
        The column of the outputs, if K is 1.
    """

    left: Array
    right: Array
    feature: Array
    threshold: Array
    inner: Array
    values: Array
    column: int = 0

    def is_whole(self, features: int) -> bool:
        """Return whether every path from the root ends at a leaf, by features that there are.

        Libraries do not look, and follow a broken tree out of their memory.
        """
        nodes = len(self.inner)
        if nodes == 0 or any(len(own) != nodes for own in (self.left, self.right, self.feature, self.threshold)):
            return False
        children = np.concatenate([self.left[self.inner], self.right[self.inner]])
        # No node has two parents, and the root has none: then no path comes back.
        return (
            len(self.values) == nodes
            and bool(((children > 0) & (children < nodes)).all())
            and len(np.unique(children)) == len(children)
            and bool(((self.feature[self.inner] >= 0) & (self.feature[self.inner] < features)).all())
        )

    def for_shap(self) -> dict[str, Array]:
        """Return the tree as the library shap takes it; the numbers of samples do not enter interventional values."""
        left, right = (np.where(self.inner, own, -1) for own in (self.left, self.right))
        return {
            "children_left": left,
            "children_right": right,
            "children_default": left,
            "features": np.where(self.inner, self.feature, -2),
            "thresholds": np.asarray(self.threshold, np.float64),
            "values": np.asarray(self.values, np.float64),
            "node_sample_weight": np.ones(len(left)),
        }


def check_tables(tables: Iterable[Table], features: int) -> None:
    """Refuse, by a ModelError, trees that do not lead to leaves."""
    number = -1
    for number, table in enumerate(tables):
        if not table.is_whole(features):
            raise ModelError(f"is damaged: tree {number} does not lead to leaves")
    if number < 0:
        raise ModelError("holds no trees")


def xgboost_tables(content: bytes) -> tuple[list[Table], int]:
    """Return the trees, and the number of features, of an XGBoost model that was saved as (Universal Binary) JSON.

    Raises a ModelError if it is damaged, or linear.
    """
    try:
        learner = (json.loads(content) if content[1:2] in b'" \r\n\t' else read_ubj(content))["learner"]
        booster = learner["gradient_booster"]
        if booster["name"] == "gblinear":
            raise ModelError("is linear (gblinear), expected trees")
        model = booster.get("gbtree", booster)["model"]
        trees, groups = model["trees"], model["tree_info"]
        weights = np.asarray(booster.get("weight_drop", np.ones(len(trees))), np.float64)
        targets = int(learner["learner_model_param"].get("num_target", 1))
        rows = zip(trees, groups, weights, strict=True)
        tables = [
            _xgboost_table(number, tree, int(group), float(weight), targets)
            for number, (tree, group, weight) in enumerate(rows)
        ]
        return tables, int(learner["learner_model_param"]["num_feature"])
    except ModelError:
        raise
    except BROKEN:
        raise ModelError("is damaged, or was not saved by XGBoost") from None


def _xgboost_table(number: int, tree: Mapping[str, Any], group: int, weight: float, targets: int) -> Table:
    left, right, parent = (np.asarray(tree[key], np.int64) for key in ("left_children", "right_children", "parents"))
    threshold = np.asarray(tree["split_conditions"], np.float32)
    nodes, size, inner = len(left), int(tree["tree_param"].get("size_leaf_vector", 1)), left != -1
    others = [len(tree[key]) for key in ("default_left", "loss_changes", "sum_hessian")]
    known = int(tree["tree_param"]["num_nodes"]) == nodes and int(tree["id"]) == number and size in (0, 1, targets)
    # XGBoost itself takes the right child to follow the left one.
    if not known or {len(right), len(parent), *others} != {nodes} or (right != left + 1)[inner].any():
        raise ValueError("a tree is not whole")
    if (parent[left[inner]] != np.flatnonzero(inner)).any() or (parent[right[inner]] != np.flatnonzero(inner)).any():
        raise ValueError("a node has two parents")
    return Table(
        left=left,
        right=right,
        feature=np.asarray(tree["split_indices"], np.int64),
        # There a row goes left if it is below the threshold.
        threshold=np.nextafter(threshold, np.float32(-np.inf)),
        inner=inner,
        # A leaf has its value, if it has one, in the place of the threshold.
        values=(weight * threshold.astype(np.float64) if size <= 1 else np.full(nodes, np.nan))[:, None],
        column=group,
    )


def lightgbm_tables(text: str) -> tuple[list[Table], int]:
    """Return the trees, and the number of features, of a LightGBM model that was saved as text.

    The values of leaves with linear models are NaN.

    Raises a ModelError if it is damaged.
    """
    head, *trees = text.partition(END)[0].split("\nTree=")
    if END not in text:
        raise ModelError("is damaged: it ends before its trees do")
    try:
        entries = entries_of(head)
        columns = int(entries["num_tree_per_iteration"])
        tables = [_lightgbm_table(entries_of(tree), number % columns) for number, tree in enumerate(trees)]
        return tables, int(entries["max_feature_idx"]) + 1
    except BROKEN:
        raise ModelError("is damaged: a tree is not whole") from None


def entries_of(lines: str) -> dict[str, str]:
    """Return the entries of a part of a LightGBM model, a line ``name=value`` each."""
    return dict(line.split("=", 1) for line in lines.splitlines() if "=" in line)


def _lightgbm_table(entries: Mapping[str, str], column: int) -> Table:
    leaves = int(entries["num_leaves"])
    found = [
        np.array(entries[key].split() if leaves > 1 else [], np.float64)
        for key in ("left_child", "right_child", "split_feature", "threshold", "decision_type")
    ]
    values = np.array(entries["leaf_value"].split(), np.float64)
    if leaves < 1 or len(values) != leaves or any(len(own) != leaves - 1 for own in found):
        raise ValueError("a tree is not whole")
    # Leaves are numbered ~0, ~1 and so on; here they follow the inner nodes.
    left, right = (np.where(own < 0, leaves - 2 - own, own) for own in found[:2])
    padded = [np.concatenate([own, np.full(leaves, -1)]) for own in (left, right, *found[2:4])]
    left, right, feature = (own.astype(np.int64) for own in padded[:3])
    values = np.full(leaves, np.nan) if entries.get("is_linear") == "1" else values
    inner = np.arange(2 * leaves - 1) < leaves - 1
    return Table(
        left, right, feature, padded[3], inner, np.concatenate([np.zeros(leaves - 1), values])[:, None], column
    )


def scikit_learn_table(tree: Any, scale: float = 1, *, shares: bool = False, column: int = 0) -> Table:
    """Return a tree of scikit-learn, whose values are multiplied with `scale`, or divided by their sum before."""
    if hasattr(tree, "nodes"):
        nodes = tree.nodes
        left, right, feature = (nodes[name].astype(np.int64) for name in ("left", "right", "feature_idx"))
        return Table(
            left, right, feature, nodes["num_threshold"], nodes["is_leaf"] == 0, nodes["value"][:, None], column
        )
    values = tree.value.reshape(tree.node_count, -1)
    values = values / values.sum(axis=1, keepdims=True) if shares else values
    left = tree.children_left
    return Table(left, tree.children_right, tree.feature, tree.threshold, left != -1, scale * values, column)
