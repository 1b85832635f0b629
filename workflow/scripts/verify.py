"""Compute a random part of a finished study again and compare it with the stored files."""

import tempfile
from pathlib import Path

from approxgrad.running.job import job
from approxgrad.study.study import Study
from approxgrad.verification.comparison import conclusion, described_cell, drawn_cells, verify_cell, write_findings
from approxgrad.verification.recomputation import compute_again

with job(snakemake) as log, tempfile.TemporaryDirectory() as folder:
    parameters = snakemake.params
    study = Study(snakemake.config)
    cells = drawn_cells(study)
    failure = compute_again(
        study,
        [cell.path for cell in cells],
        Path(folder),
        snakefile=parameters.snakefile,
        rules=parameters.rules,
        cores=snakemake.threads,
    )
    log.info("computed again: %s", failure or "all")
    findings = []
    for cell in cells:
        own = verify_cell(study, cell, Path(folder), parameters.origins, failure)
        print(described_cell(own), flush=True)
        findings += own
    write_findings(snakemake.log.table, findings)
    log.summary = conclusion(findings)
