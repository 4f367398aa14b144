"""Random directions that every rank, and every resumed run, draws alike."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_STRIDE = 2654435761  # between the sequences of two seeds; torch's CPU generator keeps 32 bits


@torch.library.custom_op("e2mc::draw_normal", mutates_args=())
def _draw_normal(rows: int, columns: int, seed: int, step: Tensor, device: torch.device) -> Tensor:
    """An operator of its own because torch.compile cannot look into a generator."""
    generator = torch.Generator(device).manual_seed((seed * _STRIDE + int(step)) % 2**32)
    return torch.randn(rows, columns, generator=generator, device=device)


@_draw_normal.register_fake
def _(rows: int, columns: int, seed: int, step: Tensor, device: torch.device) -> Tensor:
    return torch.empty(rows, columns, device=device)


class RandomSlices(nn.Module):
    """Uniform random unit vectors, new ones for each call in training mode.

    They follow from the seed and the number of calls, which is in the state dict: a resumed run
    goes on with the directions it would have drawn, and all ranks have the same ones without a
    word between them. In evaluation mode the next directions are shown and not used up.

    Args:
        count: how many.
        seed: of the whole sequence.
    """

    def __init__(self, count: int, seed: int) -> None:
        super().__init__()
        self.count = count
        self.seed = seed
        # No number, for which torch.compile would begin anew at every step; and no buffer, which
        # would follow the module to a GPU and have to be waited for.
        self.step = torch.tensor(0)

    def forward(self, like: Tensor) -> Tensor:
        """Directions as columns, (d, count), of the type and on the device of (n, d) embeddings."""
        drawn: Tensor = _draw_normal(like.shape[1], self.count, self.seed, self.step, like.device)
        if self.training:
            self.step = self.step + 1
        return F.normalize(drawn, dim=0).to(like.dtype)

    def get_extra_state(self) -> Tensor:
        """The number of calls so far, for the state dict."""
        return self.step

    def set_extra_state(self, state: Tensor) -> None:
        """Go on after so many calls."""
        self.step = state.cpu()
