rule imagenet_features:
    input:
        model=model_of,
        data=prepared_data,
    output:
        train=path(layout.IMAGENET_TRAIN),
        test=path(layout.IMAGENET_TEST),
        embeddings=path(layout.EMBEDDINGS),
    log:
        log_of("features", f"{layout.JOB}-imagenet"),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=extract_parameters("imagenet"),
        folder=path(layout.FEATURES),
    message:
        "ImageNet features: {wildcards.base}, {wildcards.criterion}, trial {wildcards.trial}"
    shell:
        "e2mc extract --config {params.config} --base {wildcards.base} --trial {wildcards.trial}"
        " --model {input.model} --dataset imagenet --output {params.folder}"
        " --embeddings {output.embeddings} > {log} 2>&1"


# Without either data set nobody asks for the rule, but it is there.
TRANSFER = needs.transfer_protocols(experiment) or ("inat18", "voc07")


rule transfer_features:
    input:
        model=model_of,
        data=prepared_data,
    output:
        indices=[path(index) for name in TRANSFER for index in layout.INDICES[name]],
    log:
        log_of("features", f"{layout.JOB}-transfer"),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=extract_parameters(*TRANSFER),
        datasets=TRANSFER,
        folder=path(layout.FEATURES),
    message:
        "Transfer features: {wildcards.base}, {wildcards.criterion}, trial {wildcards.trial}"
    shell:
        "e2mc extract --config {params.config} --base {wildcards.base} --trial {wildcards.trial}"
        " --model {input.model} --dataset {params.datasets} --output {params.folder} > {log} 2>&1"
