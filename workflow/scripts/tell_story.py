"""The story of the study: a page, and the part of it that the report starts with."""

from pathlib import Path

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.evaluation.splitting import read_parts
from approxgrad.report.findings import read_facts
from approxgrad.report.pages import page, sections_html
from approxgrad.report.story import start, tell
from approxgrad.running.job import job
from approxgrad.storage.files import write_atomically

with job(snakemake):
    inputs, params = snakemake.input, snakemake.params
    splits = dict(zip(params.families, inputs.splits, strict=True))
    residuals = dict(zip(map(tuple, params.complete), inputs.get("residuals", []), strict=True))
    described = {name: params.get(name) for name in ("labels", "families", "references", "repeats")}
    described |= {name: next(iter(inputs.get(name, [])), None) for name in ("trainings", "faithfulness")}
    pictures = zip(map(tuple, params.pictures), map(Path, inputs.get("pictures", [])), strict=True)
    described["pictures"] = dict(pictures)
    described["parts"] = read_parts(inputs.get("parts", ()), params.split)
    facts = read_facts(inputs.summary, inputs.models, splits, inputs.paired, residuals, **described)
    html = {
        snakemake.output.page: page("The story of this study", sections_html(tell(facts))),
        snakemake.output.start: sections_html(start(facts)),
    }
    for path, text in html.items():
        write_atomically(path, lambda temporary, text=text: temporary.write_text(text, encoding="utf-8"))
