# Every protocol that needs nothing but cached features; each says in its record what it is.
for protocol in PROTOCOLS:
    if (
        protocol.cached
        and protocol.stage != "knn"
        and protocol.folders(experiment, "{dataset}")
    ):
        dataset = protocol.dataset or "{dataset}"

        rule:
            name:
                protocol.stage
            input:
                train=cached(dataset, "train"),
                test=cached(dataset, "test"),
            output:
                **results_of(protocol),
            log:
                log_of(protocol.stage, job_of(protocol)),
            priority: 1
            conda:
                "../../envs/e2mc.yaml"
            resources:
                features=1,
            params:
                index=layout.INDEX_FILE,
                verb=protocol.stage.replace("_", "-"),
                config=CONFIG,
                settings=protocol_parameters(protocol.stage),
                folder=folder_of(protocol),
            message:
                f"{protocol.title}: {{wildcards.base}}, {{wildcards.criterion}}, trial {{wildcards.trial}}"
            shell:
                "e2mc {params.verb} --config {params.config:q} --base {wildcards.base:q}"
                " --trial {wildcards.trial} --train {input.train:q}/{params.index}"
                " --test {input.test:q}/{params.index} --output {params.folder:q} > {log:q} 2>&1"


# Every protocol that trains on the images themselves: resumable, and nothing is cached.
for protocol in PROTOCOLS:
    if not protocol.cached and protocol != SNAPSHOTS and protocol.folders(experiment):

        rule:
            name:
                protocol.stage
            input:
                model=model_of,
                data=prepared_data,
            output:
                **results_of(protocol),
            log:
                log_of(protocol.stage, layout.JOB),
            conda:
                "../../envs/e2mc.yaml"
            params:
                verb=protocol.stage.replace("_", "-"),
                config=CONFIG,
                settings=protocol_parameters(protocol.stage),
                folder=path(layout.EVALUATION),
                state=path(layout.STATE.replace("{stage}", protocol.stage)),
            message:
                f"{protocol.title}: {{wildcards.base}}, {{wildcards.criterion}}, trial {{wildcards.trial}}"
            shell:
                "e2mc {params.verb} --config {params.config:q} --base {wildcards.base:q}"
                " --trial {wildcards.trial} --model {input.model:q} --output {params.folder:q}"
                " --state {params.state:q} > {log:q} 2>&1"


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
        "e2mc snapshots --config {params.config:q} --base {wildcards.base:q}"
        " --trial {wildcards.trial} --models {input.start:q} {input.models:q}"
        " --output {params.folder:q} --state {params.state:q} > {log:q} 2>&1"


rule knn:
    input:
        train=cached("imagenet", "train"),
        test=cached("imagenet", "test"),
        embeddings=path(layout.EMBEDDINGS),
    output:
        metrics=path(layout.METRICS.replace("{protocol}", "knn")),
        predictions=path(layout.PREDICTIONS.replace("{protocol}", "knn")),
        distances=path(layout.DISTANCES),
    log:
        log_of("knn", layout.JOB),
    priority: 1
    conda:
        "../../envs/e2mc.yaml"
    resources:
        features=1,
    params:
        index=layout.INDEX_FILE,
        config=CONFIG,
        settings=knn_parameters,
        folder=path(f"{layout.EVALUATION}/knn"),
    message:
        "Nearest neighbours: {wildcards.base}, {wildcards.criterion}, trial {wildcards.trial}"
    shell:
        "e2mc knn --config {params.config:q} --base {wildcards.base:q}"
        " --train {input.train:q}/{params.index} --test {input.test:q}/{params.index}"
        " --embeddings {input.embeddings:q} --output {params.folder:q} > {log:q} 2>&1"
