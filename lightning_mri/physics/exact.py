"""The inverse of A^H A + w where k-space is sampled in whole readouts: one small matrix for each row of the image."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lightning_mri.physics.acquisition import Maps, Phase
from lightning_mri.physics.operators import Composition, LinearOperator

MOST = 2**27  # complex values in the eigenvectors of a batch, 1 GiB: four slices of 320 x 320


@dataclass(frozen=True, eq=False)
class NormalInverse:
    """(A^H A + w)^-1 for any w, by the eigenvalues and eigenvectors of A^H A.

    Weights W of k-space that are the same in every row do not mix the rows of the image: A^H A acts on row y as the
    matrix sum over coils of S_cy^H G S_cy, where G is the circulant of the transform of W^2.

    Args:
        values: Eigenvalues of the matrix of each row.
        vectors: Its eigenvectors, in columns.
    """

    values: Float[Tensor, "*batch y x"]
    vectors: Complex[Tensor, "*batch y x x"]

    @classmethod
    def of(cls, A: LinearOperator) -> "NormalInverse | None":
        """Return the inverse of an operator with maps, or None where rows mix, or it would take over a GiB.

        For 8 coils and 256 x 256 pixels it takes as long as 600 applications of A^H A, for 64 x 64 as 90.
        """
        middle, right = A.gram if isinstance(A, Composition) else (None, ())
        if middle is None or middle.axes != (-1,) or not right or not isinstance(right[0], Maps) or right[0].n_sets > 1:
            return None
        maps = right[0].maps[..., 0, :, :, :]
        for phase in right[1:]:
            if not isinstance(phase, Phase):
                return None
            maps = maps * phase.factor[..., None, :, :]
        rows = maps.movedim(-3, -1)
        n = rows.shape[-2]
        if rows[..., 0].numel() * n > MOST:
            return None
        pixel = torch.arange(n, device=rows.device)
        circulant = torch.fft.ifft(middle.weights)[..., 0, :, (pixel[:, None] - pixel) % n]
        values, vectors = torch.linalg.eigh((rows.conj() @ rows.mT) * circulant)
        return cls(values.clamp(min=0), vectors)

    def __call__(self, b: Complex[Tensor, "... y x"], weight: Float[Tensor, "..."]) -> Complex[Tensor, "... y x"]:
        """Return (A^H A + weight)^-1 b.

        Args:
            b: Images, [*batch, y, x] or [sample, *batch, y, x].
            weight: w, positive, broadcasts with the images.
        """
        # V^H b as conj(V^T conj(b)), which needs no copy of V
        coefficients = _apply(self.vectors.mT, b.conj()).conj() / (self.values + weight)
        return _apply(self.vectors, coefficients)


def _apply(matrices: Tensor, x: Tensor) -> Tensor:
    """Multiply each row of each image by the matrix of the row.

    Image by image, since the last bits of a product depend on its shape: no image depends on those beside it.
    """
    *batch, rows, n, _ = matrices.shape
    parts = [
        each @ columns
        for image in x.reshape(-1, math.prod(batch), rows, n, 1)
        for each, columns in zip(matrices.reshape(-1, rows, n, n), image, strict=True)
    ]
    return torch.stack(parts).reshape(x.shape)
