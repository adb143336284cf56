"""A bar that says how far all processes are: scans, slices a second, time left."""

import sys

from tqdm import tqdm

BAR = (
    "{desc}{percentage:3.0f}%|{bar}| {n:.0f} of {total:.0f} slices, {rate_noinv_fmt}, {elapsed} done, {remaining} left"
)


ROUNDING = 1e-6
"""Of the sum of shares of slices."""


class ProgressBar:
    """The bar of a run.

    Args:
        n_slices: Slices to reconstruct, all together.
        n_scans: Scans that they belong to, if that is to be shown.
    """

    def __init__(self, n_slices: float, n_scans: int | None = None) -> None:
        self.n_slices, self.n_scans = n_slices, n_scans
        # into a file a line every ten seconds is enough
        interval = 0.1 if sys.stderr.isatty() else 10
        self._bar = tqdm(total=n_slices, bar_format=BAR, unit=" slices", mininterval=interval, smoothing=0.05)
        self._counts = False

    def add(self, n_slices: float) -> None:
        """Count slices, or shares of them, that this process has finished."""
        left = self.n_slices - self._bar.n
        self._bar.update(n_slices if n_slices < left - ROUNDING else left)

    def set(self, n_slices: int, n_scans: int = 0) -> None:
        """Say how many slices and scans all processes have finished; what two of them did counts once."""
        n_slices = min(n_slices, int(self.n_slices))
        if self.n_scans is not None:
            self._bar.set_description_str(f"{n_scans} of {self.n_scans} scans: ", refresh=False)
        if not self._counts:  # what was there before says nothing of the speed
            self._bar.initial, self._counts = n_slices, True
        self._bar.update(n_slices - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
