"""Every test of the criteria draws the same random numbers, alone or in company."""

import pytest
import torch


@pytest.fixture(autouse=True)
def fixed_random_numbers() -> None:
    torch.manual_seed(0)
