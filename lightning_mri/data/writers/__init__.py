"""Writers, one module a format; each leaves a whole file or none."""

from lightning_mri.data.writers.atomic import atomic
from lightning_mri.data.writers.fastmri import write_fastmri
from lightning_mri.data.writers.preview import write_preview
from lightning_mri.data.writers.result import write_result

__all__ = ["atomic", "write_fastmri", "write_preview", "write_result"]
