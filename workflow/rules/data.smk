rule prepare_data:
    output:
        ready=path(layout.DATA_READY),
    log:
        log_of("data", "prepare"),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=experiment.data.model_dump_json(
            include={
                *("prepare", "cifar10_source", "cifar10_per_class"),
                *("imagenet", "inat18", "voc07"),
            }
        ),
    message:
        "Writing the data sets"
    shell:
        "e2mc prepare-demo --config {params.config} --output {output.ready} > {log} 2>&1"
