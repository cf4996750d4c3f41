"""Sentinel-1 products that are damaged, incomplete, not what they claim, or meant to do harm: one clear error each."""

import re
from pathlib import Path

import numpy as np
import pytest

from hfd_edge import HfdError, RadiometryError, RasterError
from hfd_edge.products import Sentinel1Source, open_scene
from hfd_edge.products.image import ImageOptions
from hfd_edge.raster.opened import refused as in_words
from hfd_edge.raster.xml_file import read_xml
from tests.rasters import write_tif
from tests.safe_files import MadeUp


def changed(folder, kind, old, new, made=None):
    """A SAFE in whose VV file of a kind a text is replaced; `old` is a pattern."""
    made = made or MadeUp()
    safe = made.write(folder)
    stem = made.stem("VV")
    file = {"annotation": f"annotation/{stem}.xml", "calibration": f"annotation/calibration/calibration-{stem}.xml",
            "noise": f"annotation/calibration/noise-{stem}.xml", "manifest": "manifest.safe"}[kind]
    text = (safe / file).read_text()
    result = re.sub(old, new, text, count=1, flags=re.DOTALL)
    assert result != text, "the damage changed nothing"
    (safe / file).write_text(result)
    return safe


def refused(safe, error, words):
    with pytest.raises(error, match=words) as caught:
        with open_scene(safe) as source:
            source.read(0, 1)
    assert len(str(caught.value)) < 1000


BOMB = '<?xml version="1.0"?><!DOCTYPE product [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize("kind", ["annotation", "calibration", "noise", "manifest"])
def test_a_document_type_is_refused_before_anything_is_expanded(tmp_path, kind):
    refused(changed(tmp_path, kind, r"<\?xml[^>]*>", BOMB), RasterError, "declares a document type")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig"])
def test_a_document_type_in_another_encoding_is_refused_as_well(tmp_path, encoding):
    path = tmp_path / "a.xml"
    name = encoding.removesuffix("-le").removesuffix("-sig")
    text = f'<?xml version="1.0" encoding="{name}"?><!DOCTYPE product [<!ENTITY a "b">]><product>&a;</product>'
    path.write_bytes(text.encode(encoding))
    with pytest.raises(RasterError, match="document type|no sound XML"):
        read_xml(path, "product")


@pytest.mark.parametrize("kind", ["annotation", "calibration", "noise", "manifest"])
@pytest.mark.parametrize("damage", [r".{200}\Z", r".*", r"\A.{40}"])
def test_damaged_xml_is_refused(tmp_path, kind, damage):
    refused(changed(tmp_path, kind, damage, ""), RasterError, "no sound XML")


def test_deep_or_endless_xml_is_refused(tmp_path):
    (tmp_path / "deep.xml").write_text("<product>" * 100 + "</product>" * 100)
    with pytest.raises(RasterError, match="64 levels"):
        read_xml(tmp_path / "deep.xml", "product")
    with open(tmp_path / "large.xml", "wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(RasterError, match="more than 64 MiB"):
        read_xml(tmp_path / "large.xml", "product")


@pytest.mark.parametrize("kind,old,new,error,words", [
    ("calibration", r"<absoluteCalibrationConstant>[^<]*", "<absoluteCalibrationConstant>0.0", RadiometryError, "uncalibrated"),
    ("calibration", r"<calibrationVectorList.*</calibrationVectorList>", "", RadiometryError, "no calibration vectors"),
    ("calibration", r"(<sigmaNought[^>]*>)[^ ]+", r"\g<1>0.0", RadiometryError, "above 0 everywhere"),
    ("calibration", r"(<sigmaNought[^>]*>)[^ ]+", r"\g<1>nan", RasterError, "not finite"),
    ("calibration", r"(<sigmaNought[^>]*>)[^ ]+", r"\g<1>high", RasterError, "no number"),
    ("calibration", r"(<sigmaNought[^>]*>)[^ ]+ ", r"\g<1>", RasterError, "5 pixels and 4 values"),
    ("calibration", r"<sigmaNought.*?</sigmaNought>", "", RasterError, "has no <sigmaNought>"),
    ("calibration", r"<line>-17</line>", "<line>400</line>", RasterError, "lines must increase"),
    ("calibration", r"(<pixel[^>]*>)0 ", r"\g<1>99 ", RasterError, "pixels must increase"),
    ("calibration", "<polarisation>VV", "<polarisation>VH", RasterError, "renamed or mixed"),
    ("calibration", "<calibration>.*</calibration>", "<noise></noise>", RasterError, "another kind"),
    ("noise", r"<noiseRangeVectorList.*</noiseRangeVectorList>", "", RasterError, "neither noiseRangeVector"),
    ("noise", r"(<noiseRangeLut[^>]*>)[^ ]+", r"\g<1>-5", RasterError, "below 0"),
    ("noise", r"(<noiseAzimuthLut[^>]*>)[^ ]+ ", r"\g<1>", RasterError, "3 lines and 2 values"),
    ("noise", r"<firstAzimuthLine>[^<]*", "<firstAzimuthLine>1.5", RasterError, "whole number"),
    ("annotation", "<productType>GRD", "<productType>SLC", RasterError, "type SLC: only GRD"),
    ("annotation", "<polarisation>VV", "<polarisation>HH", RasterError, "renamed or mixed"),
    ("annotation", r"<numberOfLines>\d+", "<numberOfLines>62", RasterError, "do not belong together"),
    ("annotation", r"<numberOfLines>\d+", "<numberOfLines>999999999", RasterError, "no GRD image has"),
    ("annotation", r"<numberOfSamples>\d+", "<numberOfSamples>-1", RasterError, "no GRD image has"),
    ("annotation", r"<geolocationGrid>.*</geolocationGrid>", "", RasterError, "0 geolocation points"),
    ("annotation", r"<rangePixelSpacing>.*?</rangePixelSpacing>", "", RasterError, "has no <imageAnnotation"),
    ("manifest", r'href="\./annotation/calibration/calibration-s1a-iw-grd-vv[^"]*"', 'href="./x.xml"', RasterError,
     "names no calibration"),
    ("manifest", r'href="\./annotation/s1a-iw-grd-vv[^"]*"', 'href="./annotation/iw-vv.xml"', RasterError,
     "no name of a Sentinel-1"),
    ("manifest", r"<dataObjectSection>.*</dataObjectSection>", "", RasterError, "names no annotation"),
])
def test_what_an_annotation_must_not_say_is_refused(tmp_path, kind, old, new, error, words):
    refused(changed(tmp_path, kind, old, new), error, words)


@pytest.mark.parametrize("href", ["../../outside.tiff", "/etc/passwd", "measurement/../../x.tiff", "file:///etc/passwd",
                                  "https://example.org/x.tiff", "..\\\\x.tiff", "a/" * 200 + "x.tiff"])
def test_a_manifest_that_leads_out_of_its_folder_is_refused(tmp_path, href):
    refused(changed(tmp_path, "manifest", r'href="\./measurement/[^"]*"', f'href="{href}"'), RasterError, "leads out of")


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path):
    made = MadeUp()
    safe = made.write(tmp_path)
    file = safe / f"measurement/{made.stem('VV')}.tiff"
    file.rename(tmp_path / "elsewhere.tiff")
    file.symlink_to(tmp_path / "elsewhere.tiff")
    refused(safe, RasterError, "leads out of")
    file.unlink()
    file.symlink_to(file)                                       # in a circle
    refused(safe, RasterError, "leads out of|is missing")


@pytest.mark.parametrize("path", ["measurement/{}.tiff", "annotation/{}.xml", "annotation/calibration/calibration-{}.xml",
                                  "annotation/calibration/noise-{}.xml"])
def test_a_missing_file_is_named(tmp_path, path):
    made = MadeUp()
    safe = made.write(tmp_path)
    (safe / path.format(made.stem("VH"))).unlink()
    refused(safe, RasterError, "is missing: manifest.safe names it")


@pytest.mark.parametrize("values", [np.ones((1, 61, 83), "float32"), np.ones((1, 60, 83), "uint16"),
                                    np.ones((2, 61, 83), "uint16")])
def test_a_measurement_of_another_kind_is_refused(tmp_path, values):
    made = MadeUp()
    safe = made.write(tmp_path)
    write_tif(safe / f"measurement/{made.stem('VV')}.tiff", values)
    refused(safe, RasterError, "do not belong together")


def test_a_measurement_that_is_refused_is_closed(tmp_path):
    """Also while its error is kept: a program that tries product after product would run out of files."""
    path = write_tif(tmp_path / "a.tif", np.ones((1, 60, 83), "uint16"))
    with pytest.raises(RasterError, match="do not belong together") as kept:
        ImageOptions().opened(path, ("uint16",), (61, 83))
    assert open_files(path) == 0 and kept.tb is not None
    with ImageOptions().opened(path, ("uint16",), (60, 83)):
        assert open_files(path) == 1


def open_files(path):
    return sum(each.resolve() == path for each in Path("/proc/self/fd").iterdir())


def test_a_measurement_that_is_no_tiff_is_refused(tmp_path):
    made = MadeUp()
    safe = made.write(tmp_path)
    (safe / f"measurement/{made.stem('VV')}.tiff").write_text("<VRTDataset></VRTDataset>")
    refused(safe, RasterError, "VRT")


def test_polarisations_of_different_size_are_refused(tmp_path):
    made, other = MadeUp(), MadeUp(rows=70)
    safe, theirs = made.write(tmp_path), other.write(tmp_path / "other")
    stem = made.stem("VH")
    for file in (f"annotation/{stem}.xml", f"measurement/{stem}.tiff"):
        (safe / file).write_bytes((theirs / file).read_bytes())
    refused(safe, RasterError, "differ in size")


def test_a_folder_without_manifest_and_an_archive_say_what_to_do(tmp_path):
    (tmp_path / "S1A_X.SAFE").mkdir()
    refused(tmp_path / "S1A_X.SAFE", RasterError, "no manifest.safe")
    for name in ("S1A_X.SAFE.zip", "S1A_IW_GRDH.zip"):
        (tmp_path / name).write_bytes(b"PK\3\4")
        refused(tmp_path / name, RasterError, "unpack it first")
    refused(tmp_path, RasterError, "is a folder")


@pytest.mark.parametrize("kind", ["annotation", "calibration", "noise", "manifest"])
def test_whatever_is_broken_in_a_file_the_error_is_one_of_ours(tmp_path, kind):
    made = MadeUp(rows=12, cols=9, pols=("VV",))
    safe = changed(tmp_path, kind, r"\?>", "?><!-- -->", made)
    stem = made.stem("VV")
    file = {"annotation": f"annotation/{stem}.xml", "calibration": f"annotation/calibration/calibration-{stem}.xml",
            "noise": f"annotation/calibration/noise-{stem}.xml", "manifest": "manifest.safe"}[kind]
    whole, rng, errors = (safe / file).read_bytes(), np.random.default_rng(0), 0
    for _ in range(300):
        broken = bytearray(whole)
        for at in rng.integers(0, len(broken), rng.integers(1, 4)):
            broken[at] = rng.choice([*b"0-9e.<>/&\" x", 0, 255])
        (safe / file).write_bytes(broken)
        try:
            with open_scene(safe) as source:
                source.read(0, source.rows)
        except HfdError:
            errors += 1
    assert errors > 30


def test_numbers_beyond_the_image_are_bounded(tmp_path):
    made = MadeUp(blocks=[(-10**9, 10**9, -10**9, -5, [0], [7.0]), (0, 60, 80, 10**9, [0], [2.0])])
    with Sentinel1Source(made.write(tmp_path)) as source:
        values, _ = source.read(0, source.rows)
    np.testing.assert_allclose(values[0], made.power("VV"), rtol=1e-6)


def test_an_input_is_never_replaced(tmp_path):
    from hfd_edge import Segmenter
    from tests.test_products_sentinel1 import engine_with_names, scene_of

    made = scene_of(MadeUp())
    safe = made.write(tmp_path)
    target = safe / f"measurement/{made.stem('VV')}.tiff"
    before = target.read_bytes()
    with Segmenter(engine_with_names(tmp_path)) as segmenter, pytest.raises(HfdError, match="is an input"):
        segmenter.run_raster(safe, target, overwrite=True)
    assert target.read_bytes() == before


def test_a_truncated_measurement_is_an_error_and_no_map(tmp_path):
    made = MadeUp()
    safe = made.write(tmp_path)
    file = safe / f"measurement/{made.stem('VV')}.tiff"
    file.write_bytes(file.read_bytes()[:-4000])
    with pytest.raises(RasterError, match="truncated|damaged"):
        with Sentinel1Source(safe) as source:
            source.read(0, source.rows)


def test_what_a_foreign_library_raises_is_one_line_and_a_lack_of_memory_is_no_damage(tmp_path):
    with pytest.raises(RasterError, match=r"x\.nitf cannot be read as SICD \(OSError: at \[31mbyte 7\): it is damaged"), in_words(tmp_path / "x.nitf", "SICD"):
        raise OSError("at\n\x1b[31mbyte 7")
    for error in (MemoryError(), RadiometryError("not calibrated")):
        with pytest.raises(type(error)), in_words(tmp_path / "x.nitf", "SICD"):
            raise error
