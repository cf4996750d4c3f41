"""Foreign networks become packages that run tile by tile and say what the given file says."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from hfd_edge.errors import GridError, ReachError
from hfd_edge.export.foreign import ForeignOptions, package_foreign
from hfd_edge.measure.tiling import stitched_logits, whole_request
from hfd_edge.package import Package
from hfd_edge.plan import PlanRequest
from hfd_edge.segmenter import Segmenter
from tests.command import failed, run
from tests.foreign_networks import BANDS, TWO_CLASSES, attention, by_three, deeplab, keras, pyramid, save, unet
from tests.rasters import UTM, write_tif

NETWORKS = {
    "U-Net, logits at stride 1": (unet, {}, 4, 1), "U-Net ending in softmax": (unet, {"head": "Softmax"}, 4, 1),
    "U-Net of one fixed size": (unet, {"image": (1, BANDS, 96, 64)}, 4, 1), "U-Net of opset 13": (
        unet, {"opset_imports": [onnx.helper.make_opsetid("", 13)], "ir_version": 8}, 4, 1),
    "Keras-like": (keras, {}, 4, 2), "Keras-like, the odd pixel first": (keras, {"where": "SAME_LOWER"}, 4, 2),
    "DeepLab-like, logits at stride 4": (deeplab, {}, 4, 4), "DeepLab-like, up-sampled": (deeplab, {"full_size": True}, 4, 4),
}


def packaged(folder, model, options=None, **spec):
    network, description = save(folder, model, **spec)
    return package_foreign(network, description, folder / "net.engine", options), folder / "net.engine"


def answer(model, pixels):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"pixels": pixels[None]})[0][0]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_packaged_network_is_the_same_tiled_and_whole_and_as_the_given_file(name, tmp_path):
    make, how, stride, logit_stride = NETWORKS[name]
    report, path = packaged(tmp_path, make(**how))
    spec = report.spec
    assert (spec.stride_px, spec.logit_stride_px, spec.reach_bounded, spec.fixed_tile) == (stride, logit_stride, True, False)
    assert 0.6 * spec.reach_px <= report.measured_reach_px <= spec.reach_px and not report.warnings
    scene = np.random.default_rng(1).normal(size=(BANDS, 203, 317)).astype(np.float32)
    with Segmenter(path, threads=1) as seg:
        whole = stitched_logits(seg, scene, whole_request(seg, 203, 317))
        for tile in (2 * spec.halo_px + 40, 160):
            np.testing.assert_array_equal(stitched_logits(seg, scene, PlanRequest(tile=tile)), whole)
        labels = seg.run(scene, unit="dn").labels
        scene = scene[:, :200, :312]
        inner = seg.run(scene, unit="dn").labels
    assert labels.shape == (203, 317) and len(np.unique(labels)) > 1
    given = answer(make(**{k: v for k, v in how.items() if k != "image"}), scene)
    if given.shape[1:] != inner.shape:
        return                                              # logits coarser than the image: nothing to compare pixel by pixel
    keep = np.s_[spec.halo_px:-spec.halo_px, spec.halo_px:-spec.halo_px]         # a file has borders of its own
    assert np.mean(given.argmax(0)[keep] != inner[keep]) < 1e-4


def test_the_up_sampling_at_the_end_is_left_to_the_stitching(tmp_path):
    report, path = packaged(tmp_path, deeplab(full_size=True))
    with Package.open(path) as package:
        graph = onnx.load_from_string(bytes(package.read("graph-fp32.onnx")))
    assert not any(node.op_type == "Resize" for node in graph.graph.node) and any("up-sampling by 4" in note for note in report.notes)
    assert [v.name for v in (*graph.graph.input, *graph.graph.output)] == ["pixels", "logits"]
    assert not graph.graph.doc_string and not graph.metadata_props


@pytest.mark.parametrize("head", ["", "Sigmoid"])
def test_one_logit_becomes_two_classes_of_the_same_probability(head, tmp_path):
    report, path = packaged(tmp_path, unet(head, classes=1), spec=TWO_CLASSES)
    pixels = np.random.default_rng(2).normal(size=(BANDS, 64, 96)).astype(np.float32)
    logit = answer(unet(classes=1), pixels)[0]
    with Package.open(path) as package:
        logits = answer(onnx.load_from_string(bytes(package.read("graph-fp32.onnx"))), pixels)
    assert report.spec.classes == ("land", "water") and logits.shape == (2, 64, 96)
    np.testing.assert_allclose(logits[1] - logits[0], logit, atol=1e-4)


def test_global_pooling_is_refused_by_name_and_packaged_when_asked_for_without_a_promise(tmp_path):
    network, spec = save(tmp_path, deeplab(pooling=True))
    with pytest.raises(ReachError, match="ReduceMean.*joins all positions.*--unbounded"):
        package_foreign(network, spec, tmp_path / "net.engine")
    assert not (tmp_path / "net.engine").exists()
    report = package_foreign(network, spec, tmp_path / "net.engine", ForeignOptions(halo_px=30))
    assert report.spec.halo_px == 32 and not report.spec.reach_bounded and "NOT promised" in report.warnings[0]
    scene = np.random.default_rng(1).normal(size=(BANDS, 150, 100)).astype(np.float32)
    with Segmenter(tmp_path / "net.engine", tile=128) as seg:
        report = seg.run(scene, unit="dn").report
    assert (report.halo, report.halo_px) == ("custom", 32)
    assert "32 px, chosen by hand" in run("inspect", tmp_path / "net.engine").stdout
    with pytest.raises(GridError, match="no bound"), Segmenter(tmp_path / "net.engine", halo="exact") as seg:
        seg.run(scene, unit="dn")


@pytest.mark.parametrize("halo, words", [(100_000, "tile_px=400000 (halo_px=100000): at most 32768"), (-8, "reach_px=-8: it must be a whole number of pixels, at least 0")])
def test_a_halo_that_cannot_be_meant_is_refused(halo, words, tmp_path):
    network, spec = save(tmp_path, deeplab(pooling=True))
    failed(run("package", network, "--spec", spec, "-o", tmp_path / "net.engine", "--halo", halo), words)
    assert not (tmp_path / "net.engine").exists()


def test_a_halo_is_not_asked_for_where_the_reach_is_known(tmp_path):
    network, spec = save(tmp_path, unet())
    failed(run("package", network, "--spec", spec, "-o", tmp_path / "net.engine", "--halo", 16), "reach is bounded by", "--halo")
    assert not (tmp_path / "net.engine").exists()


@pytest.mark.slow
@pytest.mark.parametrize("fixed", [None, 64])
def test_attention_runs_with_the_size_it_has(fixed, tmp_path):
    report, path = packaged(tmp_path, attention(fixed), ForeignOptions(halo_px=16))
    assert report.spec.fixed_tile is bool(fixed) and report.spec.tile_px == (fixed or 128)
    scene = np.random.default_rng(1).normal(size=(BANDS, 45, 190)).astype(np.float32)
    with Segmenter(path) as seg:
        result = seg.run(scene, unit="dn")
        assert not fixed or result.report.tile_px == (64, 64) and result.report.tiles_run == 2 * 6
    with Segmenter(path, tile=96) as seg:
        if fixed:
            with pytest.raises(GridError, match="64 x 64 pixels and no other"):
                seg.run(scene, unit="dn")
        else:
            seg.run(scene, unit="dn")


def test_a_resizing_whose_positions_are_rounded_is_told(tmp_path):
    report, path = packaged(tmp_path, by_three())
    assert report.spec.reach_bounded and "not bit for bit: Resize_1 resizes by 3" in report.warnings[0]
    scene = np.random.default_rng(1).normal(size=(BANDS, 300, 300)).astype(np.float32)
    with Segmenter(path, threads=1) as seg:
        whole = stitched_logits(seg, scene, whole_request(seg, 300, 300))
        apart = np.abs(stitched_logits(seg, scene, PlanRequest(tile=129)) - whole).max()
    assert 0 < apart < 1e-3
    assert not packaged(tmp_path, unet(), ForeignOptions(overwrite=True))[0].warnings


def test_weights_that_are_listed_as_inputs_are_weights(tmp_path):
    model = unet()
    image = onnx.ValueInfoProto.FromString(model.graph.input[0].SerializeToString())
    del model.graph.input[:]
    model.graph.input.extend([*(onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in model.graph.initializer), image])
    report, path = packaged(tmp_path, model)
    assert report.spec.reach_bounded and "BatchNormalization" not in report.operators
    with Package.open(path) as package:
        assert len(onnx.load_from_string(bytes(package.read("graph-fp32.onnx"))).graph.input) == 1


def test_bins_of_a_pyramid_pooling_are_no_grid_of_the_network(tmp_path):
    network, spec = save(tmp_path, pyramid())
    with pytest.raises(ReachError, match="a tensor has stride 96.*--halo"):
        package_foreign(network, spec, tmp_path / "net.engine")
    made = package_foreign(network, spec, tmp_path / "net.engine", ForeignOptions(halo_px=16)).spec
    assert (made.stride_px, made.tile_px, made.halo_px, made.reach_bounded, made.fixed_tile) == (4, 192, 16, False, True)


def test_a_fixed_size_may_stay_fixed_and_tiles_still_equal_the_whole(tmp_path):
    report, path = packaged(tmp_path, unet(image=(1, BANDS, 96, 96)), ForeignOptions(keep_size=True))
    assert report.spec.fixed_tile and report.spec.tile_px == 96 and report.spec.reach_bounded
    (tmp_path / "free").mkdir()
    _, free = packaged(tmp_path / "free", unet())
    scene = np.random.default_rng(1).normal(size=(BANDS, 131, 77)).astype(np.float32)
    with Segmenter(path) as fixed, Segmenter(free, tile=288) as whole:
        result = fixed.run(scene, unit="dn")
        np.testing.assert_array_equal(result.labels, whole.run(scene, unit="dn").labels)
    assert result.report.halo == "exact" and result.report.tile_px == (96, 96)


@pytest.mark.slow
def test_the_command_packages_and_predicts(tmp_path):
    network, spec = save(tmp_path, unet())
    done = run("package", network, "--spec", spec, "-o", tmp_path / "net.engine")
    assert done.returncode == 0 and "exact halo" in done.stdout, done.stdout + done.stderr
    assert done.stderr.startswith("measuring the reach: 5 runs of"), done.stderr
    done = run("package", network, "--spec", spec, "-o", tmp_path / "net.engine", "--overwrite", "--json")
    assert json.loads(done.stdout)["spec"]["stride_px"] == 4 and done.stderr.count("measuring the reach") == 1
    assert not run("package", network, "--spec", spec, "-o", tmp_path / "net.engine", "--overwrite", "--quiet").stderr
    scene = write_tif(tmp_path / "scene.tif", np.random.default_rng(1).normal(size=(2, 90, 70)).astype(np.float32),
                      crs="EPSG:32633", transform=UTM)
    done = run("predict", scene, tmp_path / "net.engine", "-o", tmp_path / "map.tif", "--unit", "dn")
    assert done.returncode == 0 and (tmp_path / "map.tif").exists(), done.stderr
    failed(run("package", network, "--spec", spec, "-o", tmp_path / "net.engine"), "exists")


def test_the_example_spec_is_printed_and_is_itself_valid():
    from hfd_edge.export.foreign_spec import parse_spec

    done = run("package", "--example-spec")
    assert done.returncode == 0 and parse_spec(done.stdout).classes == ("water", "land", "ship")


def test_packaging_comparing_and_the_copy_for_qgis_need_no_torch():
    from tests.test_rooms import run_blocked

    rooms = ("foreign", "foreign_spec", "compare", "compare_page", "lineage", "legality", "qgis")
    done = run_blocked("".join(f"import hfd_edge.export.{room}\n" for room in rooms) + "print('ok')", names=("torch", "timm", "safetensors"))
    assert done.returncode == 0 and done.stdout.strip() == "ok", done.stderr
