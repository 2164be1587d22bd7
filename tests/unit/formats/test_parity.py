"""Whether a file computes what its source does, against plain loops; what is refused."""

import numpy as np
import pytest

from automl.formats.parity import TOLERANCES, agreement, fault

IMAGES = np.random.default_rng(0).normal(size=(3, 3, 4, 6)).astype(np.float32)


def source(images_nchw):
    return np.stack([images_nchw.sum(1), 2 * images_nchw[:, 0]], axis=1)


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_errors_are_those_of_a_plain_loop(batch):
    shifts = iter(np.linspace(0, 1, 24))

    def converted(images_nchw):
        assert len(images_nchw) == batch
        return source(images_nchw) + np.float32(next(shifts))

    found = agreement(source, converted, IMAGES, batch=batch)
    largest, differences = 0.0, []
    pool = [*IMAGES, *(image[..., ::-1] for image in IMAGES)]
    for place, image in enumerate(pool):
        shift = np.float32(np.linspace(0, 1, 24)[place // batch])
        for value in source(image[None]).ravel():
            largest = max(largest, abs(float(value)))
            differences.append(abs(float(np.float32(value + shift) - value)))
    assert found.max_error == pytest.approx(max(differences))
    assert found.mean_error == pytest.approx(np.mean(differences) / largest)
    assert found.relative_error == pytest.approx(max(differences) / largest)
    assert found.equal_pixels == 1
    assert found.images == len(pool)


def test_a_batch_that_repeats_its_first_image_is_refused_even_for_one_sample():
    found = agreement(
        source, lambda images: np.repeat(source(images[:1]), 2, axis=0), IMAGES[:1], batch=2
    )
    assert "2 at a time" in str(fault(found, TOLERANCES["fp32"]))


def test_values_that_are_no_numbers_are_refused():
    found = agreement(source, lambda images: source(images) * np.nan, IMAGES, batch=1)
    assert fault(found, TOLERANCES["fp32"]) is not None


def test_logits_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="shape"):
        agreement(source, lambda images: source(images)[:, :1], IMAGES, batch=1)


def test_the_same_logits_pass():
    assert fault(agreement(source, source, IMAGES, batch=2), TOLERANCES["fp32"]) is None
