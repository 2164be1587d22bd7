import pytest
import torch

from automl.data.batching import Batch
from automl.training.resolution import scaled_batch

CPU = torch.device("cpu")


def batch_of(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, 3, (2, height, width), generator=generator)
    return Batch(
        images_nhwc=torch.randint(
            0, 256, (2, height, width, 3), generator=generator, dtype=torch.uint8
        ),
        masks_nhw=torch.where(masks == 2, 255, masks).to(torch.uint8),
    )


def test_the_full_size_is_left_alone():
    given = batch_of(64, 96)
    assert scaled_batch(given, 1.0, CPU) is given
    small = batch_of(32, 32)
    assert scaled_batch(small, 0.5, CPU) is small


def test_half_the_size_averages_pixels_and_keeps_labels():
    given = batch_of(64, 128)
    half = scaled_batch(given, 0.5, CPU)
    assert half.images_nhwc.shape == (2, 32, 64, 3)
    assert half.images_nhwc.dtype == torch.uint8
    assert half.masks_nhw.shape == (2, 32, 64)
    assert half.masks_nhw.dtype == torch.uint8
    assert set(half.masks_nhw.unique().tolist()) == {0, 1, 255}
    # The middle of four pixels lies between them: the later one counts.
    assert torch.equal(half.masks_nhw, given.masks_nhw[:, 1::2, 1::2])


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_plain_pictures_stay_as_they_are(share):
    images = torch.full((1, 96, 96, 3), 200, dtype=torch.uint8)
    masks = torch.full((1, 96, 96), 255)
    masks[:, :48] = 1
    small = scaled_batch(Batch(images_nhwc=images, masks_nhw=masks), share, CPU)
    assert small.images_nhwc.shape == (1, 64, 64, 3)
    assert (small.images_nhwc == 200).all()
    assert (small.masks_nhw[:, :32] == 1).all()
    assert (small.masks_nhw[:, 32:] == 255).all()


def test_images_and_masks_stay_aligned():
    """What is bright where the mask is 1 is so afterwards, but for pixels on the edges."""
    masks = torch.zeros(1, 128, 128).long()
    masks[:, 20:90, 37:101] = 1
    images = (masks[..., None] * 255).to(torch.uint8).expand(1, 128, 128, 3)
    small = scaled_batch(Batch(images_nhwc=images, masks_nhw=masks), 0.5, CPU)
    differing = (small.images_nhwc[..., 0] > 127).long() != small.masks_nhw
    assert differing.sum() <= 2 * (35 + 32)
    assert small.masks_nhw.sum() == pytest.approx(35 * 32, rel=0.05)
