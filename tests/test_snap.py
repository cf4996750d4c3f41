"""GeoTIFFs of SNAP: names and units of their bands come from its own header in a private tag; a damaged one changes nothing."""

import re
import struct

import numpy as np
import pytest

from hfd_edge import Segmenter
from hfd_edge.errors import RasterError
from hfd_edge.raster import RasterSource
from hfd_edge.raster.tiff_tag import text_of_tag
from tests import command
from tests.command import BANDS
from tests.rasters import ramp, write_tif
from tests.snap_files import band_info, header, write_snap

DEMO = command.ROOT / "hfd_edge" / "data" / "demo.engine"
LAYOUTS = [("<", False), (">", False), ("<", True), (">", True)]
SWAPPED = header(band_info(0, "Sigma0_VH_db", "intensity_db"), band_info(1, "Sigma0_VV_db", "intensity_db"))


def opened(path, **options):
    with RasterSource(path, wanted=BANDS, **options) as source:
        return source


@pytest.mark.parametrize(("order", "big"), LAYOUTS)
def test_bands_are_taken_by_the_names_in_snaps_header(tmp_path, order, big):
    values = ramp()
    with RasterSource(write_snap(tmp_path / "a.tif", values, SWAPPED, order, big), wanted=BANDS) as source:
        assert source.band_names == ("Sigma0_VV_db", "Sigma0_VH_db") and source.band_numbers == (2, 1) and source.notes == ()
        assert (source.declared.unit, source.declared.quantity) == ("db", "sigma0")
        np.testing.assert_array_equal(source.read(0, 7)[0], values[::-1])


def test_without_the_header_bands_are_taken_as_stored(tmp_path):
    source = opened(write_snap(tmp_path / "a.tif", ramp(), None))
    assert source.band_names == ("", "") and source.band_numbers == (1, 2) and source.declared is None and source.notes == ()


def test_gdals_own_description_goes_before_the_header(tmp_path):
    path = write_tif(tmp_path / "a.tif", ramp(), descriptions=("Gamma0_VV", "Gamma0_VH"))
    with RasterSource(path, wanted=BANDS) as source:
        assert source.band_numbers == (1, 2) and source.quantity == "gamma0" and source.declared is None


@pytest.mark.parametrize(("names", "unit", "more", "stated"), [
    (("Sigma0_VV", "Sigma0_VH"), "intensity", "", "intensity"), (("Amplitude_VV", "Amplitude_VH"), "amplitude", "", "amplitude"),
    (("Sigma0_VV_db", "Sigma0_VH_db"), "", "", "db"), (("Sigma0_VV_dB", "Sigma0_VH_dB"), "dB", "", "db"), (("Sigma0_VV", "Sigma0_VH"), "", "", None),
    (("Sigma0_VV_db", "Sigma0_VH_db"), "intensity", "", None), (("Amplitude_VV_db", "Amplitude_VH_db"), "amplitude_db", "", None),
    (("VV_dbl", "VH_dbl"), "", "", None), (("i_VV", "i_VH"), "real", "", None)])
def test_the_unit_is_what_the_header_states_without_contradiction(tmp_path, names, unit, more, stated):
    text = header(*(band_info(i, name, unit, more) for i, name in enumerate(names)))
    declared = opened(write_snap(tmp_path / "a.tif", ramp(), text)).declared
    assert declared is None if stated is None else declared.unit == stated


def test_a_band_that_was_scaled_to_be_stored_states_no_unit_and_is_told(tmp_path):
    text = header(*(band_info(i, f"Sigma0_{name}", "intensity").replace("1.0", "0.001") for i, name in enumerate(BANDS)))
    source = opened(write_snap(tmp_path / "a.tif", ramp(), text))
    assert source.declared is None and source.band_names == ("Sigma0_VV", "Sigma0_VH")
    assert len(source.notes) == 1 and "scales Sigma0_VV, Sigma0_VH, which is not applied" in source.notes[0]


def test_virtual_and_filtered_bands_are_described_and_not_stored(tmp_path):
    text = header(band_info(0, "Amplitude_VH", "amplitude"), band_info(1, "Intensity_VH", "intensity", "<VIRTUAL_BAND>true</VIRTUAL_BAND>"),
                  band_info(2, "mean_VH", "amplitude", "<Filter_Band_Info bandType='GeneralFilterBand' />"), band_info(3, "Amplitude_VV", "amplitude"))
    source = opened(write_snap(tmp_path / "a.tif", ramp(), text))
    assert source.band_names == ("Amplitude_VV", "Amplitude_VH") and source.band_numbers == (2, 1)


def test_bands_are_described_in_any_order(tmp_path):
    text = header(band_info(1, "Sigma0_VV"), band_info(0, "Sigma0_VH"))
    assert opened(write_snap(tmp_path / "a.tif", ramp(), text)).band_numbers == (2, 1)


@pytest.mark.parametrize(("text", "words"), [
    (header(band_info(0, "Sigma0_VH"))[:-30], "no sound XML"), (header(band_info(0, "Sigma0_VH")), "names 1 stored bands .Sigma0_VH. and the file holds 2"),
    (header(band_info(0, "VH"), band_info(0, "VV")), "two of its bands have the index 0"), (header(band_info(0, "VH"), band_info(1, "VH")), "one name"),
    (header(band_info(0, "VH"), band_info(1, "")), "no <BAND_NAME>"), (header(band_info(0, "VH"), band_info(1, "V" * 300)), "is no name of a band"),
    (header(band_info(0, "VH"), band_info(1, "VV\x9b31m")), "is no name of a band"), (header(band_info("one", "VH")), "something that is no number"),
    (header(band_info(0.5, "VH")), "whole number"), (SWAPPED.replace(b"<Dimap_Document", b"<!DOCTYPE a [<!ENTITY b 'c'>]><Dimap_Document"), "document type"),
    (b"<Other>" + SWAPPED.partition(b"\n")[2] + b"</Other>", "another kind"), (b"<Dimap_Document>" * 100, "levels")])
def test_a_header_that_cannot_be_used_leaves_bands_as_stored_with_a_note(tmp_path, text, words):
    source = opened(write_snap(tmp_path / "a.tif", ramp(), text))
    assert source.band_numbers == (1, 2) and source.band_names == ("", "") and source.declared is None
    (note,) = source.notes
    assert "SNAP's header of a.tif (TIFF tag 65000) are not used" in note and len(note) < 600
    assert re.search(words, note), note


@pytest.mark.parametrize(("order", "big"), LAYOUTS)
@pytest.mark.parametrize(("changed", "words"), [
    ({"value": 1 << 31}, "the file has"), ({"count": 1 << 31}, "are the most that are read"), ({"count": 100_000}, "the file has"),
    ({"value": 0xFFFFFFFF, "count": 9}, "the file has")])
def test_a_tag_that_lies_is_no_reason_to_refuse(tmp_path, order, big, changed, words):
    path = write_snap(tmp_path / "a.tif", ramp(), SWAPPED, order, big, changed)
    with pytest.raises(RasterError, match=words):
        text_of_tag(path, 65000, 1 << 20)
    source = opened(path)
    assert source.band_numbers == (1, 2) and len(source.notes) == 1


@pytest.mark.parametrize("changed", [{"kind": 4}, {"kind": 999}])
def test_a_private_tag_of_another_kind_is_not_snaps(tmp_path, changed):
    assert text_of_tag(write_snap(tmp_path / "a.tif", ramp(), SWAPPED, changed=changed), 65000, 1 << 20) is None


def test_a_private_tag_of_others_is_not_snaps(tmp_path):
    source = opened(write_snap(tmp_path / "a.tif", ramp(), b"a serial number"))
    assert source.notes == () and source.band_names == ("", "")


@pytest.mark.parametrize(("order", "big"), LAYOUTS)
def test_no_damage_to_a_directory_gives_anything_but_text_none_or_one_error(tmp_path, order, big):
    whole = write_snap(tmp_path / "a.tif", ramp(), SWAPPED, order, big).read_bytes()
    random, path = np.random.default_rng(5), tmp_path / "b.tif"
    for trial in range(400):
        data = bytearray(whole[:random.integers(0, len(whole))] if trial % 2 else whole)
        for at in random.integers(0, max(1, min(len(data), 300)), 3):
            data[at:at + 1] = bytes([random.integers(0, 256)]) if data else b""
        path.write_bytes(data)
        try:
            found = text_of_tag(path, 65000, 1 << 20)
        except RasterError as error:
            assert len(str(error)) < 400
        else:
            assert found is None or len(found) <= 1 << 20


@pytest.mark.parametrize("head", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"II+\0\x08\0\0\0" + b"\xff" * 8, b"II+\0\x04\0\0\0" + b"\0" * 8,
                                  b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1 << 60), b"XX*\0\x08\0\0\0"])
def test_a_head_that_lies_is_one_error(tmp_path, head):
    (tmp_path / "a.tif").write_bytes(head)
    with pytest.raises(RasterError, match="tag 65000"):
        text_of_tag(tmp_path / "a.tif", 65000, 1 << 20)


def test_a_swapped_export_is_segmented_as_its_names_say(tmp_path):
    scene = command.power()
    right = write_tif(tmp_path / "right.tif", 10 * np.log10(scene))
    snap = write_snap(tmp_path / "snap.tif", 10 * np.log10(scene[::-1]), SWAPPED)
    maps = [tmp_path / "right_map.tif", tmp_path / "snap_map.tif"]
    with Segmenter(DEMO, device="cpu", threads=1) as segmenter:
        segmenter.run_raster(right, maps[0], unit="db")
        report = segmenter.run_raster(snap, maps[1])
    assert report.read_as == "bands Sigma0_VV_db, Sigma0_VH_db in db"
    with RasterSource(maps[0]) as one, RasterSource(maps[1]) as other:
        np.testing.assert_array_equal(one.read(0, one.rows)[0], other.read(0, other.rows)[0])
