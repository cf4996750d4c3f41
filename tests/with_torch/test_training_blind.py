"""Pairs without an optical image: what needs one is neither trained nor judged on them, and says how many it saw."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from lessons import RECORD, config, data, equal, silent, teacher  # noqa: E402
from test_layouts_folder import folder  # noqa: E402
from tests.with_torch.tiny_sets import write  # noqa: E402
from training.__main__ import main  # noqa: E402
from training.batches import what_there_is  # noqa: E402
from training.measures import answer_of, answer_of_all, judge, judged, miou_on  # noqa: E402
from training.pairs import DataError  # noqa: E402
from training.student import train_teacher  # noqa: E402


class Blind:
    """The small set with more of the test split, some of its pairs without an optical image."""

    def __init__(self, blind, pairs=None):
        self._pairs, self._blind = pairs or data().pairs, blind
        self.info = self._pairs.info

    def names(self, split):
        return self._pairs.names("train" if split == "test" else split)

    def read(self, name, eo=True):
        pair = self._pairs.read(name, eo=eo)
        return replace(pair, eo=None) if name in self._blind else pair


def seen(*blind):
    return replace(data(), pairs=Blind(blind))


def test_a_teacher_is_judged_on_the_pairs_that_it_can_see():
    names, net = Blind(()).names("test"), teacher().leader
    some, lone = seen(*names[1:]), replace(data(), pairs=Blind(()))
    found = judge({"eo": answer_of(net, "eo", some), "both": answer_of_all([net, teacher("sar").leader], ["eo", "sar"], some),
                   "sar": answer_of(teacher("sar").leader, "sar", some)}, some, "test")
    assert [(found[name].pairs, found[name].of) for name in ("eo", "both", "sar")] == [(1, 4), (1, 4), (4, 4)]
    first = lone.pairs.read(names[0])
    known = first.labels != 255
    np.testing.assert_array_equal(found["eo"].counts.sum(), known.sum())
    assert found["eo"].accuracy == pytest.approx((answer_of(net, "eo", lone)(first)[known] == first.labels[known]).mean())
    assert found["eo"].how_many == "1 of 4 pairs, those with EO; no pixel of bare soil, cropland" and found["sar"].how_many == "4 pairs"
    assert found["eo"].to_dict()["pairs"] == 1 and miou_on(net, "eo", some, "test") == found["eo"].miou


def test_a_split_that_a_network_cannot_see_is_refused():
    blind = seen(*Blind(()).names("test"))
    with pytest.raises(DataError, match="none of the 4 pairs of the split test has an optical image.*kind sar"):
        judged(answer_of(teacher().leader, "eo", blind), blind, "test")


def test_a_teacher_that_would_see_no_image_at_all_is_refused_before_the_first_step():
    for blind, words in ((data().pairs.names("train"), "none of the 4 train pairs with labels"),
                         (data().pairs.names("select"), "none of the 1 pairs of the split select")):
        with pytest.raises(DataError, match=words):
            train_teacher(config(), seen(*blind), log=silent)
        train_teacher(config(teacher={"kinds": ["sar"]}), seen(*blind), log=silent)


class Clouded(Blind):
    """The same set whose optical images end at column 40; what stands in the labels from there on may be changed."""

    def __init__(self, hidden=lambda labels: labels):
        super().__init__(())
        self._hidden = hidden

    def read(self, name, eo=True):
        pair = super().read(name, eo=eo)
        seen = np.broadcast_to(np.arange(pair.labels.shape[1]) < 40, pair.labels.shape)
        return replace(pair, eo_seen=seen.copy() if eo else None, labels=np.where(seen, pair.labels, self._hidden(pair.labels)))


def test_a_teacher_learns_nothing_from_labels_under_a_cloud():
    def weights(kind, hidden):
        return train_teacher(config(teacher={"kinds": [kind]}), replace(data(), pairs=Clouded(hidden)), log=silent).state_dict()
    swapped = lambda labels: np.where(labels == 255, labels, 4 - labels).astype(np.uint8)  # noqa: E731
    for kind in ("eo", "eo+sar"):
        assert equal(weights(kind, lambda labels: labels), weights(kind, swapped))
    assert not equal(weights("sar", lambda labels: labels), weights("sar", swapped))


def test_a_network_that_needs_eo_is_judged_on_the_pixels_that_have_it():
    some = replace(data(), pairs=Clouded())
    found = judge({"eo": answer_of(teacher().leader, "eo", some), "sar": answer_of(teacher("sar").leader, "sar", some),
                   "mute": lambda pair: np.full_like(pair.labels, 255)}, some, "test")
    pairs = [some.pairs.read(name) for name in some.pairs.names("test")]
    assert found["eo"].pixels == sum((pair.labels[:, :40] != 255).sum() for pair in pairs) < found["sar"].pixels and not found["eo"].counts[:, -1].any()
    assert found["sar"].pixels == sum((pair.labels != 255).sum() for pair in pairs)
    assert found["mute"].accuracy == 0 and found["mute"].pixels == found["eo"].pixels, "no answer where there is an image is a miss"
    assert (answer_of(teacher().leader, "eo", some)(pairs[0])[:, 40:] == 255).all()
    with pytest.raises(DataError, match="none of the 4 train pairs with labels has an optical image and a known label"):
        train_teacher(config(), replace(data(), pairs=HiddenLabels()), log=silent)


class HiddenLabels(Clouded):
    """Labels stand only where there is no optical image."""

    def read(self, name, eo=True):
        pair = super().read(name, eo=eo)
        return replace(pair, labels=np.where(np.arange(pair.labels.shape[1]) < 40, np.uint8(255), pair.labels))


def test_optical_images_that_were_not_among_the_measured_pairs_are_not_taken_as_stored():
    with pytest.raises(DataError, match="none of the 4 measured train pairs has an optical image.*raise data.measured_pairs"):
        train_teacher(config(), replace(data(), statistics=replace(data().statistics, eo_pairs=0)), log=silent)


def test_the_start_of_a_run_says_how_many_pairs_have_an_image_and_which_class_none_holds():
    found = replace(data().statistics, eo_pairs=3, class_counts=(5, 0, 5, 5, 5))
    lines = what_there_is(replace(data(), statistics=found), 0)
    assert lines[0] == "4 train pairs, 3 with EO" and len(lines) == 2 and data().info.classes[1] in lines[1] and "warning: no pixel" in lines[1]
    assert what_there_is(replace(data(), statistics=replace(found, pairs=3)), 0)[0] == "4 train pairs, 3 of the 3 that were measured with EO"


@pytest.fixture
def half_blind(tmp_path):
    """A folder set of which half the pairs of every split have no optical image, with a class that no pair holds and one that only train does."""
    root = tmp_path / "mine"
    folder(root, pairs=20, classes={"land": [10, 11], "water": 20, "ice": 30, "town": 40})
    for number in range(20):
        if number % 2:
            (root / f"eo/p{number:02d}.tif").unlink()
    town = np.full((16, 16), 10, np.uint8)
    town[:8] = 40
    write(root / "label/p00.tif", town, 500_000.0)
    base = {"name": "mine", "work": str(tmp_path / "work"), "network": RECORD["network"], "evaluate": {"panels": 2},
            "data": {"layout": "folder", "root": str(root), "crop_px": 16, "batch": 2, "workers": 0}, "loop": {"steps": 2, "threads": 1}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(base))
    return tmp_path


def test_the_commands_say_how_many_pairs_were_judged_and_the_report_has_no_nan(half_blind, capsys):
    assert main(["teacher", str(half_blind / "mine.yaml")]) == 0
    out = capsys.readouterr().out
    assert "12 train pairs, 6 with EO" in out and "(2 of 4 pairs, those with EO; no pixel of ice, town)" in out and "no pixel of the class ice" in out
    assert main(["student", str(half_blind / "mine.yaml")]) == 0
    out = capsys.readouterr().out
    assert "(4 pairs; no pixel of ice, town)" in out and "(2 of 4 pairs, those with EO; no pixel of ice, town)" in out
    report = (half_blind / "work" / "report.md").read_text()
    assert "| ice | - | - | 0 |" in report and "| town | - | - | 126 |" in report and "nan" not in report and "2 of 4" in report
    assert "no figure (-)" in report
    for path in (half_blind / "mine" / "eo").iterdir():
        if int(path.stem[1:]) % 5 in (0, 1, 3):                               # of train; the layout itself refuses a set without any
            path.unlink()
    assert main(["teacher", str(half_blind / "mine.yaml"), f"work={half_blind / 'other'}"]) == 1
    said = capsys.readouterr()
    assert "12 train pairs, 0 with EO" in said.out and "has an optical image and a known label" in said.err and said.err.count("\n") == 1
