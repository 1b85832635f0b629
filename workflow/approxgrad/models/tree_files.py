"""Files of tree ensembles: which library wrote one is told from its content, and none of them can run code."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from approxgrad.messages import one_line
from approxgrad.models.kind import ModelError
from approxgrad.models.libraries import needing
from approxgrad.models.tree_tables import END, check_tables, lightgbm_tables, scikit_learn_table, xgboost_tables

HARMLESS = (
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
)
"""Types that skops does not trust by itself, because a corrupt tree could be read beyond its memory.

Here trees are checked first.
"""

FORMS = (
    "XGBoost's .json or .ubj (save_model), LightGBM's .txt (booster_.save_model) or scikit-learn's .skops "
    "(skops.io.dump)"
)
"""What can be read, and how it is written."""

PICKLE = f"is a pickle, which can run any code when it is read; where you trust it, load it and save it as {FORMS}"

FOREIGN: tuple[tuple[bytes, str], ...] = (
    *((bytes([0x80, protocol]), PICKLE) for protocol in range(2, 6)),
    (b"binf", f"is a binary file of an old XGBoost; load it there and save it as {FORMS}"),
    (b"bs64", f"is a binary file of an old XGBoost; load it there and save it as {FORMS}"),
    (b"CBM1", f"is a CatBoost model, which is not supported; expected {FORMS}"),
    *(
        (start, f"is compressed; unpack it, expected {FORMS}")
        for start in (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
    ),
)
"""Beginnings of other files, and what to say of them."""

PICKLE_NAMES = (".pkl", ".pickle", ".joblib")


def read_ensemble(path: Path) -> Any:
    """Return the model in a file: an XGBoost or LightGBM booster, or an estimator of scikit-learn.

    It predicts what the library itself predicts with that file, up to the best iteration where there is one.

    Raises a ModelError if the file cannot be read, is of another kind, or is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({one_line(error.strerror or error)})") from None
    try:
        return _reader(path, content)(content)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _reader(path: Path, content: bytes) -> Callable[[bytes], Any]:
    if not content.strip():
        raise ModelError(f"is empty, expected {FORMS}")
    for start, what in FOREIGN:
        if content.startswith(start):
            raise ModelError(PICKLE if path.suffix.lower() in PICKLE_NAMES else what)
    if content.startswith(b"PK\x03\x04"):
        return _scikit_learn
    start = content.lstrip()
    if start.startswith(b"tree\n") or start.startswith(b"tree\r\n"):
        return _lightgbm
    if start.startswith(b"{"):
        if start[:99].translate(None, b" \r\n\t").startswith(b'{"name":"tree"'):
            raise ModelError(f"is a dump of LightGBM, which it cannot read again; expected {FORMS}")
        return _xgboost
    raise ModelError(PICKLE if path.suffix.lower() in PICKLE_NAMES else f"is not a file of trees, expected {FORMS}")


def _xgboost(content: bytes) -> Any:
    content = content.lstrip()
    check_tables(*xgboost_tables(content))
    with needing("trees"):
        import xgboost
    try:
        booster = xgboost.Booster(model_file=bytearray(content))
    except xgboost.core.XGBoostError as error:
        raise ModelError(f"cannot be read by XGBoost ({_reason(error)})") from None
    best = booster.attr("best_iteration")
    # Files of the scikit-learn interface predict with the trees up to the best iteration, plain boosters with all.
    return booster[: int(best) + 1] if best is not None and booster.attr("scikit_learn") is not None else booster


def _reason(error: Exception) -> str:
    """Return what XGBoost says, without its trace."""
    return one_line(str(error).partition("Stack trace")[0].rpartition("] ")[2] or error)


def _lightgbm(content: bytes) -> Any:
    try:
        text = content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise ModelError("is damaged: it is not text") from None
    check_tables(*lightgbm_tables(text))
    # Without the sizes of the trees LightGBM reads one after the other; with wrong ones it ends the process, as it does
    # for parameters of the training that are cut off.
    trees = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("tree_sizes="))
    text = f"{trees.partition(END)[0]}{END}\n"
    with needing("trees"):
        import lightgbm
    try:
        return lightgbm.Booster(model_str=text)
    except (lightgbm.basic.LightGBMError, ValueError) as error:
        raise ModelError(f"cannot be read by LightGBM ({one_line(error)})") from None


def _scikit_learn(content: bytes) -> Any:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        raise ModelError("is a damaged archive") from None
    if "schema.json" not in names:
        raise ModelError(f"is an archive, but not one of skops; expected {FORMS}")
    if damaged is not None:
        raise ModelError(f"is damaged: the checksum of {one_line(damaged)} does not fit")
    with needing("trees"):
        import skops.io
    try:
        unknown = sorted(set(skops.io.get_untrusted_types(data=content)) - set(HARMLESS))
        if unknown:
            raise ModelError(
                f"holds {one_line(', '.join(unknown))}, which may run code when it is read; expected types of "
                "scikit-learn and numpy only; an XGBoost or LightGBM model has a file of its own"
            )
        estimator = skops.io.loads(content, trusted=list(HARMLESS))
    except ModelError:
        raise
    # Whatever scikit-learn's classes raise for a state that is not theirs, or that another release wrote.
    except Exception as error:  # noqa: BLE001
        said = one_line(f"{type(error).__name__}: {error}")
        raise ModelError(f"cannot be read by the scikit-learn and skops that are installed here ({said})") from None
    _check_trees(estimator, 0, set())
    return estimator


def _check_trees(value: Any, features: int, seen: set[int]) -> None:
    """Check all trees in an object from a file; `features` is what the estimator around it takes."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if f"{type(value).__module__}.{type(value).__qualname__}" in HARMLESS:
        check_tables([scikit_learn_table(value)], features)
        return
    if isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, (list, tuple)) or getattr(getattr(value, "dtype", None), "hasobject", False):
        inner = list(getattr(value, "flat", value))
    else:
        inner = list(getattr(value, "__dict__", {}).values())
        features = getattr(value, "__dict__", {}).get("n_features_in_", features)
    for own in inner:
        _check_trees(own, features, seen)
