"""Crops placed by class hold a pixel of it, anywhere in the crop; they are a function of seed and number, and withheld labels send no crop anywhere."""

import json
from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from hypothesis import given, settings, strategies as st  # noqa: E402

from hfd_edge.spec import Unit  # noqa: E402
from lessons import config, data  # noqa: E402
from test_loader import same  # noqa: E402
from test_training_commands import equal, process, run, said  # noqa: E402, F401
from training.augment import AugmentOptions, cut, draw_geometry  # noqa: E402
from training.batches import Data, make_batches  # noqa: E402
from training.by_class import ByClass, by_class, class_pixels, draw_pixel, pixels_above  # noqa: E402
from training.loader import Loader, LoaderOptions  # noqa: E402
from training.pairs import FLIPS, DataError, SetInfo, check_split, pair_of  # noqa: E402
from training.schema import ConfigError  # noqa: E402
from training.statistics import measure  # noqa: E402
from training.student import weights_record  # noqa: E402

ROWS, COLS, SHIP = 90, 70, 2
QUIET = AugmentOptions(nodata_wedge=0)
BUSY = AugmentOptions(speckle_looks=4.0, shift_px=2, drop_eo=0.4, nodata_wedge=0.5)


class Harbours:
    """Ten pairs of land and water, the last without an optical image. Numbers 2, 5 and 9 hold ships of one pixel; in number 7 one lies where SAR was not
    measured; there is no ice."""

    info = SetInfo("harbours", ("VV", "VH"), ("R",), ("land", "water", "ship", "ice"), ((0, 0, 0),) * 4, Unit.DB, "sigma0", None, None, FLIPS)
    ships = {2: [(5, 6)], 5: [(45, 35)], 7: [(0, 0)], 9: [(89, 69), (1, 0), (60, 3)]}

    def __init__(self):
        self.reads = []

    def names(self, split):
        return tuple(f"{check_split(split)}{i}" for i in range(10))

    def read(self, name, eo=True):
        self.reads.append(name)
        number = int(name[-1])
        rng = np.random.default_rng(number)
        labels = np.broadcast_to(np.arange(COLS) > 30, (ROWS, COLS)).astype(np.uint8)
        for place in self.ships.get(number, ()):
            labels[place] = SHIP
        valid = np.ones((ROWS, COLS), bool)
        valid[0, 0] = False
        return pair_of(name, rng.normal(-12, 5, (2, ROWS, COLS)), rng.random((1, ROWS, COLS)) if eo and number != 9 else None, labels, valid)


def sent(pairs, share=0.5, tmp_path=None, names=None):
    counts = {name: tuple(np.bincount(pairs.read(name).labels.ravel(), minlength=256)[:4]) for name in names or pairs.names("train")}
    return by_class(share, counts, pairs.info)


def loader(share=0.5, eo=True, names=None, **changes):
    pairs = Harbours()
    chosen = None if share is None else sent(pairs, share, names=names)
    options = LoaderOptions(**{"crop_px": 16, "batch": 4, "augment": QUIET, "by_class": chosen, **changes})
    return Loader(pairs, names or pairs.names("train"), measure(pairs), options, eo)


def test_without_the_key_crops_lie_where_they_lay_before_there_was_one():
    pairs, whole = Harbours(), loader(None, workers=0)
    order = np.random.default_rng((0, 0, 0)).permutation(10)                  # of the pairs in epoch 0; crops: stream 2
    for index in range(8):
        pair, rng = pairs.read(f"train{order[index]}"), np.random.default_rng((0, 2, index))
        row, col = int(rng.integers(0, ROWS - 16 + 1)), int(rng.integers(0, COLS - 16 + 1))
        labels = pair.labels[row:row + 16, col:col + 16]
        coins = rng.random(3) < 0.5
        labels = labels[::-1] if coins[0] else labels
        labels = labels[:, ::-1] if coins[1] else labels
        assert np.array_equal(whole.batch(index // 4).labels[index % 4], labels.T if coins[2] else labels)
    assert make_batches(config(), data(), eo=True, unlabelled=False).labelled.options.by_class is None


def test_crops_that_are_not_sent_to_a_class_are_those_of_a_run_without():
    plain, part = loader(None, augment=BUSY), loader(0.25, augment=BUSY)
    for number in range(10):
        one, other = plain.batch(number), part.batch(number)
        for name in ("sar", "eo", "eo_seen", "labels", "valid"):
            assert torch.equal(getattr(one, name)[:3], getattr(other, name)[:3])
        assert not torch.equal(one.sar[3], other.sar[3])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 60), st.integers(0, 2 ** 40), st.integers(0, 3), st.sampled_from([0.1, 0.5, 1.0]), st.integers(1, 5))
def test_a_batch_is_a_function_of_seed_and_number_for_any_workers_and_processes(number, seed, workers, share, crops):
    shape = {"seed": seed, "augment": BUSY, "crops_per_pair": crops, "round_pairs": 3}
    alone = loader(share, workers=0, **shape).batch(number)
    batches = loader(share, workers=workers, cache_bytes=0, **shape).batches(max(number - 2, 0))
    assert same(alone, next(islice(batches, min(number, 2), None)))
    batches.close()
    halves = [loader(share, batch=2, rank=rank, ranks=2, **shape).batch(number) for rank in (0, 1)]
    assert torch.equal(torch.cat([half.sar for half in halves]), alone.sar)
    assert same(alone, loader(share, eo=False, **shape).batch(number), ("sar", "labels", "valid"))          # SAR alone sees the same crops


@settings(max_examples=100, deadline=None)
@given(st.integers(3, 60), st.integers(3, 60), st.integers(4, 48), st.integers(0, 2 ** 32), st.data())
def test_a_crop_holds_its_pixel_and_goes_no_further_beyond_the_pair_than_any_other(rows, cols, crop, seed, draw):
    pixel = draw.draw(st.integers(0, rows - 1)), draw.draw(st.integers(0, cols - 1))
    labels = np.zeros((rows, cols), np.uint8)
    labels[pixel] = SHIP
    pair = pair_of("p", np.ones((2, rows, cols)), None, labels, np.ones((rows, cols), bool))
    geometry = draw_geometry(pair, crop, QUIET, Harbours.info, np.random.default_rng(seed), pixel)
    assert (cut(pair, geometry).labels == SHIP).sum() == 1
    for start, side in ((geometry.row, rows), (geometry.col, cols)):
        assert min(0, side - crop) <= start <= max(0, side - crop)


def test_half_of_every_batch_goes_to_classes_pairs_and_pixels_each_alike():
    both, found, pixels = loader(0.5), Counter(), Counter()
    for index in range(6000):
        pair, pixel = both._place(index)
        assert (pixel is not None) == (index % 2 == 1)
        if pixel is not None:
            label = int(pair.labels[pixel])
            found[label] += 1
            if label == SHIP:
                pixels[pair.name, pixel] += 1
    assert found.keys() == {0, 1, SHIP} and all(abs(count - 1000) < 5 * np.sqrt(1000 * 2 / 3) for count in found.values())
    assert pixels.keys() == {("train2", (5, 6)), ("train5", (45, 35)), *(("train9", place) for place in Harbours.ships[9])}     # none that was not measured
    by_pair = Counter(name for name, _ in pixels.elements())
    assert all(abs(count - found[SHIP] / 3) < 5 * np.sqrt(found[SHIP] * 2 / 9) for count in by_pair.values())
    assert all(abs(pixels["train9", place] - by_pair["train9"] / 3) < 5 * np.sqrt(by_pair["train9"] * 2 / 9) for place in Harbours.ships[9])


def test_the_pixel_lies_anywhere_in_its_crop():
    ships, places = loader(1.0, names=("train5",), workers=0), []
    for number in range(300):
        for labels in ships.batch(number).labels.numpy():
            places += np.argwhere(labels == SHIP).tolist() if (labels == SHIP).any() else []
    counts = np.histogram2d(*np.array(places).T, bins=4, range=((0, 16), (0, 16)))[0]
    assert len(places) > 400 and abs(counts - counts.mean()).max() < 5 * np.sqrt(counts.mean())           # all in the middle would leave the rim empty


def test_rare_pixels_are_seen_as_often_as_asked_and_hardly_ever_without():
    def share(by):
        one = loader(by, workers=0)
        return np.mean([(labels == SHIP).any() for number in range(150) for labels in one.batch(number).labels.numpy()])
    assert share(1.0) > 0.33 > 10 * share(None)


def test_all_crops_of_a_pair_that_are_sent_elsewhere_in_a_round_go_to_one_other():
    many = loader(0.5, crops_per_pair=6, round_pairs=2, workers=0)
    for index in range(1, 12, 2):                                             # the first round: two pairs of its own, at most two others
        many._place(index)
    assert len({many._place(index)[0].name for index in range(1, 12, 2)}) <= 2
    read_ahead = Harbours()
    options = replace(many.options, workers=1, ahead=1, batch=2)
    batches = Loader(read_ahead, read_ahead.names("train"), measure(Harbours()), options, True).batches()
    for _ in range(6):                                                        # items 0 to 11 of the first round's twelve
        next(batches)
    batches.close()
    assert {many._place(index)[0].name for index in range(12, 24)} <= set(read_ahead.reads)


def test_pixels_are_found_by_row_and_one_that_has_gone_is_told_of():
    pair = Harbours().read("train9")
    above = pixels_above(pair, SHIP)
    assert above[0] == 0 and above[1] == 1 and above[60] == 2 and above[-1] == 3
    assert {draw_pixel(pair, SHIP, above, np.random.default_rng(seed)) for seed in range(60)} == set(Harbours.ships[9])
    with pytest.raises(DataError, match="pair train9: no pixel of class number 3, of which it held some when the run began"):
        draw_pixel(pair, 3, pixels_above(pair, 3), np.random.default_rng(0))


def test_withheld_labels_are_not_looked_at_and_send_no_crop(tmp_path):
    pairs, said = Harbours(), []
    names = pairs.names("train")
    part = Data(pairs, measure(pairs), names[:4], names[4:])
    pairs.reads.clear()
    batches = make_batches(config(tmp_path, data={"by_class": 0.5, "crop_px": 16, "labelled_share": 0.4}), part, eo=True, unlabelled=True, log=said.append)
    assert set(pairs.reads) == set(names[:4]) == set(json.loads((tmp_path / "class-pixels.json").read_text())["pixels"])
    sent_to, beside = batches.labelled.options.by_class, batches.unlabelled.options
    assert dict(sent_to.holders)[SHIP] == ("train2",) and dict(sent_to.holders).keys() == {0, 1, SHIP} and beside.by_class is None
    found = "land (in 4, 44 % of the pixels), water (in 4, 56 % of the pixels), ship (in 1, 0.004 % of the pixels)"
    assert f"50 % of the crops are placed evenly on the classes of 4 train pairs with labels: {found}" in said[1]
    assert "warning: no crop can be placed on the class ice" in said[2] and len(said) == 3
    whole = make_batches(config(tmp_path, data={"by_class": 0.5, "crop_px": 16}), replace(part, labelled=names, unlabelled=()), True, False)
    assert dict(whole.labelled.options.by_class.holders)[SHIP] == ("train2", "train5", "train9")           # number 7 has one where nothing was measured


def test_what_was_counted_is_kept_for_these_files_and_more_pairs_are_added(tmp_path):
    pairs, path, said = Harbours(), tmp_path / "work" / "class-pixels.json", []
    first = class_pixels(pairs, ("train2", "train3"), path, "one", said.append)
    assert first == {"train2": (ROWS * 31 - 2, ROWS * 39, 1, 0), "train3": (ROWS * 31 - 1, ROWS * 39, 0, 0)} and len(pairs.reads) == 2
    assert class_pixels(pairs, ("train3", "train2"), path, "one") == first and len(pairs.reads) == 2
    assert class_pixels(pairs, ("train3", "train4"), path, "one").keys() == {"train3", "train4"} and pairs.reads[2:] == ["train4"]
    assert class_pixels(pairs, ("train2", "train3"), path, "two") == first and len(pairs.reads) == 5          # other files: all anew
    assert len(said) == 1 and "classes of 2 train pairs counted" in said[0] and [file.name for file in path.parent.iterdir()] == [path.name]
    for text in ("{", "[]", '{"key": 3}', '{"pixels": 3, "key": [1]}'):
        path.write_text(text)
        with pytest.raises(DataError, match="class-pixels.json.*delete it, it is made anew"):
            class_pixels(pairs, ("train2",), path)


def test_each_process_keeps_a_file_of_its_own(tmp_path, monkeypatch):
    given = config(tmp_path, data={"by_class": 0.5})
    first = make_batches(given, data(), eo=False, unlabelled=False)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    second = make_batches(given, data(), eo=False, unlabelled=False)
    assert {path.name for path in tmp_path.iterdir()} == {"class-pixels.json", ".class-pixels-1.json"}
    assert second.labelled.options.by_class == first.labelled.options.by_class and second.labelled.options.rank == 1


def test_no_class_at_all_and_no_share_are_refused():
    with pytest.raises(DataError, match="data.by_class=0.5 and none of the 2 train pairs with labels has a pixel of a class"):
        by_class(0.5, {"a": (0, 0, 0, 0), "b": (0, 0, 0, 0)}, Harbours.info)
    for share in (-0.1, 1.5):
        with pytest.raises(ConfigError, match="data.by_class"):
            config(data={"by_class": share})


def test_shares_are_spread_evenly_over_the_items():
    for share in (0.0, 0.1, 0.3, 0.5, 0.99, 1.0):
        taken = np.cumsum([ByClass(share, ()).takes(index) for index in range(1000)])
        assert abs(taken - share * np.arange(1, 1001)).max() <= 1


def test_teacher_student_ablate_and_qat_place_their_crops_by_class(run, tmp_path, capsys):  # noqa: F811
    line, work = "data.by_class: 50 % of the crops are placed evenly on the classes of 4 train pairs with labels: water (in ", tmp_path / "work"
    for verb in ("teacher", "student", "qat"):
        code, out, error = said(capsys, verb, run, "data.by_class=0.5")
        assert code == 0 and line in out and "kept in" in out or verb != "teacher", error
    assert not any("class-pixels" in str(path) for path in (tmp_path / "plain").glob("*"))
    for verb in ("teacher", "student"):
        code, out, _ = said(capsys, verb, run, f"work={tmp_path / 'plain'}")
        assert code == 0 and "by_class" not in out and not (tmp_path / "plain" / "class-pixels.json").exists()
    for name in ("teacher-0.safetensors", "student.safetensors"):
        assert not equal(work / name, tmp_path / "plain" / name)
    assert json.loads((work / "student.json").read_text())["provenance"]["config"]["data"]["by_class"] == 0.5
    code, out, _ = said(capsys, "ablate", run, "data.by_class=0.5", "ablate.alignments=[none]", "ablate.seeds=[0,1]")
    assert code == 0 and out.count(line) == out.count("cell alone") + out.count("cell features") + out.count("cell teacher-") == 6


def test_a_state_from_before_the_key_is_gone_on_with_and_another_share_is_refused(run, capsys):  # noqa: F811
    assert "by_class" not in weights_record(config())["data"] and weights_record(config(data={"by_class": 0.5}))["data"]["by_class"] == 0.5
    assert said(capsys, "student", run, "distil.weight=0")[0] == 0
    code, _, error = said(capsys, "student", run, "distil.weight=0", "data.by_class=0.5")
    assert code == 1 and "data.by_class: nothing there, 0.5 here" in error


def test_the_command_says_where_crops_go_and_refuses_a_share_that_is_none(run, tmp_path):  # noqa: F811
    child = process("-m", "training", "student", run, "distil.weight=0", "data.by_class=0.5", f"work={tmp_path / 'sent'}")
    out = child.communicate()[0]
    assert child.returncode == 0 and "evenly on the classes of 4 train pairs with labels: " in out
    child = process("-m", "training", "student", run, "data.by_class=2")
    assert "error: data.by_class=2" in child.communicate()[0] and child.returncode == 1
