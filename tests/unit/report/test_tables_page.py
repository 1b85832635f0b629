"""A page with tables is bounded, and says where it has not all rows."""

import base64
import gzip
import json
import re

import numpy as np

from approxgrad.report import tables_page as pages
from approxgrad.report.tables_page import tables_page


def held(html):
    data = re.search('id="data">([^<]*)<', html)[1]
    return json.loads(gzip.decompress(base64.b64decode(data)))


def write(path, rows):
    path.write_text("name,value\n" + "".join(f"{name},{value}\n" for name, value in rows))
    return path


def test_the_page_holds_the_tables_as_they_are_in_their_files(tmp_path):
    first = write(tmp_path / "first.csv", [("a", 1.5), ('"b, c"', "")])
    second = write(tmp_path / "second.csv", [("</script>", 2)])
    html = tables_page({"the first": first, "the second": second})
    assert html == tables_page({"the first": first, "the second": second})
    known = {"header": ["name", "value"]}
    assert held(html) == [
        {"name": "the first", "file": str(first), "all": 2, "rows": [["a", "1.5"], ["b, c", ""]], **known},
        {"name": "the second", "file": str(second), "all": 1, "rows": [["</script>", "2"]], **known},
    ]
    assert html.count("<script") == 3
    assert "src=" not in html


def test_of_a_table_that_is_too_large_the_first_rows_are_held(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "MOST_BYTES", 20_000)
    rng = np.random.default_rng(0)
    large = write(tmp_path / "large.csv", [(number, value) for number, value in enumerate(rng.random(5000))])
    small = write(tmp_path / "small.csv", [("a", 1)])
    html = tables_page({"large": large, "small": small})
    one, other = held(html)
    assert (one["all"], other["all"], len(other["rows"])) == (5000, 1, 1)
    assert 100 < len(one["rows"]) < 5000
    assert one["rows"][0][0] == "0"
    assert len(html) < 20_000 + 15_000
