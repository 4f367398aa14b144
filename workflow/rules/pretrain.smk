rule pretrain:
    input:
        start=path(layout.CHECKPOINT),
        data=prepared_data,
    output:
        model=path(layout.MODEL),
        history=path(layout.HISTORY),
        metrics=path(layout.PRETRAIN_METRICS),
    log:
        log_of("pretrain", layout.JOB),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=pretrain_parameters,
        state=path(layout.STATE.replace("{stage}", "pretrain")),
    message:
        "Continuing {wildcards.base}: {wildcards.criterion}, trial {wildcards.trial}"
    shell:
        "e2mc pretrain --config {params.config:q} --base {wildcards.base:q}"
        " --criterion {wildcards.criterion:q} --trial {wildcards.trial} --start {input.start:q}"
        " --output {output.model:q} --history {output.history:q} --metrics {output.metrics:q}"
        " --state {params.state:q} > {log:q} 2>&1"


# With snapshots for Figure 4, beyond the model's last epoch if need be. Command and parameters are
# the same, so that a model is not made again when the figure is given up.
use rule pretrain as trajectory with:
    output:
        model=path(layout.MODEL),
        history=path(layout.HISTORY),
        metrics=path(layout.PRETRAIN_METRICS),
        snapshots=[path(file) for file in needs.snapshot_files(experiment)],
    log:
        log_of("trajectory", layout.JOB),
    wildcard_constraints:
        **trajectories(),
    message:
        "Continuing {wildcards.base} with snapshots: {wildcards.criterion}, trial {wildcards.trial}"


ruleorder: trajectory > pretrain
