"""Small NISAR GCOV files with the group and dataset names of the published specification, written by h5py."""

from __future__ import annotations

from pathlib import Path

import numpy as np

POSTING_M = {"A": 20.0, "B": 80.0}
LEFT, TOP = 343440.0, 9159840.0
PARAMETERS = {"radiometricTerrainCorrectionApplied": "True", "noiseCorrectionApplied": "True", "polarimetricSymmetrizationApplied": "False",
              "rtc/outputBackscatterNormalizationConvention": "gamma0", "rtc/outputBackscatterExpressionConvention": "backscatter intensity (linear)"}
IDENTIFICATION = {"productType": "GCOV", "orbitPassDirection": "Ascending", "lookDirection": "Left", "productSpecificationVersion": "1.2.1"}


def power(rows: int = 300, cols: int = 83, seed: int = 1) -> np.ndarray:
    """Gamma nought with a fringe of NaN, as outside the swath."""
    values = np.random.default_rng(seed).gamma(4.4, 0.02, (rows, cols)).astype(np.float32)
    values[:, :4] = np.nan
    return values


def subswaths(rows: int = 300, cols: int = 83) -> np.ndarray:
    """0 = not valid, 1 and 2 the sub-swaths, 255 = outside."""
    mask = np.ones((rows, cols), np.uint8)
    mask[:, cols // 2:] = 2
    mask[40:45] = 0
    mask[:, :4] = 255
    mask[rows // 2, 10:14] = 255                # where the power is a number
    return mask


def add_grid(file: object, terms: dict[str, np.ndarray], frequency: str = "A", sar: str = "LSAR", chunks: tuple[int, int] | None = (64, 32)) -> object:
    """The group of a frequency: the covariance terms (and mask, factor, ...) by their names."""
    group = file.create_group(f"/science/{sar}/GCOV/grids/frequency{frequency}")
    packing = {"chunks": chunks, "compression": "gzip", "shuffle": True} if chunks else {}
    for name, values in terms.items():
        item = group.create_dataset(name, data=values, **packing)
        item.attrs["_FillValue"] = np.uint8(255) if name == "mask" else values.dtype.type(np.nan)
    rows, cols = next(iter(terms.values())).shape
    step = POSTING_M[frequency]
    group["xCoordinates"] = LEFT + step * (np.arange(cols) + 0.5)
    group["yCoordinates"] = TOP - step * (np.arange(rows) + 0.5)
    group["projection"] = np.uint32(32718)
    powers = [name for name in terms if len(name) == 4 and name[:2] == name[2:]]
    group["listOfCovarianceTerms"] = np.array(powers, "S4")
    group["listOfPolarizations"] = np.array([name[:2] for name in powers], "S2")
    return group


def write_gcov(path: Path, terms: dict[str, np.ndarray], parameters: dict[str, str] | None = None, identification: dict[str, str] | None = None,
               sar: str = "LSAR", chunks: tuple[int, int] | None = (64, 32)) -> Path:
    """A product with frequency A."""
    import h5py
    with h5py.File(path, "w") as file:
        said = file.create_group(f"/science/{sar}/identification")
        for name, value in {**IDENTIFICATION, **(identification or {})}.items():
            said[name] = np.bytes_(value)
        said["trackNumber"], said["frameNumber"] = np.uint8(147), np.uint16(175)
        done = file.create_group(f"/science/{sar}/GCOV/metadata/processingInformation/parameters")
        for name, value in {**PARAMETERS, **(parameters or {})}.items():
            done[name] = np.bytes_(value)
        add_grid(file, terms, sar=sar, chunks=chunks)
    return path
