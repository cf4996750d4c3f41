"""Every error of hfd_edge. Each is an HfdError and also the built-in that fits, so old `except` clauses keep working."""


class HfdError(Exception):
    """Base of all errors raised on purpose by hfd_edge; its text names the thing, its value, the rule and the way out."""


class SpecError(HfdError, ValueError):
    """A ModelSpec or ModelInput contradicts itself, or has no class that was named."""


class PackageError(HfdError, ValueError):
    """A .engine file is damaged, unsafe, of an unknown version, or does not answer its own golden tile."""


class ArrayError(HfdError, ValueError):
    """An array has the wrong shape, dtype, memory or device."""


class GridError(HfdError, ValueError):
    """A tile grid was asked for that cannot keep its promise (stride, halo, origin, size)."""


class RadiometryError(HfdError, ValueError):
    """Pixels whose unit is unknown, contradicted by their values, or not convertible to what the network expects."""


class EmptySceneError(RadiometryError):
    """Not one pixel of a scene is valid. `fact` says so and no more; the message adds the way out of a Segmenter's runs."""

    def __init__(self, fact: str) -> None:
        super().__init__(fact)
        self.fact = fact

    def __str__(self) -> str:
        return f"{self.fact}. Where that is no mistake, as of a tile of a mosaic, allow_empty=True gives a map of nodata"


class RasterError(HfdError, OSError):
    """A raster cannot be read or written."""


class EngineError(HfdError, RuntimeError):
    """An inference engine refused a graph or failed while running it."""


class DeviceError(HfdError, RuntimeError):
    """A device was asked for that is not there or cannot be used."""


class ReachError(HfdError, ValueError):
    """The reach of a network is unbounded, unknown, or larger than the halo it must fit."""


class ExportError(HfdError, RuntimeError):
    """A checkpoint could not be turned into a package."""


class CheckpointError(ExportError):
    """A checkpoint is missing, incomplete, or does not fit its own description."""


class GateError(ExportError):
    """An exported graph no longer says what the network said; no package was written."""
