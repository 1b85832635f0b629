"""Files that are something else than they were taken for."""

import gzip
import io
import zipfile

import numpy as np
import pandas as pd
import pytest

from approxgrad.storage.beginnings import recognised


def archive(*names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name in names:
            file.writestr(name, b"x")
    return content.getvalue()


def parquet():
    content = io.BytesIO()
    pd.DataFrame({"a": [1]}).to_parquet(content)
    return content.getvalue()


def array():
    content = io.BytesIO()
    np.save(content, np.zeros(2))
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "it is a pointer of Git LFS; `git lfs pull`"),
        (b"\xef\xbb\xbf<!DOCTYPE html>", "it is a page of the web"),
        (b"<html>", "it is a page of the web"),
        (parquet(), "it is a .parquet file"),
        (gzip.compress(b"a", mtime=0), "it is compressed, and its name should end in .gz"),
        (array(), "it is a NumPy array"),
        (b"@RELATION iris", "it is an ARFF file"),
        (b'[{"a": 1}]', "it is JSON"),
        (b'{"weight_map": {}}', "it lists weights that lie in several files"),
        (archive("xl/a.xml", "[Content_Types].xml"), "it is a spreadsheet"),
        (archive("a.csv"), "it is a .zip file"),
        (archive("net/data.pkl", "net/constants.pkl"), "it is a TorchScript archive"),
    ],
)
def test_what_a_file_is(tmp_path, content, expected):
    (tmp_path / "own").write_bytes(content)
    assert recognised(tmp_path / "own").startswith(expected)


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,2\n",
        b"<5 %,[x]\n1,2\n",
        b"[x],y\n1,2\n",
        b"{not JSON",
        archive("net/data.pkl", "net/version"),
        b"PK\3\4",
    ],
)
def test_what_is_not_recognised(tmp_path, content):
    (tmp_path / "own").write_bytes(content)
    assert recognised(tmp_path / "own") == ""
    assert recognised(tmp_path / "nowhere") == ""
