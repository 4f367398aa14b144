# The whole paper as one graph. `snakemake all` runs the demo; `--configfile` another experiment.
# Every file lies in results/<experiment>/ as e2mc/plan/layout.py says.
from snakemake.utils import min_version

min_version("9.9")

if not workflow.config_settings.configfiles and "name" not in config:

    configfile: "config/demo.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/parameters.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/checkpoints.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/report.smk"


# On a cluster these run beside snakemake: downloads need its network, the others take seconds.
localrules:
    prepare,
    fetch,
    significance,
    table,
    figure,
    page,
    summary,
    index,


rule all:
    default_target: True
    input:
        rules.tables.input,
        rules.figures.input,
        rules.significance.output,
        rules.summary.output,
        rules.index.output,
        results_of_jobs,
    message:
        "Everything is there"


onstart:
    start_head()


onsuccess:
    print(head.summary(experiment))
