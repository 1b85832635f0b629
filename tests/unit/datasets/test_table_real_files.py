"""Tables as programs and people write them: each is read rightly, or answered in one line that helps."""

import bz2
import gzip
import io
import lzma
import zipfile

import numpy as np
import pandas as pd
import pytest

from approxgrad.datasets.faults import DatasetError
from own_tables import SHARES, prepare, table

ROWS = 40
NUMBERS = np.random.default_rng(3).normal(scale=1000, size=(ROWS, 2)).round(2)
OPTIONS = {"task": "regression", "features": ["a", "b"], "target": "y", **SHARES}


def text(separator=",", decimal=".", thousands="", header="a,b,y", number=None):
    """Return a table whose target is the number of the row."""

    def shown(value):
        own = f"{value:,.2f}".replace(",", "\0").replace(".", decimal).replace("\0", thousands)
        return f'"{own}"' if separator in own else own

    lines = [header.replace(",", separator)] if header else []
    for row, values in enumerate(NUMBERS.tolist(), 1):
        lines.append(separator.join([*map(number or shown, values), str(row)]))
    return "\n".join(lines) + "\n"


def written(tmp_path, content, name="own.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def rows(parts):
    return np.concatenate([part.origin.astype(int) for part in parts.values()])


def check(parts, expected=NUMBERS):
    """See that every row has the features of its source, whose number is the target too."""
    for part in parts.values():
        assert part.origin.astype(int).tolist() == part.target.astype(int).tolist()
        np.testing.assert_array_equal(part.features, expected[part.origin.astype(int) - 1].astype(np.float32))
    assert sorted(rows(parts)) == list(range(1, ROWS + 1))


def zipped(content, name="own.csv", beside=None):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, content)
        if beside:
            file.writestr(beside, b"x")
    return archive.getvalue()


@pytest.mark.parametrize(
    ("content", "name", "csv"),
    [
        (text(), "own.csv", {}),
        (text().replace("\n", "\r\n"), "windows.csv", {}),
        ("\ufeff" + text(), "excel-utf8.csv", {}),
        (text(";", ",", "."), "german-excel.csv", {"separator": ";", "decimal": ",", "thousands": "."}),
        (text(";", ",", " "), "french.csv", {"separator": ";", "decimal": ",", "thousands": " "}),
        (text(thousands=","), "english.csv", {"thousands": ","}),
        (text(decimal=","), "quoted-decimals.csv", {"decimal": ","}),
        (text("\t"), "own.tsv", {}),
        (text("\t"), "own.TAB", {}),
        (text("\t"), "own.txt", {"separator": "tab"}),
        (text("   "), "own.dat.txt", {"separator": "space"}),
        (text("|"), "own.csv", {"separator": "|"}),
        (text().encode("utf-16"), "excel-unicode.csv", {"encoding": "utf-16"}),
        (gzip.compress(text().encode()), "own.csv.gz", {}),
        (bz2.compress(text("\t").encode()), "own.tsv.bz2", {}),
        (lzma.compress(text().encode()), "own.csv.xz", {}),
        (zipped(text()), "own.csv.zip", {}),
        ("# made by a program\n# on a day\n" + text(), "commented.csv", {"skip": 2}),
        (text().replace("\n", ",\n"), "trailing-commas.csv", {}),
        (text(header='"a","b","y"'), "quoted.csv", {}),
        (text() + "\n\n   \n", "empty-last-lines.csv", {}),
        (text().replace("\n", "\r"), "old-mac.csv", {}),
        (text(number=lambda value: f"  {value}"), "leading-spaces.csv", {}),
        (text(number=lambda value: f'"{value}"'), "quoted-numbers.csv", {}),
        (text(number=lambda value: f"{value:+}"), "signs.csv", {}),
        (text(thousands="'"), "swiss.csv", {"thousands": "'"}),
        ("sep=;\n" + text(";"), "excel-sep.csv", {"separator": ";", "skip": 1}),
        (text().encode("utf-16-le"), "utf-16.csv", {"encoding": "utf-16-le"}),
        (zipped(text(), beside="__MACOSX/._own.csv"), "mac.csv.zip", {}),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isprintable() and len(value) < 30 else "",
)
def test_ways_to_write_numbers(tmp_path, content, name, csv):
    check(prepare(OPTIONS | {"path": written(tmp_path, content, name), "csv": csv}))


def test_no_names_of_columns(tmp_path):
    path = written(tmp_path, text(header=""), "uci.data")
    parts = prepare(OPTIONS | {"path": path, "csv": {"header": False}, "features": "all", "target": "3"})
    check(parts)
    assert parts["test"].feature_names == ("1", "2")
    with pytest.raises(DatasetError, match=r"has no column 'a', only .*\(are these numbers\? `csv: {header: false}`"):
        prepare(OPTIONS | {"path": path})


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__"])
def test_the_row_names_of_other_programs_are_no_feature(tmp_path, name):
    lines = text().splitlines()
    numbered = "\n".join([f"{name},{lines[0]}", *(f"{place},{line}" for place, line in enumerate(lines[1:]))])
    parts = prepare(OPTIONS | {"path": written(tmp_path, numbered), "features": "all"})
    check(parts)
    assert parts["test"].feature_names == ("a", "b")


def test_a_feature_that_numbers_the_rows_is_told(tmp_path):
    lines = text().splitlines()
    numbered = "\n".join([f"id,{lines[0]}", *(f"{place},{line}" for place, line in enumerate(lines[1:], 100))])
    options = OPTIONS | {"path": written(tmp_path, numbered), "features": "all"}
    (note,) = prepare(options)["train"].notes
    assert note.endswith("own.csv: column id: numbers the rows; if it is no feature, name it in `without`")
    assert prepare(options | {"without": ["id"]})["train"].notes == ()


def test_text_with_quotes_and_new_lines_is_one_field(tmp_path):
    lines = text().splitlines()
    noted = "\n".join([f"note,{lines[0]}", *(f'"one, ""two""\nthree",{line}' for line in lines[1:])])
    check(prepare(OPTIONS | {"path": written(tmp_path, noted), "features": "all", "without": ["note"]}))


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ("all", ["id", "pixel1", "pixel2", "pixel10", "a:b", "width [cm]"]),
        (["pixel*"], ["pixel1", "pixel2", "pixel10"]),
        (["pixel?", "id"], ["pixel1", "pixel2", "id"]),
        (["pixel1:pixel10"], ["pixel1", "pixel2", "pixel10"]),
        (["a:b", "width [cm]"], ["a:b", "width [cm]"]),
        (["pixel2", "pixel*"], ["pixel2", "pixel1", "pixel10"]),
        (["*:*"], ["a:b"]),
    ],
)
def test_which_columns_are_features(tmp_path, features, expected):
    names = ["id", "pixel1", "pixel2", "y", "pixel10", "a:b", "width [cm]"]
    data = pd.DataFrame(np.random.default_rng(0).normal(size=(ROWS, 7)), columns=names)
    for name in ("own.csv", "own.parquet"):
        path = tmp_path / name
        data.to_csv(path, index=False) if path.suffix == ".csv" else data.to_parquet(path)
        parts = prepare(OPTIONS | {"path": str(path), "features": features})
        assert list(parts["train"].feature_names) == expected
        own = parts["train"]
        np.testing.assert_array_equal(own.features, data[expected].to_numpy(np.float32)[own.origin.astype(int) - 1])
    parts = prepare(OPTIONS | {"path": str(path), "features": "all", "without": ["id", "w*", "a:b"]})
    assert list(parts["train"].feature_names) == ["pixel1", "pixel2", "pixel10"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"features": ["c*"]}, r"features: got 'c\*', which no column has; the columns are a, b, y$"),
        ({"features": ["y*"]}, r"features: got 'y\*', which are used otherwise"),
        ({"features": ["b:a"]}, r"features: got 'b:a', but 'a' stands before 'b'"),
        ({"features": ["a:c"]}, r"has no column 'a:c', only a, b, y"),
        ({"without": ["c"]}, r"has no column 'c', only a, b, y"),
        ({"categorical": ["y"]}, r"has no column 'y', only a, b"),
    ],
)
def test_columns_that_are_not_there(tmp_path, changes, expected):
    with pytest.raises(DatasetError, match=expected):
        prepare(OPTIONS | {"path": written(tmp_path, text())} | changes)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (text(";", ","), r"has no column 'a', only a;b;y \(are they one\? `csv: {separator: ';'}` splits them\)"),
        (text("\t"), r"`csv: {separator: 'tab'}` splits them"),
        (
            text(decimal=","),
            r"column a, row 1: got '2,040,.*`csv: {decimal: ','}`|row 1: got '\d*,\d\d', .*decimal: ','",
        ),
        (text(thousands=","), r"got '-?\d,\d\d\d\.\d\d', .*`csv: {thousands: ','}` is for"),
        (text(thousands="'"), r"got \"-?\d'\d\d\d\.\d\d\", .*`csv: {thousands: \"'\"}` is for"),
        (text() + "2024-05-31,1,41\n", r"got '2024-05-31', .*; write dates as numbers, .*`without`"),
        (text() + "31.05.2024,1,41\n", r"got '31.05.2024', .*; write dates as numbers"),
        (text() + "5 %,1,41\n", r"got '5 %', expected a finite number; a number must stand alone, without units"),
        (text() + "$5,1,41\n", r"got '\$5', expected a finite number; a number must stand alone"),
        (text() + "-Infinity,1,41\n", r"column a, row 41: got '-inf', .*`csv: {missing_marks: \['-inf'\]}`"),
        (text() + "#DIV/0!,1,41\n", r"got '#DIV/0!', .*`csv: {missing_marks: \['#DIV/0!'\]}`"),
        (text(header="a,b,Y"), r"has no column 'y', only a, b, Y \(did you mean Y\?\)"),
        ("My measurements\n" + text(), r"only My measurements \(is the first line no header\? `csv: {skip: 1}`"),
        ("sep=;\n" + text(";"), r"only sep=; \(is the first line no header\? `csv: {skip: 1}`"),
        (text().encode("utf-16-le"), r"\(perhaps `csv: {encoding: utf-16-le}`\)"),
        ("", r"cannot be read as csv; it is empty"),
        ("<!DOCTYPE html><html></html>", r"cannot be read as csv; it is a page of the web"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", r"a pointer of Git LFS; `git lfs pull`"),
        (text(header=" a, b, y"), r"has no column 'a', only a, b, y \(did you mean ' a'\?\)"),
        (text().encode("utf-16"), r"cannot be read as csv \(.*perhaps `csv: {encoding: utf-16}`"),
        (text().replace("y", "é").encode("cp1252"), r"cannot be read as csv \(.*perhaps `csv: {encoding: cp1252}`"),
        (text().replace("0", "NA", 1), r"got '.*NA.*', expected a finite number"),
        (text() + "NA,1,41\n", r"column a, row 41: got 'NA', .*`csv: {missing_marks: \['NA'\]}` if it stands for a"),
        (text() + "?,1,41\n", r"column a, row 41: got '\?', .*`csv: {missing_marks: \['\?'\]}`"),
        (text() + "red,1,41\n", r"column a, row 41: got 'red', .*; `categorical` is for columns of words"),
        (
            text() + ",,41\n,2,42\n",
            r"lacks values, first in row 41 of 42: column a \(2\), column b \(1\); `missing: drop`",
        ),
        (zipped(text() * 9), r"own.csv: cannot be read as csv; it is a .zip file"),
        (
            gzip.compress(text().encode()),
            r"own.csv: cannot be read as csv; it is compressed, and its name should end in .gz",
        ),
    ],
)
def test_what_cannot_be_read_is_answered_with_what_helps(tmp_path, content, expected):
    with pytest.raises(DatasetError, match=expected) as failure:
        prepare(OPTIONS | {"path": written(tmp_path, content)})
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"path": "own.xlsx"}, "path: got 'own.xlsx', a spreadsheet; save the sheet as .csv"),
        ({"path": "own.ods"}, "path: got 'own.ods', a spreadsheet"),
        ({"path": "own.json.gz"}, "path: got 'own.json.gz', expected a file that ends in .csv or .parquet"),
        ({"csv": {"separator": "::"}}, "csv.separator: got '::', expected one character, tab or space"),
        ({"csv": {"separator": ";", "thousands": "."}}, "csv.thousands: got '.', which is the decimal mark"),
        ({"csv": {"encoding": "utf-99"}}, "csv.encoding: got 'utf-99', expected one that Python knows"),
        ({"csv": {"encoding": "base64"}}, "csv.encoding: got 'base64', expected one that Python knows"),
        ({"categorical": ["a"], "effects": ["c", "d"]}, "effects: are of features, and a column of `categorical`"),
    ],
)
def test_options_that_cannot_be(options, expected):
    (fault,) = table(OPTIONS | {"path": "own.csv"} | options).faults()
    assert fault.startswith(expected)


# Missing values


def gaps(tmp_path):
    """Return a file in which a is missing in rows 3 and 7, and b, where a mark stands for it, in row 7."""
    lines = text().splitlines()
    lines[3] = f",{lines[3].partition(',')[2]}"
    lines[7] = ",n/a,7"
    return written(tmp_path, "\n".join(lines))


def test_rows_that_lack_a_value_can_be_left_out(tmp_path):
    options = OPTIONS | {"path": gaps(tmp_path), "csv": {"missing_marks": ["n/a"]}, "missing": "drop"}
    parts = prepare(options)
    assert sorted(rows(parts)) == [row for row in range(1, ROWS + 1) if row not in (3, 7)]
    for part in parts.values():
        np.testing.assert_array_equal(part.features, NUMBERS[part.origin.astype(int) - 1].astype(np.float32))
        (note,) = part.notes
        assert note.endswith("own.csv lack a value and are left out")
        assert note.startswith("2 of 40 rows")


def test_missing_values_can_be_the_means_of_the_training_rows(tmp_path):
    parts = prepare(OPTIONS | {"path": gaps(tmp_path), "csv": {"missing_marks": ["n/a"]}, "missing": "mean"})
    training = parts["train"].origin.astype(int)
    means = [
        NUMBERS[[row - 1 for row in training if row not in lacking], place].mean()
        for place, lacking in enumerate(([3, 7], [7]))
    ]
    expected = NUMBERS.copy()
    expected[[2, 6], 0], expected[6, 1] = means[0], means[1]
    for part in parts.values():
        # The order of a sum of forty numbers.
        np.testing.assert_allclose(part.features, expected[part.origin.astype(int) - 1], rtol=1e-6)
        assert part.notes[0].startswith("3 missing values of ")
    assert sorted(rows(parts)) == list(range(1, ROWS + 1))


@pytest.mark.parametrize("missing", ["mean", "drop"])
def test_what_cannot_be_filled_is_refused(tmp_path, missing):
    empty = written(tmp_path, "a,b,y\n" + "".join(f",{row},{row}\n" for row in range(ROWS)))
    expected = {"mean": r"column a: is missing in all training rows", "drop": r"lacks a value in each of its 40 rows"}
    with pytest.raises(DatasetError, match=expected[missing]):
        prepare(OPTIONS | {"path": empty, "missing": missing})
    if missing == "mean":
        target = written(tmp_path, text() + "1,2,\n")
        with pytest.raises(DatasetError, match=r"column y, row 41: is missing, expected a finite number"):
            prepare(OPTIONS | {"path": target, "missing": missing})


def test_missing_labels_and_effects_are_left_out_too(tmp_path):
    data = pd.DataFrame(NUMBERS, columns=["a", "b"]).assign(y=["x", "z"] * 20, c=1.0, d=2.0)
    data.loc[4, "y"] = None
    data.loc[9, "d"] = np.nan
    data.to_parquet(tmp_path / "own.parquet")
    options = OPTIONS | {"path": str(tmp_path / "own.parquet"), "task": "classification", "effects": ["c", "d"]}
    parts = prepare(options | {"missing": "drop"})
    assert sorted(rows(parts)) == [row for row in range(1, ROWS + 1) if row not in (5, 10)]
    assert parts["test"].classes == ("x", "z")
    with pytest.raises(DatasetError, match=r"first in row 5 of 40: column y \(1\), column d \(1\)"):
        prepare(options)


def test_missing_values_of_arrays(tmp_path):
    features = NUMBERS.copy()
    features[5, 1] = np.nan
    np.savez(tmp_path / "own.npz", X=features, y=np.arange(1.0, ROWS + 1))
    options = {"task": "regression", "path": str(tmp_path / "own.npz"), "arrays": {"all": ["X", "y"]}, **SHARES}
    assert 6 not in rows(prepare(options | {"missing": "drop"}))
    parts = prepare(options | {"missing": "mean"})
    (filled,) = [part.features[part.origin == "6", 1] for part in parts.values() if "6" in part.origin]
    training = parts["train"].origin.astype(int) - 1
    assert filled == pytest.approx(np.nanmean(features[training, 1]), rel=1e-6)


# Categories


PEOPLE = pd.DataFrame(
    {
        "age": np.arange(ROWS) + 20.0,
        "city": np.resize(["Rome", "Oslo", "Lima"], ROWS),
        "rooms": np.resize([10, 9], ROWS),
        "y": np.arange(1.0, ROWS + 1),
    }
)


@pytest.mark.parametrize("name", ["own.csv", "own.parquet"])
def test_categories_become_features_that_know_their_column(tmp_path, name):
    path = tmp_path / name
    PEOPLE.to_csv(path, index=False) if path.suffix == ".csv" else PEOPLE.to_parquet(path)
    own = OPTIONS | {"path": str(path), "features": "all", "categorical": ["city", "rooms"]}
    assert table(own).feature_shape is None
    parts = prepare(own)
    names = ("age", "city=Lima", "city=Oslo", "city=Rome", "rooms=9", "rooms=10")
    for part in parts.values():
        assert part.feature_names == names
        assert part.feature_groups == ("age", "city", "city", "city", "rooms", "rooms")
        source = PEOPLE.iloc[part.origin.astype(int) - 1]
        for place, column in enumerate(names[1:], 1):
            key, _, value = column.partition("=")
            assert part.features[:, place].tolist() == (source[key].astype(str) == value).astype(float).tolist()


def test_a_category_of_one_file_is_a_feature_of_all(tmp_path):
    files = {}
    for part, cities in (("train", ["Rome", "Oslo"]), ("test", ["Oslo", "Lima"])):
        files[part] = str(tmp_path / f"{part}.csv")
        PEOPLE.assign(city=np.resize(cities, ROWS), extra=1).to_csv(files[part], index=False)
    parts = prepare(OPTIONS | {"files": files, "features": ["age", "city"], "categorical": ["city"]})
    for part in parts.values():
        assert part.feature_names == ("age", "city=Lima", "city=Oslo", "city=Rome")
    assert parts["test"].features[:, 3].max() == 0
    assert parts["train"].features[:, 1].max() == 0


def test_a_missing_category_is_left_out_or_a_share(tmp_path):
    PEOPLE.assign(city=PEOPLE["city"].mask(PEOPLE.index == 4)).to_csv(tmp_path / "own.csv", index=False)
    own = OPTIONS | {"path": str(tmp_path / "own.csv"), "features": ["city"], "categorical": ["city"]}
    with pytest.raises(DatasetError, match=r"first in row 5 of 40: column city \(1\)"):
        prepare(own)
    assert 5 not in rows(prepare(own | {"missing": "drop"}))
    parts = prepare(own | {"missing": "mean"})
    (filled,) = [part.features[part.origin == "5"][0] for part in parts.values() if "5" in part.origin]
    known = [part.features[part.origin != "5"] for name, part in parts.items() if name == "train"]
    np.testing.assert_allclose(filled, known[0].mean(axis=0), rtol=1e-6)


def test_names_of_rows_are_no_categories(tmp_path):
    PEOPLE.assign(name=[f"person {row}" for row in range(ROWS)]).to_csv(tmp_path / "own.csv", index=False)
    own = OPTIONS | {"path": str(tmp_path / "own.csv"), "features": "all", "categorical": ["name", "city"]}
    with pytest.raises(
        DatasetError, match=r"column name: has 40 different values in 40 rows.*leave it out with `without`"
    ):
        prepare(own)
