"""Which extra of the package brings a library that is missing."""

from __future__ import annotations

_BRING = {
    "view": ("cv2",), "sicd": ("sarpy",), "nisar": ("h5py",), "package": ("yaml", "onnx"), "export": ("torch", "timm", "onnxscript", "safetensors"),
    "train": ("lightning", "sklearn"), "tensorrt": ("tensorrt",)}
_OF_VERB = {"export": "export", "verify": "export", "package": "package"}


def missing(error: ModuleNotFoundError, verb: str | None = None) -> str:
    """What to say of a library that is not there: the extra that brings it, for this verb."""
    name = (error.name or "").partition(".")[0]
    extra = next((extra for extra, names in _BRING.items() if name in names), None)
    if extra is None:
        return str(error)
    if extra == "package":
        extra = _OF_VERB.get(verb, "package")
    if verb == "training":
        extra = "train"
    return (f"{name} is not installed, which this needs: it comes with the extra {extra!r}: pip install 'hfd-edge[{extra}]', in a checkout "
            f"pip install -e '.[{extra}]'")
