"""What is added to a base loss: E2MC, its rivals and its neighbours.

    from e2mc.criteria import E2MC
    criterion = E2MC(space="hypersphere", entropy_weight=1.0, covariance_weight=25.0)
    loss = base_loss + criterion([z_a, z_b])

Needs torch and NumPy only. See docs/criteria.md.
"""

from e2mc.criteria.corinfomax import CorInfoMax
from e2mc.criteria.covariance import covariance_penalty
from e2mc.criteria.criterion import Criterion
from e2mc.criteria.e2mc import E2MC, to_unit_cube
from e2mc.criteria.entropy_reconstruction import EntropyReconstruction
from e2mc.criteria.gather import gather_rows
from e2mc.criteria.koleo import KoLeo
from e2mc.criteria.mec import MEC
from e2mc.criteria.mmcr import MMCR
from e2mc.criteria.mutual_information import MutualInformation
from e2mc.criteria.radial import RadialVCReg
from e2mc.criteria.sigreg import SIGReg
from e2mc.criteria.spacings import marginal_entropy
from e2mc.criteria.uniformity import Uniformity
from e2mc.criteria.vcreg import VCReg, variance_hinge
from e2mc.criteria.visreg import VISReg
from e2mc.criteria.weights import suggest_weights

CRITERIA: dict[str, type[Criterion]] = {
    "e2mc": E2MC,
    "vcreg": VCReg,
    "auh": Uniformity,
    "mmcr": MMCR,
    "mec": MEC,
    "corinfomax": CorInfoMax,
    "er": EntropyReconstruction,
    "mi": MutualInformation,
    "koleo": KoLeo,
    "sigreg": SIGReg,
    "visreg": VISReg,
    "radial": RadialVCReg,
}
"""Criteria by their name in a configuration."""

__all__ = [
    "CRITERIA",
    "E2MC",
    "MEC",
    "MMCR",
    "CorInfoMax",
    "Criterion",
    "EntropyReconstruction",
    "KoLeo",
    "MutualInformation",
    "RadialVCReg",
    "SIGReg",
    "Uniformity",
    "VCReg",
    "VISReg",
    "covariance_penalty",
    "gather_rows",
    "marginal_entropy",
    "suggest_weights",
    "to_unit_cube",
    "variance_hinge",
]
