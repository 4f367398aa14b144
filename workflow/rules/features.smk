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


rule transfer_features:
    input:
        model=model_of,
        data=prepared_data,
    output:
        inat18_train=path(layout.INAT18_TRAIN),
        inat18_test=path(layout.INAT18_TEST),
        voc07_train=path(layout.VOC07_TRAIN),
        voc07_test=path(layout.VOC07_TEST),
    log:
        log_of("features", f"{layout.JOB}-transfer"),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=extract_parameters("inat18", "voc07"),
        folder=path(layout.FEATURES),
    message:
        "iNat18 and VOC07 features: {wildcards.base}, {wildcards.criterion}, trial {wildcards.trial}"
    shell:
        "e2mc extract --config {params.config} --base {wildcards.base} --trial {wildcards.trial}"
        " --model {input.model} --dataset inat18 voc07 --output {params.folder} > {log} 2>&1"
