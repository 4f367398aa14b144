"""Information-theoretic objectives as methods of their own: ER and mutual information."""

from torch import Tensor

from e2mc.config import methods as recipes
from e2mc.config.methods import Backbone
from e2mc.criteria import Criterion, EntropyReconstruction, MutualInformation
from e2mc.methods.method import Method, Step, pair
from e2mc.methods.vicreg import VICReg, vicreg_projector


class Direct(Method):
    """VICReg's trunk and projector, trained by an objective that aligns the views by itself.

    The E2MC paper has no such models: no published recipe or number stands behind them.

    Args:
        recipe: of `er` (`e2mc.criteria.EntropyReconstruction`) or `mi` (`MutualInformation`), each
            with its default parameters.
        backbone: shape of the trunk.
    """

    layout = VICReg.layout

    def __init__(self, recipe: recipes.Direct, backbone: Backbone) -> None:
        super().__init__(recipe, backbone)
        self.projector = vicreg_projector(backbone.feature_dimension, recipe.projector)
        self.objective: Criterion = (
            EntropyReconstruction() if isinstance(recipe, recipes.ER) else MutualInformation()
        )

    def forward(self, views: list[Tensor]) -> Step:
        """The objective on the projector's output, one forward pass per view."""
        embeddings = [self.embed(view) for view in pair(views, self.name)]
        terms = self.objective.terms(embeddings)
        logged = {f"{self.name}_{name}": term.detach() for name, term in terms.items()}
        return Step(self.objective.weigh(terms), embeddings, logged)
