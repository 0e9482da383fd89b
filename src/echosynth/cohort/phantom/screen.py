"""The picture on the screen: where a place in the sector lies in it, and the conversion of polar frames to it.

The polar grid is in fractions of the depth and of the sector's angle.
"""

import numpy as np
from scipy import sparse

from echosynth.cohort.phantom.sites import Site

RADII, ANGLES = 224, 128
_SUB = 3  # points along a pixel's side that are averaged


class Screen:
    """The picture of a site at a depth (cm): as wide as the sector or as high as the depth, whichever is more."""

    def __init__(self, site: Site, depth: float):
        self.site, self.depth = site, depth
        self.half_angle = float(np.float32(np.deg2rad(site.half_angle)))
        width = 2 * np.sin(self.half_angle) * 0.93  # the lower corners may be cut a little, as scanners do
        self.extent = float(depth * max(1.0, width * site.squeeze) * site.zoom)  # cm from top to bottom

    def pixels(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of cm from the probe: x to the right, y down."""
        scale, site = self.site.size / self.extent, self.site
        return np.stack([x * scale * site.squeeze + site.size * (0.5 + site.middle), y * scale + site.size * site.top], -1)

    def world(self, column: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inverse of `pixels`."""
        scale, site = self.site.size / self.extent, self.site
        x = (column - site.size * (0.5 + site.middle)) / (scale * site.squeeze)
        return x, (row - site.size * site.top) / scale

    def converter(self) -> tuple[sparse.csr_matrix, np.ndarray]:
        """(size^2, RADII * ANGLES) matrix that averages the polar image over each pixel, and the cone (size, size)."""
        size = self.site.size
        row, column = np.meshgrid(*2 * [(np.arange(size * _SUB) + 0.5) / _SUB], indexing="ij")
        x, y = self.world(column, row)
        rho, theta = np.hypot(x, y) / self.depth, np.arctan2(x, y) / self.half_angle
        inside = (rho < 1) & (rho >= self.site.footprint) & (np.abs(theta) < 1)
        i, j = rho[inside] * (RADII - 1), (theta[inside] + 1) / 2 * (ANGLES - 1)
        rows, cols = np.nonzero(inside)
        pixel = (rows // _SUB) * size + cols // _SUB
        i0, j0 = np.minimum(i.astype(int), RADII - 2), np.minimum(j.astype(int), ANGLES - 2)
        fi, fj = i - i0, j - j0
        weights = np.concatenate([(1 - fi) * (1 - fj), fi * (1 - fj), (1 - fi) * fj, fi * fj]) / _SUB**2
        cell = i0 * ANGLES + j0
        cells = np.concatenate([cell, cell + ANGLES, cell + 1, cell + ANGLES + 1])
        entries = weights.astype(np.float32), (np.tile(pixel, 4), cells)
        matrix = sparse.csr_matrix(entries, shape=(size * size, RADII * ANGLES))
        cone = inside.reshape(size, _SUB, size, _SUB).sum((1, 3)) == _SUB**2
        return sparse.diags(cone.ravel().astype(np.float32)) @ matrix, cone
