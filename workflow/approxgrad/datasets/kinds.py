"""Kinds of data sets: one module each, named as in the configuration.

Such a module offers

- ``sources(name, options)``: paths of the files that the preparation reads, in the order in which it expects them;
- ``prepare(options, seed, sources)``: the parts ``train``, ``validation`` and ``test``, each a
  :class:`approxgrad.storage.tables.Split`;
- ``test_rows(options)`` and ``training_rows(options)``: the number of such rows, or None where only the files tell it;
- ``feature_shape(options)``: the shape of one input, or None where only the files tell it;
- ``is_image(options)``: whether inputs can be shown as pictures;
- ``has_truth(options)``: whether the true effects of the features are known.

The other modules are what the kinds share.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any


class DatasetError(ValueError):
    """Options or files that no data set can be made of."""


def kind(options: Mapping[str, Any]) -> Any:
    """Return the module of a data set's kind."""
    return import_module(f"{__package__}.{options['kind']}")
