import numpy as np
import pytest
import torch
import torch.nn.functional as F

from automl.measurement.quality import scores
from automl.records import Normalisation
from automl.training import evaluation
from automl.training.evaluation import evaluate, normalise


def test_normalised_pixels_are_shifted_and_scaled_in_channels_last():
    images = torch.randint(0, 256, (2, 4, 5, 3), dtype=torch.uint8)
    norm = Normalisation(mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 4.0))
    before = images.clone()
    result = normalise(images, norm)
    expected = (images.numpy().astype(np.float32) - [10, 20, 30]) / [1, 2, 4]
    np.testing.assert_allclose(result.numpy(), expected.transpose(0, 3, 1, 2), rtol=1e-6)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_evaluation_counts_every_pixel_once_whatever_the_batches(
    dataset, tiny_net, settings_for, batch_size
):
    net, split = tiny_net(), dataset.split("val")
    settings = settings_for(batch_size=batch_size).for_evaluation(world_size=1)
    found = evaluate(net, split, num_classes=3, settings=settings)
    confusion, lost, pixels = np.zeros((3, 3), int), 0.0, 0
    for row in range(len(split)):
        image = torch.from_numpy(np.array(split.image(row)))[None]
        mask = torch.from_numpy(split.mask(row).astype(np.int64))[None]
        with torch.no_grad():
            logits = net(normalise(image, settings.normalisation))
        lost += float(F.cross_entropy(logits, mask, ignore_index=255, reduction="sum"))
        labelled = mask != 255
        pixels += int(labelled.sum())
        np.add.at(confusion, (mask[labelled].numpy(), logits.argmax(1)[labelled].numpy()), 1)
    np.testing.assert_array_equal(found.confusion_kk, confusion)
    assert found.cross_entropy == pytest.approx(lost / pixels, rel=1e-5)
    assert found.scores == scores(confusion)


def test_model_is_given_back_in_its_modes_without_new_statistics(dataset, tiny_net, settings_for):
    net = tiny_net(norm=True).train()
    net.dropout.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    settings = settings_for().for_evaluation(world_size=1)
    evaluate(net, dataset.split("val"), num_classes=3, settings=settings)
    assert net.norm.training
    assert not net.dropout.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_empty_split_is_refused(tiny_net, settings_for):
    with pytest.raises(ValueError, match="no samples"):
        evaluate(
            tiny_net(), [], num_classes=3, settings=settings_for().for_evaluation(world_size=1)
        )


def test_rows_of_logits_lose_what_pictures_lose():
    """The form for CUDA where bits must repeat, on the CPU: the same sum of the same pixels."""
    logits_nkhw = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    target_nhw = torch.randint(0, 3, (2, 4, 5))
    target_nhw[0, 0] = 255
    rows, labels = evaluation._as_rows(logits_nkhw, target_nhw)
    assert rows.shape == (40, 3)
    as_rows, as_pictures = (
        float(F.cross_entropy(*pair, ignore_index=255, reduction="sum"))
        for pair in ((rows, labels), (logits_nkhw, target_nhw))
    )
    assert as_rows == pytest.approx(as_pictures, rel=1e-12)
