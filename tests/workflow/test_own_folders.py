"""Studies in folders of their own, with one checkout: none of them touches another."""

import pytest

from killing import digests
from running import Place

pytestmark = pytest.mark.workflow

OTHER = """experiments:
  - { datasets: [synthetic_linear], models: [mlp], methods: [saliency], gradients: [tenth], samples: 2 }
"""


def test_studies_in_two_folders_do_not_touch_each_other(tiny_copy, tmp_path):
    other = Place(tmp_path / "other", tiny_copy.repository)
    other.directory.mkdir()
    tiny = tiny_copy.overlays[0].read_text()
    (other.directory / "config.yaml").write_text(tiny[: tiny.index("experiments:")] + OTHER)
    before = digests(tiny_copy.directory)
    outcome = other.run("metrics", configured=False)
    assert outcome.code == 0, outcome.text
    made = digests(other.directory)
    assert digests(tiny_copy.directory) == before
    assert {str(path) for path in made if "gradient=" in str(path)} == {
        f"results/{folder}/dataset=synthetic_linear/model=mlp/{of}/gradient={name}/part-0.parquet"
        for folder, of in (("attributions", "method=saliency"), ("gradients", "samples=2"))
        for name in ("exact", "forward-h0.1")
    }
    assert not tiny_copy.plan().jobs
    assert not other.run("metrics", "--dry-run", configured=False).jobs
    # Weights that both train are the same, and summaries, which have the same name in both, are not.
    own = {str(path) for path in made.keys() & before.keys() if made[path] != before[path]}
    assert "results/summary/summary.csv" in own
    assert not [path for path in own if path.startswith(("data/", "results/models/"))]
