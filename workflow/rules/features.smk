rule extract_imagenet:
    input:
        model=model_of,
        data=prepared_data,
    output:
        train=temporary(cached("imagenet", "train")),
        test=temporary(cached("imagenet", "test")),
        embeddings=path(layout.EMBEDDINGS),
        record=path(layout.EMBEDDINGS_RECORD),
    log:
        log_of("extract_imagenet", layout.JOB),
    conda:
        "../../envs/e2mc.yaml"
    resources:
        features=1,
    params:
        config=CONFIG,
        settings=extract_parameters("imagenet"),
        folder=path(layout.FEATURES),
    message:
        "ImageNet features: {wildcards.base}, {wildcards.criterion}, trial {wildcards.trial}"
    shell:
        "e2mc extract --config {params.config:q} --base {wildcards.base:q} --trial {wildcards.trial}"
        " --model {input.model:q} --dataset imagenet --output {params.folder:q}"
        " --embeddings {output.embeddings:q} > {log:q} 2>&1"


# Without any such data set nobody asks for the rule, but it is there.
TRANSFER = transfer_datasets(experiment)


rule extract_transfer:
    input:
        model=model_of,
        data=prepared_data,
    output:
        [
            temporary(cached(name, split))
            for name in TRANSFER or ["none"]
            for split in ("train", "test")
        ],
    log:
        log_of("extract_transfer", layout.JOB),
    conda:
        "../../envs/e2mc.yaml"
    resources:
        features=1,
    params:
        config=CONFIG,
        settings=extract_parameters(*TRANSFER),
        datasets=TRANSFER,
        folder=path(layout.FEATURES),
    message:
        "Transfer features: {wildcards.base}, {wildcards.criterion}, trial {wildcards.trial}"
    shell:
        "e2mc extract --config {params.config:q} --base {wildcards.base:q} --trial {wildcards.trial}"
        " --model {input.model:q} --dataset {params.datasets:q} --output {params.folder:q} > {log:q} 2>&1"
