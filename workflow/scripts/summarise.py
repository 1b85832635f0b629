"""Mean, spread and quartiles of every metric over the samples."""

import pandas as pd
import pyarrow as pa
from approxgrad.evaluation import read_metrics, summarise
from approxgrad.runtime import job
from approxgrad.tables import write_atomically, write_table

with job(snakemake) as log:
    files = zip(snakemake.input.metrics, snakemake.params.comparisons, strict=True)
    summary = summarise(pd.concat([read_metrics(path, *names) for path, names in files]))
    write_table(snakemake.output.parquet, pa.Table.from_pandas(summary, preserve_index=False), {})
    write_atomically(snakemake.output.csv, lambda path: summary.to_csv(path, index=False))
    log.info("%d rows", len(summary))
