"""Every test of the criteria draws the same random numbers, alone or in company."""

import pytest
import torch


@pytest.fixture(autouse=True)
def fixed_random_numbers() -> None:
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Most tests measure embeddings that need no gradient, of which a criterion warns its users."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore:.*embeddings without gradient"))
