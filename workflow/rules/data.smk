rule prepare:
    output:
        ready=path(layout.DATA_READY),
    log:
        log_of("prepare", "data"),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=stages.prepare_settings(experiment).model_dump_json(),
    message:
        "Writing the data sets"
    shell:
        "e2mc prepare --config {params.config:q} --output {output.ready:q} > {log:q} 2>&1"
