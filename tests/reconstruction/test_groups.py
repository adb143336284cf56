from lightning_mri.evaluation import nrmse
from lightning_mri.reconstruction import Guard, Reconstructor
from lightning_mri.sampling import HQS

from .conftest import Isotropic, Measured


def test_slices_of_several_groups_keep_their_order(measured: Measured) -> None:
    order = [0, 1, 2, 0]
    kspace = measured.kspace[order]
    kspace[1:3, 0] = 0  # groups (0, 3) and (1, 2)

    reconstructor = Reconstructor(Isotropic(), HQS(n_steps=2), uncertainty=None, guard=Guard(fallbacks=()))
    result = reconstructor.reconstruct(kspace, measured.mask)

    truth = measured.image[order]
    assert float(nrmse(result.image, truth, region=truth.abs() > 0).max()) < 0.1
    assert result.findings.scale[0] == result.findings.scale[3] > result.findings.scale[2]
