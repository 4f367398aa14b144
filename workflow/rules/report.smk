TABLES = (*needs.tables(experiment), "reproduction")


rule table:
    input:
        table_inputs,
    output:
        csv=report(
            path(layout.TABLE_CSV),
            caption="../report/table.rst",
            category="Tables as CSV",
            labels={"table": "{table}"},
        ),
        tex=path(layout.TABLE_TEX),
    log:
        log_of("table", "{table}"),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=table_parameters,
        two_columns=experiment.tables.two_columns,
    message:
        "Writing {wildcards.table}"
    shell:
        "e2mc table --config {params.config:q} {wildcards.table:q}"
        " --csv {output.csv:q} --tex {output.tex:q} > {log:q} 2>&1"


rule figure:
    input:
        figure_inputs,
    output:
        pdf=expand(path(layout.FIGURE), format="pdf", allow_missing=True),
        png=report(
            expand(path(layout.FIGURE), format="png", allow_missing=True),
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
    log:
        log_of("figure", "{figure}"),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=figure_parameters,
        caption=figure_caption,
    message:
        "Drawing {wildcards.figure}"
    shell:
        "e2mc figure --config {params.config:q} {wildcards.figure:q}"
        " --output {output:q} > {log:q} 2>&1"


for name in TABLES:

    rule:
        name:
            name
        input:
            expand(path(layout.TABLE_CSV), table=name),


rule tables:
    input:
        expand(path(layout.TABLE_CSV), table=TABLES),


rule figures:
    input:
        expand(
            path(layout.FIGURE),
            figure=needs.figures(experiment),
            format=needs.FIGURE_FORMATS,
        ),


rule summary:
    input:
        summary_inputs,
    output:
        text=path(layout.SUMMARY),
    log:
        log_of("summary", "summary"),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
    message:
        "Summing up"
    shell:
        "e2mc summary --config {params.config:q} --output {output.text:q} > {log:q} 2>&1"


rule index:
    input:
        front_page_inputs,
    output:
        page=path(layout.FRONT_PAGE),
    log:
        log_of("index", "index"),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=digest(experiment.model_dump(mode="json")),
    message:
        "Putting everything on one page"
    shell:
        "e2mc index --config {params.config} --output {output.page} > {log} 2>&1"


rule page:
    input:
        page_inputs,
    output:
        page=report(
            path(layout.PAGE),
            caption="../report/page.rst",
            category=page_category,
            labels={"page": "{page}"},
        ),
    log:
        log_of("page", "{page}"),
    conda:
        "../../envs/e2mc.yaml"
    params:
        config=CONFIG,
        settings=digest(experiment.model_dump(mode="json")),
    message:
        "Page of the report: {wildcards.page}"
    shell:
        "e2mc page --config {params.config:q} {wildcards.page:q} --output {output.page:q} > {log:q} 2>&1"


rule report:
    input:
        rules.tables.input,
        rules.figures.input,
        rules.significance.output,
        rules.summary.output,
        expand(path(layout.PAGE), page=needs.pages(experiment)),
