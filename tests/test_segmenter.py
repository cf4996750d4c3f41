"""Segmenter.run: what goes in, what comes out, what is refused."""

import threading
from pathlib import Path

import numpy as np
import pytest

import hfd_edge
from hfd_edge.errors import ArrayError, DeviceError, EngineError, GridError, HfdError, PackageError, RadiometryError
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import ArraySource
from tests.engines import Graph, levels_engine, make_spec, random_engine, write_engine


def test_one_scene_in_every_unit_gives_the_same_map(db_engine, power):
    with Segmenter(db_engine) as seg:
        linear = seg.run(power, unit="intensity").labels
        phase = np.exp(1j * np.random.default_rng(1).uniform(0, 6.28, power.shape))
        others = {
            "db": seg.run(10 * np.log10(power), unit="db"), "amplitude": seg.run(np.sqrt(power), unit="amplitude"),
            "complex": seg.run((np.sqrt(power) * phase).astype(np.complex64)),
            "10 x db": seg.run(100 * np.log10(power), unit=SourceRadiometry("db", scale=0.1)),
            "float64": seg.run(power.astype(np.float64), unit="intensity")}
        dn = seg.run(np.round(np.sqrt(power) * 5000).astype(np.uint16), unit=SourceRadiometry("amplitude", scale=1 / 5000))
    for name, other in others.items():
        assert (other.labels != linear).mean() < 1e-3, name       # rounding of the stored form moves a tie at most
    assert (dn.labels != linear).mean() < 0.01, "rounded to whole numbers"
    assert len(np.unique(linear)) > 1


def test_the_result_is_a_map_with_its_account(db_engine, power, tmp_path):
    power = power.copy()
    power[0, :10] = np.nan
    with hfd_edge.Segmenter(db_engine, threads=2) as seg:
        result = seg(power, unit="intensity")
        assert seg.spec.unit == "db" and seg.spec.bands == ("B0", "B1")
    assert result.labels.dtype == np.uint8 and result.labels.shape == (70, 90)
    assert np.asarray(result) is result.labels and np.asarray(result, dtype=np.int64).dtype == np.int64
    assert (result.labels[:10] == 255).all() and (result.confidence[:10] == 255).all()
    assert result.labels[10:].max() < 5 and result.confidence[10:].max() <= 254
    assert result.report.nodata_share == pytest.approx(10 / 70)
    assert set(result.timings) == {"read", "gather", "engine", "finish", "total"} and result.report.mpx_per_s > 0
    assert result.report.device == "cpu" and result.report.threads == 2
    result.save(tmp_path / "map.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "map.npy"), result.labels)
    result.save(tmp_path / "UPPER.NPY")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["UPPER.NPY", "map.npy"]
    with pytest.raises(ValueError, match="needs a copy"):
        result.__array__(np.int64, copy=False)
    with pytest.raises(ArrayError, match="cannot save labels as .png"):
        result.save(tmp_path / "map.png")
    with pytest.raises(HfdError, match="exists"):
        result.save(tmp_path / "map.npy")


def test_confidence_is_the_largest_softmax(tmp_path):
    with Segmenter(levels_engine(tmp_path / "levels.engine", 3)) as seg:
        result = seg.run(np.array([[0.0, 0.5, 1.0, 2.0]], np.float32), unit="dn")
        logits = -(np.array([0.0, 0.5, 1.0, 2.0])[None] - np.arange(3)[:, None]) ** 2
        softmax = np.exp(logits) / np.exp(logits).sum(axis=0)
        np.testing.assert_array_equal(result.confidence[0], np.floor(254 * softmax.max(axis=0) + 0.5))
        assert result.labels[0].tolist() == [0, 0, 1, 2], "a tie goes to the lowest class"
        assert seg.run(np.zeros((3, 3), np.float32), unit="dn", confidence=False).confidence is None


def test_a_mask_is_nodata_and_its_pixels_are_not_read(db_engine, power):
    valid = np.ones(power.shape[1:], bool)
    valid[20:30, 20:60] = False
    poisoned = power.copy()
    poisoned[:, ~valid] = 1e9
    with Segmenter(db_engine) as seg:
        clean, poison = (seg.run(p, unit="intensity", valid=valid).labels for p in (power, poisoned))
    np.testing.assert_array_equal(clean, poison)
    assert ((clean == 255) == ~valid).all()


class Foreign:
    """An array that is not numpy's, with the array interface alone."""

    def __init__(self, array):
        self.__array_interface__ = array.__array_interface__
        self._keep = array


class OnDevice:
    def __dlpack_device__(self):
        return 2, 0


@pytest.mark.parametrize("dress", [
    lambda a: Foreign(np.ascontiguousarray(a)), lambda a: a[:, ::-1][:, ::-1], lambda a: np.asfortranarray(a), lambda a: a.astype(">f4"),
    lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 0, -1)), -1, 0)], ids=["interface", "reversed", "fortran", "big endian", "bands last"])
def test_any_memory_gives_the_same_map(db_engine, power, dress):
    with Segmenter(db_engine) as seg:
        np.testing.assert_array_equal(seg.run(dress(power), unit="intensity").labels, seg.run(power, unit="intensity").labels)


@pytest.mark.parametrize("array, error, words", [
    (np.zeros((3, 8, 8), np.float32), ArrayError, r"shape \(3, 8, 8\).*takes \(2, rows, cols\)"),
    (np.zeros((8, 8, 2), np.float32), ArrayError, "moveaxis"), (np.zeros((8, 8), np.float32), ArrayError, "bands first"),
    (np.zeros((2, 0, 8), np.float32), ArrayError, "at least one pixel"), (np.zeros((2, 8, 8), np.int64), ArrayError, "dtype int64"),
    (np.zeros((2, 8, 8), bool), ArrayError, "dtype bool"), ("scene.tif", ArrayError, "is a path.*run_raster"),
    (Path("scene.npy"), ArrayError, "is a path.*numpy.load"), (OnDevice(), DeviceError, "copy it to the host")])
def test_what_is_no_scene_is_refused(db_engine, array, error, words):
    with Segmenter(db_engine) as seg, pytest.raises(error, match=words):
        seg.run(array)


@pytest.mark.parametrize("values, unit, words", [
    (lambda p: 10 * np.log10(p), "intensity", "below 0.*declare unit=db"), (lambda p: p, "db", "linear power or amplitude"),
    (lambda p: p * 1e6, "intensity", "digital numbers.*calibration factor"), (lambda p: np.sqrt(p) * 5000, "amplitude", "digital numbers"),
    (lambda p: np.where(p > 0.05, -9999, 10 * np.log10(p)), "db", "undeclared nodata"), (lambda p: p, "dn", "convert to nothing"),
    (lambda p: np.stack([p[0], 10 * np.log10(p[1])]), "intensity", "of band 2 are below 0.*bring them to one"),
    (lambda p: np.where(p > 0.05, -9999, p), "intensity", "undeclared nodata.*--nodata -9999 .Source"),
    (lambda p: np.where(p > 0.1, np.finfo(np.float32).min, p), "intensity", "--nodata -3.4028234663852886e.38"),
    (lambda p: np.where(p > 0.05, -1, p), "amplitude", "undeclared nodata.*--nodata -1 .Source"),
    (lambda p: np.where(p > 0.05, -32768, np.sqrt(p)), "amplitude", "lowest -32768.*undeclared nodata.*--nodata -32768 .Source"),
    (lambda p: np.where(p > 0.08, -9999, np.where(p > 0.07, -500, np.sqrt(p))), "amplitude", "undeclared nodata"),
    (lambda p: np.full_like(p, -9999), "intensity", "100.0% .*undeclared nodata"), (lambda p: 100 * np.log10(p), "intensity", "declare unit=db"),
    (lambda p: 100 * np.log10(4 * p), "intensity", "declare unit=db"),
    (lambda p: (100 * np.log10(p)).astype(np.int16), "db", "10 x dB integers: --scale 0.1"),
    (lambda p: (p * 255).astype(np.uint8), "amplitude", "display stretch"), (lambda p: p, "complex", "declare unit=intensity"),
    (lambda p: p.astype(np.complex64), "amplitude", "declare unit=complex"), (lambda p: p, "watts", "not known: use intensity")])
def test_values_that_contradict_their_unit_are_refused_with_the_way_out(db_engine, power, values, unit, words):
    with Segmenter(db_engine) as seg, pytest.raises(RadiometryError, match=words):
        seg.run(values(power), unit=unit)


def test_two_threads_may_call_one_segmenter(db_engine, power):
    scenes = [power * f for f in (1.0, 0.3, 3.0, 0.1)]
    with Segmenter(db_engine, tile=104) as seg:
        alone = [seg.run(s, unit="intensity").labels for s in scenes]
        together = [None] * len(scenes)

        def work(i):
            together[i] = seg.run(scenes[i], unit="intensity").labels

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(scenes))]
        [t.start() for t in threads]
        [t.join() for t in threads]
    for a, b in zip(alone, together):
        np.testing.assert_array_equal(a, b)


def test_nan_answers_are_counted_and_never_a_class(tmp_path):
    graph = Graph(1)
    graph.op("Sqrt", graph.x)                                   # of a negative pixel: NaN
    graph.conv(np.array([1.0, -1.0]).reshape(2, 1, 1, 1))
    path = write_engine(tmp_path / "nan.engine", graph.serialize(), make_spec(1, 2, 1, 1, 0), golden=np.ones((1, 64, 64), np.float32))
    with Segmenter(path) as seg:
        result = seg.run(np.array([[4.0, -1.0, 9.0]], np.float32), unit="dn")
    assert result.labels.tolist() == [[0, 255, 0]] and result.report.nan_pixels == 1 and result.report.nodata_share == 0


def test_an_engine_that_answers_otherwise_than_at_export_is_not_used(tmp_path, monkeypatch):
    path = random_engine(tmp_path / "random.engine")
    from hfd_edge.engine.onnxruntime import OnnxRuntimeEngine

    honest = OnnxRuntimeEngine.infer
    monkeypatch.setattr(OnnxRuntimeEngine, "infer", lambda self, batch: honest(self, batch)[:, ::-1])
    with pytest.raises(PackageError, match="answers the golden tile otherwise"):
        Segmenter(path)


@pytest.mark.parametrize("arguments, error, words", [
    ({"device": "cuda:0"}, DeviceError, "does not fall back in silence"), ({"device": "gpu"}, DeviceError, "use 'auto', 'cpu' or 'cuda:0'"),
    ({"threads": 0}, DeviceError, "threads=0"), ({"threads": 2.0}, DeviceError, "whole number")])
def test_a_device_that_is_not_there_is_an_error(db_engine, arguments, error, words):
    with pytest.raises(error, match=words):
        Segmenter(db_engine, **arguments)


@pytest.mark.parametrize("arguments, words", [({"tile": 50}, "tile=50"), ({"halo": 3}, "halo=3"), ({"batch": 0}, "batch=0"), ({"memory": -1}, "memory=-1")])
def test_an_impossible_plan_is_an_error_before_any_work(db_engine, power, arguments, words):
    with Segmenter(db_engine, **arguments) as seg, pytest.raises((GridError, DeviceError), match=words):
        seg.run(power, unit="intensity")


def test_a_failing_engine_names_the_tile(db_engine, power, monkeypatch):
    with Segmenter(db_engine, tile=104) as seg:
        calls = []

        def infer(batch):
            calls.append(1)
            if len(calls) == 3:
                raise EngineError("out of memory")
            return honest(batch)

        honest = seg._engine.infer
        monkeypatch.setattr(seg._engine, "infer", infer)
        with pytest.raises(EngineError, match=r"tile at row \d+, column \d+ \(104 x 104 with halo\): out of memory"):
            seg.run(np.tile(power, (1, 3, 3)), unit="intensity")


def test_after_a_failure_nobody_reads_the_source_any_more(db_engine, power, monkeypatch):
    """The caller closes the source next, while the traceback still holds every generator of the run."""
    source = ArraySource(np.tile(power, (1, 12, 1)), 2)
    with Segmenter(db_engine, tile=104) as seg:
        def infer(batch):
            raise EngineError("out of memory")

        monkeypatch.setattr(seg._engine, "infer", infer)
        with pytest.raises(EngineError) as caught:
            seg.run_source(source, SourceRadiometry("intensity"), lambda *_: None)
        assert caught.value.__traceback__ is not None
        assert not [t for t in threading.enumerate() if t.name in ("hfd-read-ahead", "hfd-write-behind")]


def test_the_spec_and_the_graph_must_agree(tmp_path):
    graph = Graph(1)
    graph.conv(np.ones((2, 1, 1, 1)), stride=2)
    with pytest.raises((PackageError, EngineError)):
        Segmenter(write_engine(tmp_path / "wrong.engine", graph.serialize(), make_spec(1, 2, 4, 4, 4)))


def test_another_quantity_than_the_training_datas_is_told(db_engine, power):
    with Segmenter(db_engine) as seg:
        told = seg.run(power, unit=SourceRadiometry("intensity", quantity="sigma0")).report.notes
        (note,) = set(seg.run(power, unit=SourceRadiometry("intensity", quantity="gamma0")).report.notes) - set(told)
    assert not any("gamma0" in other for other in told)
    assert "gamma0" in note and "sigma0" in note and "not corrected" in note
