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
