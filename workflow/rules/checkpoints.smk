rule scratch:
    input:
        data=prepared_data,
    output:
        checkpoint=path(layout.SCRATCH),
        history=path(layout.SCRATCH_HISTORY),
        metrics=path(layout.SCRATCH_METRICS),
    log:
        log_of("scratch", "{base}"),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=scratch_parameters,
        state=path(layout.SCRATCH_STATE),
    message:
        "Pre-training {wildcards.base} from scratch"
    shell:
        "e2mc scratch --config {params.config} --base {wildcards.base} --output {output.checkpoint}"
        " --history {output.history} --metrics {output.metrics} --state {params.state}"
        " > {log} 2>&1"


rule fetch:
    output:
        checkpoint=protected(layout.FETCHED),
    log:
        "data/checkpoints/{name}.log",
    conda:
        "../../envs/e2mc.yaml"
    params:
        folder=subpath(output.checkpoint, parent=True),
    message:
        "Downloading {wildcards.name}"
    shell:
        "e2mc fetch {wildcards.name} --folder {params.folder} > {log} 2>&1"


rule import_checkpoint:
    input:
        source=official_checkpoint,
    output:
        checkpoint=path(layout.CHECKPOINT),
    log:
        log_of("import_checkpoint", "{base}"),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=import_checkpoint_parameters,
    message:
        "Importing the official checkpoint of {wildcards.base}"
    shell:
        "e2mc import-checkpoint --config {params.config} --base {wildcards.base}"
        " --source {input.source} --output {output.checkpoint} > {log} 2>&1"
