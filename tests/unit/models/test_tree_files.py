"""Files of trees: told by their content, refused in one line, and never followed out of the memory."""

import io
import json
import pickle
import re
import struct
import zipfile

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from approxgrad import TreeModel
from approxgrad.models.growing import reproducible
from approxgrad.models.kind import ModelError
from approxgrad.models.ubj import read_ubj
from tree_models import NAMES, data, fitted, margins, unfitted, xgboost


def content(name, classes, form="ubj"):
    """The file of a fitted model, as its library writes it."""
    estimator = fitted(name, classes)
    if name.startswith("xgboost"):
        return bytes(estimator.get_booster().save_raw(form))
    return estimator.booster_.model_to_string().encode() if name.startswith("lightgbm") else skops.io.dumps(estimator)


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_told_by_its_content_and_predicts_as_the_model_in_memory(name, classes, tmp_path):
    path, rows = tmp_path / "model.of_mine", data(classes, seed=1)[0]
    for form in ("ubj", "json") if name.startswith("xgboost") else ("",):
        path.write_bytes(content(name, classes, form))
        found = TreeModel(path)
        np.testing.assert_array_equal(found(rows), TreeModel(fitted(name, classes))(rows))
        np.testing.assert_allclose(found(rows), margins(fitted(name, classes), rows), rtol=2e-6, atol=1e-6)
        assert found.files == (path,)


def test_what_libraries_and_editors_add_changes_nothing(tmp_path):
    rows, path = data(3)[0], tmp_path / "model"
    pretty = json.dumps(json.loads(content("xgboost", 3, "json")), indent=1)
    windows = content("lightgbm", 3).replace(b"\n", b"\r\n")
    for name, own in (("xgboost", f"\n{pretty}\n".encode()), ("lightgbm", windows)):
        path.write_bytes(own)
        np.testing.assert_array_equal(TreeModel(path)(rows), TreeModel(fitted(name, 3))(rows))


def fault(tmp_path, given, name="own.model"):
    path = tmp_path / name
    path.write_bytes(given)
    with pytest.raises(ModelError) as error:
        TreeModel(path)
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line.removeprefix(f"{path}: ")


def joblib_file(**options):
    written = io.BytesIO()
    joblib.dump(fitted("forest", 2), written, **options)
    return written.getvalue()


def archive(**members):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as own:
        for name, text in members.items():
            own.writestr(name, text)
    return written.getvalue()


DUMP = json.dumps(fitted("lightgbm", 2).booster_.dump_model()).encode()
OTHER_FILES = [
    (b"", "is empty, expected XGBoost's .json or .ubj"),
    (b" \n", "is empty"),
    (pickle.dumps(fitted("forest", 2)), "is a pickle, which can run any code when it is read; where you trust it"),
    (pickle.dumps(1, protocol=2), "is a pickle"),
    (joblib_file(), "is a pickle"),
    (joblib_file(compress=("zlib", 1)), "is compressed; unpack it"),
    (joblib_file(compress="gzip"), "is compressed; unpack it"),
    (b"binf\0\0\0", "is a binary file of an old XGBoost; load it there and save it as XGBoost's .json"),
    (b"CBM1", "is a CatBoost model, which is not supported"),
    (DUMP, "is a dump of LightGBM, which it cannot read again"),
    (b"f0,f1\n1,2\n", "is not a file of trees, expected"),
    (b"booster[0]:\n0:leaf=1\n", "is not a file of trees"),
    (b'{"a": 1}', "is damaged, or was not saved by XGBoost"),
    (b"{}", "is damaged, or was not saved by XGBoost"),
    (b'{"learner": {"gradient_booster": {"name": "gbtree"}}}', "is damaged, or was not saved by XGBoost"),
    (b"tree\nversion=v4\n", "is damaged: it ends before its trees do"),
    (b"tree\nmax_feature_idx=1\nnum_tree_per_iteration=1\n\nend of trees\n", "holds no trees"),
    (archive(a="b"), "is an archive, but not one of skops"),
    (
        archive(**{"schema.json": "{}"}),
        "cannot be read by the scikit-learn and skops that are installed here (",
    ),
    (b"PK\x03\x04", "is a damaged archive"),
]


@pytest.mark.parametrize(("given", "line"), OTHER_FILES, ids=[line[:40] for _, line in OTHER_FILES])
def test_other_files_are_refused_in_one_line(given, line, tmp_path):
    assert fault(tmp_path, given).startswith(line)


def test_a_pickle_is_refused_by_its_name_where_the_content_does_not_tell(tmp_path):
    for given in (b"", joblib_file(compress=("zlib", 1)), pickle.dumps([1], protocol=0)):
        assert fault(tmp_path, given or b"(lp0", "own.joblib").startswith("is a pickle")


def test_a_path_that_cannot_be_read(tmp_path):
    for path, line in ((tmp_path / "none.json", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ModelError, match=rf"cannot be read \({line}\)"):
            TreeModel(path)


class Own(RandomForestClassifier):
    """A class of the user's, whose code would run when it is read."""


def test_a_file_of_skops_holds_types_of_scikit_learn_only(tmp_path):
    rows, target = data(2)
    for own, name in (
        (Own(2).fit(rows, target), "Own"),
        (make_pipeline(FunctionTransformer(fault, validate=False), RandomForestRegressor(2)), "fault"),
        (make_pipeline(StandardScaler(), unfitted("xgboost", 2)).fit(rows, target), "xgboost.core.Booster"),
    ):
        line = fault(tmp_path, skops.io.dumps(own))
        assert line.startswith("holds ")
        assert f"{name}, " in line
        assert "which may run code when it is read; expected types of scikit-learn and numpy only" in line
    assert fault(tmp_path, skops.io.dumps(LogisticRegression())).startswith("model: got LogisticRegression, expected")


MODELS = [
    (None, "model: got NoneType, expected a file, an XGBoost or LightGBM booster or estimator, scikit-learn's"),
    (LogisticRegression(), "model: got LogisticRegression, expected"),
    (GridSearchCV(RandomForestClassifier(2), {}).fit(*data(2)), "pass its best_estimator_"),
    (unfitted("xgboost", 2), "model: XGBClassifier is not fitted; call its fit first"),
    (unfitted("lightgbm", 2), "model: LGBMClassifier is not fitted; call its fit first"),
    (unfitted("forest", 2), "model: RandomForestClassifier is not fitted; call its fit first"),
    (make_pipeline(StandardScaler(), unfitted("boosting", 2)), "GradientBoostingClassifier is not fitted"),
    (xgboost.Booster(), "model: holds no trees; train it first"),
    (
        xgboost.train({"booster": "gblinear"}, xgboost.DMatrix(*data(0)), 2),
        "model: is linear (gblinear), expected trees",
    ),
    (
        RandomForestClassifier(2).fit(data(2)[0], np.stack([data(2)[1], data(3)[1]], axis=1)),
        "model: predicts 2 classes of each row, expected one",
    ),
]


@pytest.mark.parametrize(("given", "line"), MODELS, ids=[line[:40] for _, line in MODELS])
def test_other_models_are_refused_in_one_line(given, line):
    with pytest.raises(ModelError, match=re.escape(line)) as error:
        TreeModel(given)
    assert "\n" not in str(error.value)


def test_categorical_features_are_refused_by_name(tmp_path):
    pandas = pytest.importorskip("pandas")
    draw = np.random.default_rng(0)
    frame = pandas.DataFrame({"size": draw.normal(size=900), "kind": pandas.Categorical(draw.choice(list("abc"), 900))})
    target = frame["size"] + frame["kind"].cat.codes ** 2
    files = {"xgboost": "model.json", "lightgbm": "model.txt", "histograms": None}
    for name, file in files.items():
        options = {"enable_categorical": True} if name == "xgboost" else {}
        given = [unfitted(name, 0).set_params(**options).fit(frame, target)]
        if file:
            getattr(given[0], "booster_", given[0]).save_model(tmp_path / file)
            given.append(tmp_path / file)
        for own in given:
            with pytest.raises(ModelError, match=r"was trained with categorical features \(kind\)"):
                TreeModel(own)


CALLS = [
    (lambda model, rows: model(np.full_like(rows, np.nan)), "inputs: row 0 holds NaN, and there is no difference"),
    (lambda model, rows: model(rows[:, :3]), r"inputs: got shape \(120, 3\), the model takes \(N, 5\)"),
    (lambda model, rows: model(rows[0]), r"inputs: got shape \(5,\), the model takes \(N, 5\)"),
    (lambda model, rows: model(rows[:0]), "expected .* with at least one row"),
    (lambda model, rows: model(rows.astype(complex)), "inputs: holds complex128, expected real numbers"),
    (lambda _, rows: TreeModel(fitted("forest", 0), output="margin"), "output: got 'margin', expected prediction"),
    (lambda _, rows: TreeModel(fitted("forest", 2), output="logits"), "output: got 'logits', expected probability"),
    (
        lambda _, rows: TreeModel(fitted("xgboost", 2), output="raw"),
        "output: got 'raw', expected one of margin, logits",
    ),
    (lambda _, rows: TreeModel(fitted("xgboost", 2), threads=0), "threads: expected a positive integer, got 0"),
    (lambda _, rows: TreeModel(fitted("xgboost", 2), threads=True), "threads: expected a positive integer, got True"),
    (lambda _, rows: TreeModel(fitted("tree", 2), transform="log")(rows), "transform: the log of the output 0 is not"),
]


@pytest.mark.parametrize(("call", "line"), CALLS, ids=[line[:40] for _, line in CALLS])
def test_wrong_calls_are_refused_in_one_line(call, line):
    with pytest.raises(ValueError, match=line):
        call(TreeModel(fitted("xgboost", 0)), data(0)[0])


def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch):
    import sys

    (tmp_path / "own").write_bytes(content("lightgbm", 2))
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ModelError, match=r"it comes with: pip install '\.\[trees\]' in a clone of approxgrad"):
        TreeModel(tmp_path / "own")


def test_files_that_end_early_are_refused(tmp_path):
    for name, form in (("xgboost", "ubj"), ("xgboost", "json"), ("lightgbm", ""), ("histograms", "")):
        whole = content(name, 3, form)
        end = whole.index(b"\nend of trees") if name == "lightgbm" else len(whole) - 1
        for share in (0.02, 0.3, 0.6, 0.9, 1):
            assert fault(tmp_path, whole[: int(share * end)]).startswith(("is damaged", "is a damaged archive"))


def changed_xgboost(change):
    document = json.loads(content("xgboost", 3, "json"))
    change(document["learner"]["gradient_booster"]["model"]["trees"][2])
    return json.dumps(document).encode()


def changed_lightgbm(key, place, value):
    def put(found):
        numbers = found[2].split()
        numbers[place] = value
        return f"{found[1]}{' '.join(numbers)}"

    return re.sub(rf"^({key}=)(.*)$", put, content("lightgbm", 3).decode(), count=1, flags=re.MULTILINE).encode()


BROKEN = [
    changed_xgboost(lambda tree: tree["left_children"].__setitem__(0, 999)),
    changed_xgboost(lambda tree: tree["left_children"].__setitem__(0, -7)),
    changed_xgboost(lambda tree: tree["right_children"].__setitem__(0, 0)),
    changed_xgboost(lambda tree: tree["split_indices"].__setitem__(0, 77)),
    changed_xgboost(lambda tree: tree["parents"].__setitem__(1, 99999)),
    changed_xgboost(lambda tree: tree["split_conditions"].pop()),
    changed_xgboost(lambda tree: tree["default_left"].pop()),
    changed_xgboost(lambda tree: tree.__setitem__("id", 0)),
    changed_xgboost(lambda tree: tree["tree_param"].__setitem__("num_nodes", "99")),
    changed_xgboost(lambda tree: tree["tree_param"].__setitem__("size_leaf_vector", "77")),
    changed_lightgbm("left_child", 0, "0"),
    changed_lightgbm("left_child", 0, "99"),
    changed_lightgbm("right_child", 0, "-99"),
    changed_lightgbm("split_feature", 0, "99"),
    changed_lightgbm("leaf_value", 0, ""),
    changed_lightgbm("num_leaves", 0, "99"),
    changed_lightgbm("threshold", 0, "high"),
]


@pytest.mark.parametrize("given", BROKEN)
def test_trees_that_lead_out_of_the_memory_are_refused(given, tmp_path):
    assert fault(tmp_path, given).startswith("is damaged")


@pytest.mark.parametrize(("name", "field"), [("forest", "left_child"), ("histograms", "left")])
def test_trees_of_skops_that_lead_out_of_the_memory_are_refused(name, field, tmp_path):
    with zipfile.ZipFile(io.BytesIO(content(name, 2))) as whole:
        members = {own: whole.read(own) for own in whole.namelist()}
    for own, binary in members.items():
        if own.endswith(".npy"):
            array = np.load(io.BytesIO(binary), allow_pickle=False)
            if array.dtype.names and field in array.dtype.names:
                array = array.copy()
                array[field][0] = 9999
                written = io.BytesIO()
                np.save(written, array)
                members[own] = written.getvalue()
    assert fault(tmp_path, archive(**members)) == "is damaged: tree 0 does not lead to leaves"


def test_the_training_parameters_of_a_lightgbm_file_do_not_matter(tmp_path):
    rows, path = data(3)[0], tmp_path / "own"
    whole = content("lightgbm", 3)
    sizes = re.search(rb"^tree_sizes=.*$", whole, re.MULTILINE)[0]
    cut = whole[: whole.index(b"parameters:")]
    for given in (cut, whole.replace(sizes, b"tree_sizes=1 2 3")):
        path.write_bytes(given)
        np.testing.assert_array_equal(TreeModel(path)(rows), TreeModel(fitted("lightgbm", 3))(rows))


def test_universal_binary_json():
    short = struct.pack(">h", -3)
    whole = (
        b"{U\x01a[i\x05I"
        + short
        + b"]U\x01b[$d#i\x02"
        + struct.pack(">ff", 0.5, 2)
        + b"U\x01cSU\x02hiU\x01dTU\x01e[#i\x01Z}"
    )
    found = read_ubj(whole)
    assert found.pop("b").tolist() == [0.5, 2]
    assert found == {"a": [5, -3], "c": "hi", "d": True, "e": [None]}
    for end in range(len(whole)):
        with pytest.raises((ValueError, KeyError, IndexError)):
            read_ubj(whole[:end])
    with pytest.raises(ValueError, match="more follows"):
        read_ubj(whole + b"T")


def test_an_archive_of_skops_is_the_same_whenever_it_is_written():
    rows, target = data(3)
    for name in ("histograms", "forest"):
        first, second = (skops.io.dumps(unfitted(name, 3).fit(rows, target)) for _ in range(2))
        assert first != second
        assert reproducible(first) == reproducible(second)
        again = skops.io.loads(reproducible(first), trusted=skops.io.get_untrusted_types(data=first))
        np.testing.assert_array_equal(again.predict_proba(rows), fitted(name, 3).predict_proba(rows))
