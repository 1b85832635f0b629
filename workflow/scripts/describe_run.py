"""Page with run times, versions and configuration."""

from approxgrad.report.run_record import read_benchmarks, run_page
from approxgrad.running.job import job
from approxgrad.storage.files import write_atomically

with job(snakemake) as log:
    records = read_benchmarks(snakemake.params.benchmarks, snakemake.params.names)
    html = run_page(records, snakemake.input.attributions, snakemake.params.config)
    write_atomically(snakemake.output.page, lambda path: path.write_text(html, encoding="utf-8"))
    log.info("%d records", len(records))
