"""A page with the tables of the study."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.report.tables_page import tables_page
from approxgrad.running.job import job
from approxgrad.storage.files import write_atomically

with job(snakemake) as log:
    html = tables_page(dict(zip(snakemake.params.names, snakemake.input.tables, strict=True)))
    write_atomically(snakemake.output.page, lambda path: path.write_text(html, encoding="utf-8"))
    log.summary = f"{len(snakemake.params.names)} tables, {len(html) / 1e6:.1f} MB"
