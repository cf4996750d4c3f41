"""Bytes as a package on the disk, opened or refused."""

import pytest

from hfd_edge.errors import PackageError
from hfd_edge.package import Package


def open_bytes(tmp_path, data):
    path = tmp_path / "m.engine"
    path.write_bytes(data)
    return Package.open(path)


def refuse(tmp_path, data, message):
    with pytest.raises(PackageError, match=message) as caught:
        open_bytes(tmp_path, data)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
