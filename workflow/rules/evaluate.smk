rule linear:
    input:
        train=path(layout.IMAGENET_TRAIN),
        test=path(layout.IMAGENET_TEST),
    output:
        metrics=linear_files(layout.METRICS),
        predictions=linear_files(layout.PREDICTIONS),
        curves=linear_files(layout.CURVE),
    log:
        log_of("linear", layout.JOB),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=linear_parameters,
        folder=path(layout.EVALUATION),
    message:
        "Linear evaluation: {wildcards.base}, {wildcards.criterion}, trial {wildcards.trial}"
    shell:
        "e2mc linear --config {params.config} --base {wildcards.base} --trial {wildcards.trial}"
        " --train {input.train} --test {input.test} --output {params.folder} > {log} 2>&1"


rule semisup:
    input:
        model=model_of,
        data=prepared_data,
    output:
        metrics=semisup_files(layout.METRICS),
        predictions=semisup_files(layout.PREDICTIONS),
        curves=semisup_files(layout.CURVE),
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
        "e2mc semisup --config {params.config} --base {wildcards.base} --trial {wildcards.trial}"
        " --model {input.model} --output {params.folder} --state {params.state} > {log} 2>&1"


rule inat18:
    input:
        train=path(layout.INAT18_TRAIN),
        test=path(layout.INAT18_TEST),
    output:
        metrics=path(layout.METRICS.replace("{protocol}", "inat18")),
        predictions=path(layout.PREDICTIONS.replace("{protocol}", "inat18")),
        curve=path(layout.CURVE.replace("{protocol}", "inat18")),
    log:
        log_of("inat18", layout.JOB),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=inat_parameters,
        folder=path(f"{layout.EVALUATION}/inat18"),
    message:
        "iNat18: {wildcards.base}, {wildcards.criterion}, trial {wildcards.trial}"
    shell:
        "e2mc linear --config {params.config} --base {wildcards.base} --trial {wildcards.trial}"
        " --protocol inat18 --train {input.train} --test {input.test}"
        " --output {params.folder} > {log} 2>&1"


rule voc07:
    input:
        train=path(layout.VOC07_TRAIN),
        test=path(layout.VOC07_TEST),
    output:
        metrics=path(layout.METRICS.replace("{protocol}", "voc07")),
        predictions=path(layout.PREDICTIONS.replace("{protocol}", "voc07")),
    log:
        log_of("voc07", layout.JOB),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=svm_parameters,
        folder=path(f"{layout.EVALUATION}/voc07"),
    message:
        "VOC07 SVMs: {wildcards.base}, {wildcards.criterion}, trial {wildcards.trial}"
    shell:
        "e2mc svm --config {params.config} --trial {wildcards.trial} --train {input.train}"
        " --test {input.test} --output {params.folder} > {log} 2>&1"


rule knn:
    input:
        train=path(layout.IMAGENET_TRAIN),
        test=path(layout.IMAGENET_TEST),
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
        settings=neighbour_parameters,
        folder=path(f"{layout.EVALUATION}/knn"),
    message:
        "Nearest neighbours: {wildcards.base}, {wildcards.criterion}, trial {wildcards.trial}"
    shell:
        "e2mc knn --config {params.config} --base {wildcards.base} --train {input.train}"
        " --test {input.test} --embeddings {input.embeddings} --output {params.folder}"
        " > {log} 2>&1"
