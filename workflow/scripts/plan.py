"""Say what the study costs before it is run."""

from approxgrad.planning.plan import available_cores, described, make_plan
from approxgrad.running.job import job
from approxgrad.study.study import Study

with job(snakemake) as log:
    parameters = snakemake.params
    plan = make_plan(Study(snakemake.config), parameters.snakefile, parameters.model_rules, parameters.outputs)
    text = described(plan, available_cores())
    log.info("%s", text)
    print(text, flush=True)
