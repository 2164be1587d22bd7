import json
from pathlib import Path

import jsonschema
import pytest

from automl.bundle import migrations
from automl.bundle.amending import migrate_bundle, sign_bundle
from automl.bundle.checksums import write_checksums
from automl.bundle.files import sha256
from automl.bundle.keys import SecretKey
from automl.bundle.manifest import (
    SCHEMA_VERSION,
    Manifest,
    manifest_json,
    manifest_schema,
    parse_manifest,
)
from automl.bundle.verify import verify_bundle
from automl.errors import BundleError, UsageError

#: Manifests as earlier versions of this program wrote them.
EARLIER = sorted((Path(__file__).parent / "data").glob("manifest-*.json"))
COMMITTED = Path(migrations.__file__).with_name("bundle.schema.json")


@pytest.fixture
def old_bundle(bundle):
    (bundle / "bundle.json").write_text(EARLIER[0].read_text())
    write_checksums(bundle)
    return bundle


def test_every_earlier_version_has_a_step_and_a_manifest():
    assert sorted(migrations.STEPS) == list(range(1, SCHEMA_VERSION))
    assert [json.loads(path.read_text())["schema_version"] for path in EARLIER] == list(
        range(1, SCHEMA_VERSION)
    )


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.stem)
def test_an_earlier_manifest_is_read_with_all_that_it_says(path):
    old = json.loads(path.read_text())
    new = manifest_json(parse_manifest(path.read_text()))
    assert new["input"].pop("resize") == {"mode": "stretch", "padding": None}
    assert {key: new[key] for key in old if key != "schema_version"} == {
        key: value for key, value in old.items() if key != "schema_version"
    }
    assert new["schema_version"] == SCHEMA_VERSION
    assert new["intervals"] == {}
    assert new["metrics_runtime"] == "onnxruntime"


def test_an_earlier_manifest_has_no_later_keys():
    old = json.loads(EARLIER[0].read_text()) | {"digests": None}
    with pytest.raises(BundleError, match="digests: schema_version 1 has no such key"):
        parse_manifest(json.dumps(old))


def test_a_version_2_has_no_later_keys_within_its_sections():
    old = json.loads(EARLIER[1].read_text())
    old["input"]["resize"] = {"mode": "letterbox", "padding": [0, 0, 0]}
    with pytest.raises(BundleError, match=r"input\.resize: schema_version 2 has no such key"):
        parse_manifest(json.dumps(old))


def test_a_newer_version_is_refused_with_what_to_do(make_manifest):
    plain = manifest_json(make_manifest()) | {"schema_version": SCHEMA_VERSION + 1}
    with pytest.raises(BundleError, match=r"newer than this program, .*use the version of automl"):
        parse_manifest(json.dumps(plain))


def test_a_bundle_of_an_earlier_version_works_and_is_migrated(old_bundle):
    before = verify_bundle(old_bundle).manifest
    assert before.digests is None
    done = migrate_bundle(old_bundle)
    assert (done.before, done.after, done.lost_signature) == (1, SCHEMA_VERSION, None)
    after = verify_bundle(old_bundle).manifest
    assert after.digests is not None
    assert after.digests.model == sha256((old_bundle / "model.onnx").read_bytes())
    assert after.model_copy(update={"digests": None}) == before
    assert json.loads((old_bundle / "bundle.json").read_text())["schema_version"] == SCHEMA_VERSION
    with pytest.raises(
        UsageError, match=f"has schema_version {SCHEMA_VERSION} already; nothing to do"
    ):
        migrate_bundle(old_bundle)


def test_migrating_drops_the_signature_and_says_whose_it_was(old_bundle):
    key = SecretKey.new()
    sign_bundle(old_bundle, key)
    lost = migrate_bundle(old_bundle).lost_signature
    assert lost == f"{int.from_bytes(key.key_id, 'little'):016X}"
    assert verify_bundle(old_bundle).signer is None


def test_the_committed_schema_is_that_of_the_records():
    """After a change: automl bundle schema > automl/bundle/bundle.schema.json."""
    assert json.loads(COMMITTED.read_text()) == manifest_schema()


def test_what_the_records_write_and_refuse_the_schema_does_too(make_manifest):
    schema = json.loads(COMMITTED.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    plain = manifest_json(make_manifest())
    jsonschema.validate(plain, schema)
    for change in (
        {"surprise": 1},
        {"schema_version": 1},
        {"classes": 3},
        {"size_mb": 0},
        {"digests": {"core": None, "model": "short"}},
        {"metrics": {"holdout": {}}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(plain | change, schema)
        with pytest.raises(BundleError):
            parse_manifest(json.dumps(plain | change))
    for key in Manifest.model_fields:
        if Manifest.model_fields[key].is_required():
            short = {name: value for name, value in plain.items() if name != key}
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(short, schema)
