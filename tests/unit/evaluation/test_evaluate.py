import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from automl.bundle.loading import Bundle
from automl.bundle.manifest import manifest_json
from automl.errors import BundleError, DataError, UsageError
from automl.evaluation.compare import ComparisonRequest, compare, differences
from automl.evaluation.comparison_report import comparison_document, comparison_lines
from automl.evaluation.evaluate import EvaluationRequest, evaluate
from automl.evaluation.gallery import error_picture, gallery_page
from automl.evaluation.pictures import open_pictures
from automl.evaluation.report import evaluation_lines
from automl.evaluation.scoring import ImageScores
from automl.evaluation.summary import METRICS, class_scores, summarise
from automl.evaluation.writing import evaluation_document, write_images
from automl.measurement.scores import scores


def quiet(_done, _total):
    """Hears and says nothing."""


def by_hand(bundle, photos, split="test"):
    """The confusion matrix of a split, pixel by pixel."""
    opened = Bundle.load(bundle)
    total = np.zeros((5, 5), np.int64)
    for path in sorted((photos / split / "images").glob("*.png")):
        pred = opened.predict(np.asarray(Image.open(path)))
        target = np.asarray(Image.open(photos / split / "masks" / path.name))
        for true, found in zip(target.flat, pred.flat, strict=True):
            if true != 99:
                total[true, found] += 1
    return total


@pytest.fixture
def done(bundle, photos):
    return evaluate(EvaluationRequest(bundle=bundle, data=str(photos), metrics=METRICS), quiet)


def test_scores_are_those_of_the_masks_at_the_sizes_of_the_photos(bundle, photos, done):
    expected = scores(by_hand(bundle, photos))
    np.testing.assert_array_equal(done.scores.confusion_kk, by_hand(bundle, photos))
    assert done.summary.means["iou"].value == pytest.approx(expected.miou)
    assert done.summary.means["dice"].value == pytest.approx(expected.dice)
    assert done.summary.pixel_accuracy.value == pytest.approx(expected.pixel_accuracy)
    for own, score in zip(expected.iou, done.summary.classes["iou"], strict=True):
        assert score.value == pytest.approx(own)
        low, high = score.interval
        assert low <= score.value + 1e-9
        assert high >= score.value - 1e-9


def test_scores_of_parts_of_a_split_make_those_of_the_whole(done):
    for metric in METRICS:
        whole = class_scores(done.scores, metric, np.ones((1, 4)))
        order = [2, 0, 3, 1]
        moved = ImageScores(
            names=tuple(done.scores.names[n] for n in order),
            confusion_nkk=done.scores.confusion_nkk[order],
            extras={name: values[order] for name, values in done.scores.extras.items()},
        )
        np.testing.assert_allclose(class_scores(moved, metric, np.ones((1, 4))), whole)
        # An image that counts twice is as two images.
        twice = ImageScores(
            names=("a", "b", "c", "d", "d"),
            confusion_nkk=done.scores.confusion_nkk[[0, 1, 2, 3, 3]],
            extras={name: values[[0, 1, 2, 3, 3]] for name, values in done.scores.extras.items()},
        )
        np.testing.assert_allclose(
            class_scores(done.scores, metric, np.array([[1.0, 1, 1, 2]])),
            class_scores(twice, metric, np.ones((1, 5))),
        )


def test_the_record_is_met_where_the_manifest_tells_what_is_here(write, photos, tmp_path, done):
    assert done.record.recorded == 0.69
    assert done.record.reproduced is False
    assert "not the same" in evaluation_lines(done)[-1]
    plain = manifest_json(done.manifest)
    plain["metrics"] = {"test": {"miou": done.record.repeated}}
    honest = write(tmp_path / "honest", manifest=type(done.manifest)(**plain))
    again = evaluate(EvaluationRequest(bundle=honest, data=str(photos)), quiet)
    assert again.record.reproduced is True
    assert evaluation_lines(again)[-1].endswith("as recorded")
    on_val = evaluate(EvaluationRequest(bundle=honest, data=str(photos), split="val"), quiet)
    assert on_val.record.recorded is None
    assert evaluation_lines(on_val)[-1].startswith("recorded   nothing on val")


def test_what_is_written_says_what_was_scored(done, tmp_path):
    document = json.loads(json.dumps(evaluation_document(done), allow_nan=False))
    assert document["instances"] == "components"
    assert document["data"]["images"] == 4
    assert document["confusion"] == done.scores.confusion_kk.tolist()
    assert document["means"]["iou"]["value"] == done.summary.means["iou"].value
    write_images(done.scores, done.manifest.classes, tmp_path / "images.parquet")
    table = pq.read_table(tmp_path / "images.parquet").to_pydict()
    assert table["name"] == ["p0", "p1", "p2", "p3"]
    assert table["labelled_pixels"] == [40 * 56 - 1, 32 * 48 - 1, 61 * 35 - 1, 50 * 50 - 1]
    for row, miou in enumerate(table["miou"]):
        assert miou == pytest.approx(scores(done.scores.confusion_nkk[row]).miou)
    assert {f"hausdorff_95.{name}" for name in done.manifest.classes} <= table.keys()


def test_the_gallery_shows_the_worst_first_and_links_to_nothing(done):
    page = gallery_page(done.pictures, done.predict, done.scores, done.manifest, 2)
    # More pixels of the later photos are wrong.
    assert re.findall(r"<h2>(\d+)\. (\w+):", page) == [("1", "p3"), ("2", "p2")]
    assert page.count("<img src='data:image/") == 8
    assert "http" not in page
    errors = error_picture(np.array([[1, 2, 3]]), np.array([[1, 1, 255]]))
    assert np.asarray(errors)[0].tolist() == [[40, 40, 40], [225, 30, 30], [255, 255, 255]]


def test_classes_are_told_by_name_in_any_order(bundle, photos, done):
    manifest = done.manifest
    names = list(manifest.classes)
    values = {1: names[1], 0: names[0], 4: names[4], 2: names[2], 3: names[3]}
    listed = "\n".join(f"  {value}: {name}" for value, name in values.items())
    (photos / "dataset.yaml").write_text(f"classes:\n{listed}\nignore_index: 99\n")
    again = evaluate(EvaluationRequest(bundle=bundle, data=str(photos)), quiet)
    np.testing.assert_array_equal(again.scores.confusion_kk, done.scores.confusion_kk)
    reverse = ", ".join(reversed(names))
    (photos / "dataset.yaml").write_text(f"classes: [{reverse}]\nignore_index: 99\n")
    pictures = open_pictures(str(photos), "test", manifest, split_seed=0)
    plain = np.asarray(Image.open(photos / "test" / "masks" / "p0.png"))
    expected = np.where(plain == 99, 255, 4 - np.minimum(plain, 4))
    np.testing.assert_array_equal(pictures.read(0).target, expected)


def test_bad_input_is_told_before_any_work(bundle, photos, tmp_path):
    def asked(**change):
        return evaluate(
            EvaluationRequest(**{"bundle": bundle, "data": str(photos), **change}), quiet
        )

    with pytest.raises(BundleError, match="no such folder"):
        asked(bundle=tmp_path / "nothing")
    with pytest.raises(DataError, match="no such folder"):
        asked(data=str(tmp_path / "nothing"))
    declared = (photos / "dataset.yaml").read_text()
    (photos / "dataset.yaml").write_text(declared.replace("rust", "moss"))
    with pytest.raises(UsageError, match=r"moss.*; the bundle 0003-abcdef12-int8 knows .*rust"):
        asked()
    (photos / "dataset.yaml").write_text(declared)
    (photos / "test" / "masks" / "p2.png").unlink()
    with pytest.raises(DataError, match="this image has no mask"):
        asked()


def test_a_split_whose_pixels_are_all_ignored_is_told(bundle, photos):
    for path in (photos / "test" / "masks").glob("*.png"):
        blank = np.full_like(np.asarray(Image.open(path)), 99)
        Image.fromarray(blank).save(path)
    with pytest.raises(UsageError, match="no pixel of split test is labelled"):
        evaluate(EvaluationRequest(bundle=bundle, data=str(photos)), quiet)


def made(confusions):
    names = tuple(str(number) for number in range(len(confusions)))
    return ImageScores(names=names, confusion_nkk=np.array(confusions, np.int64))


def test_a_bundle_is_no_better_than_itself(bundle, photos):
    request = ComparisonRequest(bundles=(bundle, bundle), data=str(photos), split="test")
    done = compare(request, quiet)
    assert (done.mean.gain, done.mean.p, done.mean.interval) == (0.0, 1.0, (0.0, 0.0))
    lines = comparison_lines(done)
    assert lines[-1].startswith("the difference may be chance (p 1.0000")
    document = json.loads(json.dumps(comparison_document(done, 1.5), allow_nan=False))
    assert document["latency_ratio"] == 1.5
    assert list(document["classes"]) == list(done.manifests[0].classes)


def test_what_is_better_on_every_image_is_no_chance_and_noise_is():
    random = np.random.default_rng(0)
    worse = [np.add([[60, 40], [40, 60]], random.integers(-5, 6, (2, 2))) for _ in range(20)]
    better = [np.add([[80, 20], [20, 80]], random.integers(-5, 6, (2, 2))) for _ in range(20)]
    mean, classes = differences(made(worse), made(better), seed=0)
    assert mean.gain > 0.2
    assert mean.p < 0.001
    assert mean.interval[0] > 0.1
    assert all(each.p < 0.002 for each in classes)
    back, _ = differences(made(better), made(worse), seed=0)
    assert back.gain == pytest.approx(-mean.gain)
    shuffled = [worse[n] for n in random.permutation(20)]
    assert differences(made(worse), made(shuffled), seed=0)[0].p > 0.9


def test_a_class_that_one_has_no_score_of_has_no_test():
    first = made([[[9, 0], [0, 0]], [[7, 1], [0, 0]]])
    second = made([[[9, 0], [0, 0]], [[8, 0], [0, 0]]])
    mean, classes = differences(first, second, seed=0)
    assert classes[1].second is None
    assert (classes[1].p, classes[1].gain) == (None, None)
    assert mean.gain is not None
    with pytest.raises(ValueError, match="nothing to score"):
        summarise(made([[[0, 0], [0, 0]]]), ("iou",), seed=0)
