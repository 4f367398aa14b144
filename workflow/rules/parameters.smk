# Parameters are a rerun trigger: each `settings` is the slice of the configuration that the stage
# can see, so a changed key reruns what depends on it and nothing else.


def shown(cells):
    return stages.reporting_settings(
        experiment, [cell.base for cell in cells]
    ).model_dump_json()


def table_parameters(wildcards):
    return shown(needs.table_inputs(experiment, wildcards.table))


def figure_parameters(wildcards):
    return shown(needs.figure_inputs(experiment, wildcards.figure))


def statistics_parameters(wildcards):
    return shown(needs.statistics_inputs(experiment))


def scratch_parameters(wildcards):
    return stages.scratch_settings(experiment, wildcards.base).model_dump_json()


def import_checkpoint_parameters(wildcards):
    return stages.import_checkpoint_settings(
        experiment, wildcards.base
    ).model_dump_json()


def pretrain_parameters(wildcards):
    return stages.pretrain_settings(
        experiment, wildcards.base, wildcards.criterion, int(wildcards.trial)
    ).model_dump_json()


def extract_parameters(*datasets):
    def parameters(wildcards):
        return stages.extract_settings(
            experiment, wildcards.base, int(wildcards.trial), datasets
        ).model_dump_json()

    return parameters


def protocol_parameters(stage):
    def parameters(wildcards):
        return stages.protocol_settings(
            experiment, stage, wildcards.base, int(wildcards.trial)
        ).model_dump_json()

    return parameters


def snapshot_parameters(wildcards):
    return stages.snapshot_settings(
        experiment, wildcards.base, int(wildcards.trial)
    ).model_dump_json()


def knn_parameters(wildcards):
    return stages.knn_settings(experiment, wildcards.base).model_dump_json()
