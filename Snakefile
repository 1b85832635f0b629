from snakemake.utils import min_version

from approxgrad.study.config_files import check_config_files, one_line_each
from approxgrad.running.embedding import check_embedding
from approxgrad.study.defaults import default_files, read_quietly

min_version("9.20")
check_embedding(workflow)

# Beside this file and in the working directory, where a study of one's own may lie; the command line wins. In the
# folder of another workflow that uses this one as a module, it is not ours; and that one may give all of it.
IS_MAIN = workflow.modifier.is_main_snakefile()
DEFAULTS = default_files(workflow.current_basedir, here=IS_MAIN) if IS_MAIN or not config else []
# In the order in which they are merged.
CONFIG_FILES = [*DEFAULTS, *workflow.configfiles]

with one_line_each():
    check_config_files(CONFIG_FILES)

read_quietly(workflow, DEFAULTS)


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/attributions.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/verify.smk"
include: "workflow/rules/tidy.smk"


rule all:
    """Everything: data, models, attributions, metrics, figures and the pages of the report."""
    default_target: True
    # A rule without a script names everything that is made for it and not only what comes last: Snakemake does not
    # miss a file that a killed or failed job has lost if all that follows from it is there.
    input:
        rules.models.input,
        rules.attributions.input,
        rules.metrics.input,
        rules.figures.input,
        rules.pages.input,


onstart:
    run_report.begin(logger, verbose=workflow.output_settings.verbose)
    # The limit of jobs a second makes Snakemake look at all waiting jobs again a second after each look and once more for
    # each finished job, which keeps a processor busy where hundreds wait. Only a queue needs it.
    if not workflow.non_local_exec:
        workflow.scheduler.job_rate_limiter = None


onsuccess:
    run_report.end(leftovers(study))


onerror:
    run_report.fail()


localrules:
    all,
    data,
    models,
    attributions,
    metrics,
    comparison_figures,
    figures,
    pages,
    published,
    plan,
