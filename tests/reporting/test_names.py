from e2mc.config import Experiment
from e2mc.plan import needs
from e2mc.reporting.names import METHODS, PROTOCOLS, SHORT_PROTOCOLS, criterion_name


def test_everything_that_a_table_shows_has_a_name(settings: Experiment) -> None:
    cells = needs.reproduction_inputs(settings) + needs.statistics_inputs(settings)
    assert {cell.protocol for cell in cells} <= set(PROTOCOLS) & set(SHORT_PROTOCOLS)
    assert {base.method for base in settings.bases.values()} <= set(METHODS)


def test_a_criterion_of_ones_own_keeps_its_name() -> None:
    assert criterion_name("e2mc") == "E²MC"
    assert criterion_name("my_own") == "my_own"
