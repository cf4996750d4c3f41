"""Small SICD files, written by sarpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SPACING_M, SCP = (0.5, 0.4), (30, 20)


def write_sicd(path: Path, pixels: np.ndarray, polynomials: dict[str, list[list[float]]], first: tuple[int, int] = (0, 0)) -> Path:
    """(rows, cols) complex64 as a SICD whose scene centre is pixel SCP of the full image, and which begins at `first` of it."""
    from sarpy.io.complex.sicd import SICDWriter
    from sarpy.io.complex.sicd_elements.CollectionInfo import CollectionInfoType
    from sarpy.io.complex.sicd_elements.GeoData import GeoDataType
    from sarpy.io.complex.sicd_elements.Grid import DirParamType, GridType
    from sarpy.io.complex.sicd_elements.ImageData import FullImageType, ImageDataType
    from sarpy.io.complex.sicd_elements.ImageFormation import ImageFormationType
    from sarpy.io.complex.sicd_elements.Radiometric import RadiometricType
    from sarpy.io.complex.sicd_elements.SICD import SICDType
    from sarpy.io.complex.sicd_elements.Timeline import TimelineType

    rows, cols = pixels.shape
    meta = SICDType(
        CollectionInfo=CollectionInfoType(CollectorName="MADE-UP", CoreName="TEST", Classification="UNCLASSIFIED"),
        ImageData=ImageDataType(PixelType="RE32F_IM32F", NumRows=rows, NumCols=cols, FirstRow=first[0], FirstCol=first[1],
                                FullImage=FullImageType(NumRows=rows + first[0], NumCols=cols + first[1]), SCPPixel=SCP),
        GeoData=GeoDataType(ImageCorners=[[50.0, 8.0], [50.0, 8.1], [49.9, 8.1], [49.9, 8.0]]),
        Grid=GridType(ImagePlane="SLANT", Type="RGAZIM", Row=DirParamType(SS=SPACING_M[0]), Col=DirParamType(SS=SPACING_M[1])),
        Timeline=TimelineType(CollectStart="2026-01-02T03:04:05", CollectDuration=1.0),
        ImageFormation=ImageFormationType(TxRcvPolarizationProc="V:V"),
        Radiometric=RadiometricType(**polynomials) if polynomials else None)
    with SICDWriter(str(path), meta, check_existence=False) as writer:
        writer.write(pixels)
    return path
