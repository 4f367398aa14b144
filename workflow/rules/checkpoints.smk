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
        "e2mc scratch --config {params.config:q} --base {wildcards.base:q} --output {output.checkpoint:q}"
        " --history {output.history:q} --metrics {output.metrics:q} --state {params.state:q}"
        " > {log:q} 2>&1"


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
        "e2mc fetch {wildcards.name:q} --folder {params.folder:q} > {log:q} 2>&1"


rule import_checkpoint:
    input:
        source=official_checkpoint,
    output:
        checkpoint=path(layout.CHECKPOINT),
        record=path(layout.CHECKPOINT_RECORD),
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
        "e2mc import-checkpoint --config {params.config:q} --base {wildcards.base:q}"
        " --source {input.source:q} --output {output.checkpoint:q} > {log:q} 2>&1"
