"""Remove files of other configurations from the folder of a study."""

from approxgrad.running.job import job
from approxgrad.study.leftovers import remove

with job(snakemake) as log:
    removed = remove(snakemake.params.files)
    for folder, count in sorted(removed.items()):
        log.info("%s: %d", folder, count)
        print(f"removed from {folder}/: {count:,} file{'s' if count > 1 else ''}", flush=True)
    log.summary = f"removed {removed.total():,} files of other configurations"
