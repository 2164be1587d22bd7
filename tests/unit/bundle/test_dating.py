from datetime import UTC, datetime

import pytest

from automl.bundle.dating import dated_as_before, time_of_making
from automl.errors import UsageError

LATER = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_time_that_is_set_takes_the_place_of_the_clock(monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert time_of_making() > LATER.replace(year=2025)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1735787045")
    assert time_of_making() == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    for wrong in ("yesterday", "", "9" * 30):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH: whole seconds since 1970"):
            time_of_making()


def test_the_same_bundle_keeps_its_date(bundle, artifact, make_manifest):
    again = dated_as_before(make_manifest(created=LATER), bundle, artifact)
    assert again == make_manifest()


def test_another_bundle_has_a_date_of_its_own(bundle, artifact, core, make_manifest, tmp_path):
    later = make_manifest(created=LATER)
    changed = make_manifest(created=LATER, size_mb=9.0)
    assert dated_as_before(changed, bundle, artifact) == changed
    assert dated_as_before(later, bundle, core) == later
    assert dated_as_before(later, tmp_path / "none", artifact) == later
    (bundle / "MODEL_CARD.md").write_text("changed")
    assert dated_as_before(later, bundle, artifact) == later
