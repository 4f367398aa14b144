rule significance:
    input:
        [path(file) for file in needs.statistics_files(experiment)],
    output:
        tests=report(
            expand(path(layout.STATISTICS), name=needs.STATISTICS_NAMES),
            caption="../report/statistics.rst",
            category="Tests as CSV",
        ),
    log:
        log_of("significance", "significance"),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=statistics_parameters,
    message:
        "Testing every comparison"
    shell:
        "e2mc significance --config {params.config:q} > {log:q} 2>&1"
