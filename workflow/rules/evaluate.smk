# Every protocol that needs nothing but cached features; each says in its record what it is.
for protocol in PROTOCOLS:
    if protocol.cached and protocol.stage != "knn":
        dataset = protocol.dataset or "{dataset}"

        rule:
            name:
                protocol.stage
            input:
                train=index_of(dataset, "train"),
                test=index_of(dataset, "test"),
            output:
                **results_of(protocol),
            log:
                log_of(protocol.stage, job_of(protocol)),
            conda:
                "../../envs/e2mc.yaml"
            params:
                verb=protocol.stage.replace("_", "-"),
                config=CONFIG,
                settings=protocol_parameters(protocol.stage),
                folder=folder_of(protocol),
            message:
                f"{protocol.title}: {{wildcards.base}}, {{wildcards.criterion}}, trial {{wildcards.trial}}"
            shell:
                "e2mc {params.verb} --config {params.config:q} --base {wildcards.base:q}"
                " --trial {wildcards.trial} --train {input.train:q} --test {input.test:q}"
                " --output {params.folder:q} > {log:q} 2>&1"


rule semisup:
    input:
        model=model_of,
        data=prepared_data,
    output:
        **results_of(SEMISUP),
    log:
        log_of("semisup", layout.JOB),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=semisup_parameters,
        folder=path(layout.EVALUATION),
        state=path(layout.STATE.replace("{stage}", "semisup")),
    message:
        "Semi-supervised: {wildcards.base}, {wildcards.criterion}, trial {wildcards.trial}"
    shell:
        "e2mc semisup --config {params.config:q} --base {wildcards.base:q} --trial {wildcards.trial}"
        " --model {input.model:q} --output {params.folder:q} --state {params.state:q} > {log:q} 2>&1"


rule snapshots:
    input:
        start=path(layout.CHECKPOINT),
        models=[path(file) for file in needs.snapshot_files(experiment)],
        data=prepared_data,
    output:
        metrics=path(layout.METRICS.replace("{protocol}", "snapshots")),
        curve=path(layout.CURVE.replace("{protocol}", "snapshots")),
    log:
        log_of("snapshots", layout.JOB),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=snapshot_parameters,
        folder=path(f"{layout.EVALUATION}/snapshots"),
        state=path(layout.STATE.replace("{stage}", "snapshots")),
    message:
        "Probing snapshots: {wildcards.base}, {wildcards.criterion}, trial {wildcards.trial}"
    shell:
        "e2mc snapshots --config {params.config} --base {wildcards.base} --trial {wildcards.trial}"
        " --models {input.start} {input.models} --output {params.folder}"
        " --state {params.state} > {log} 2>&1"


rule knn:
    input:
        train=index_of("imagenet", "train"),
        test=index_of("imagenet", "test"),
        embeddings=path(layout.EMBEDDINGS),
    output:
        metrics=path(layout.METRICS.replace("{protocol}", "knn")),
        predictions=path(layout.PREDICTIONS.replace("{protocol}", "knn")),
        distances=path(layout.DISTANCES),
    log:
        log_of("knn", layout.JOB),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=knn_parameters,
        folder=path(f"{layout.EVALUATION}/knn"),
    message:
        "Nearest neighbours: {wildcards.base}, {wildcards.criterion}, trial {wildcards.trial}"
    shell:
        "e2mc knn --config {params.config:q} --base {wildcards.base:q} --train {input.train:q}"
        " --test {input.test:q} --embeddings {input.embeddings:q} --output {params.folder:q}"
        " > {log:q} 2>&1"
