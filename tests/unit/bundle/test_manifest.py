import json

import pytest
from pydantic import ValidationError

from automl.bundle.manifest import ImageIntervals, manifest_json, package_versions, parse_manifest
from automl.errors import BundleError


def intervals(**bounds):
    return ImageIntervals(images=40, resamples=2000, seed=0, bounds=bounds)


def test_manifest_survives_json(make_manifest):
    manifest = make_manifest()
    plain = manifest_json(manifest)
    assert plain["schema_version"] == 3
    assert plain["metrics_measured_on"] == "images and masks resized to input.size"
    assert plain["created"] == "2025-01-02T03:04:05Z"
    assert plain["params"] == {
        "encoder": "mobilenetv3_small_100",
        "alpha": 0.5,
        "pretrained": False,
    }
    assert parse_manifest(json.dumps(plain)) == manifest


@pytest.mark.parametrize("version", [0, "1", None, True])
def test_unknown_version_is_named(make_manifest, version):
    plain = manifest_json(make_manifest()) | {"schema_version": version}
    with pytest.raises(BundleError, match=f"schema_version {version!r} is not known"):
        parse_manifest(json.dumps(plain))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}"])
def test_text_that_is_no_manifest_is_refused(text):
    with pytest.raises(BundleError, match=r"not JSON|schema_version None"):
        parse_manifest(text)


def test_a_fault_of_the_whole_is_told_without_a_key(make_manifest):
    plain = manifest_json(make_manifest()) | {"classes": []}
    with pytest.raises(BundleError, match=r"^Value error, classes must be 1 to 255, got 0$"):
        parse_manifest(json.dumps(plain))


def test_every_fault_is_listed(make_manifest):
    plain = manifest_json(make_manifest()) | {"size_mb": -1, "surprise": 1}
    del plain["classes"]
    with pytest.raises(BundleError) as caught:
        parse_manifest(json.dumps(plain))
    for key in ("size_mb", "surprise", "classes"):
        assert f"{key}: " in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ()}, "classes must be 1 to 255, got 0"),
        ({"classes": tuple("aabcd")}, "classes must differ"),
        ({"colours": ((0, 0, 0),)}, "colours must be one a class, got 1 for 5"),
        ({"colours": ((0, 0, 256),) * 5}, "less than or equal to 255"),
        ({"precision": "fp32"}, "precision must be that of the lineage"),
        ({"metrics": {"val": {"miou": float("nan")}}}, "finite"),
        ({"metrics": {"holdout": {}}}, "holdout|'train', 'val' or 'test'"),
        ({"intervals": {"val": intervals(rust=(0.1, 0.2))}}, "of val: metrics have no rust"),
        ({"intervals": {"train": intervals(miou=(0.1, 0.2))}}, "of train: metrics have no miou"),
        ({"intervals": {"val": intervals(miou=(0.3, 0.2))}}, "low must not be above high"),
    ],
)
def test_bad_state_is_refused(make_manifest, changes, message):
    with pytest.raises(ValidationError, match=message):
        make_manifest(**changes)


def test_versions_of_absent_packages_are_left_out():
    versions = package_versions(("numpy", "no-such-package-here"))
    assert list(versions) == ["numpy"]
    assert versions["numpy"][0].isdigit()
