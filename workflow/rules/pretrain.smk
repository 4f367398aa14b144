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
        "e2mc pretrain --config {params.config} --base {wildcards.base}"
        " --criterion {wildcards.criterion} --trial {wildcards.trial} --start {input.start}"
        " --output {output.model} --history {output.history} --metrics {output.metrics}"
        " --state {params.state} > {log} 2>&1"
