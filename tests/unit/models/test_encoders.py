import pytest

from automl.errors import UsageError
from automl.models.encoders import check_encoder_name, describe_encoder, nearest_encoders


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("mobilnetv3_small_100", "mobilenetv3_small_100"),
        ("ResNet50", "resnet50"),
        ("efficientnet-lite0", "efficientnet_lite0"),
        ("convnext_ato", "convnext_atto"),
    ],
)
def test_the_nearest_name_comes_first(typed, meant):
    assert nearest_encoders(typed)[0] == meant


def test_an_incomplete_name_is_completed():
    assert all(name.startswith("mobilenetv3") for name in nearest_encoders("mobilenet_v3"))
    assert len(nearest_encoders("mobilenet_v3")) == 3


@pytest.mark.parametrize("typed", ["", "--", "qqqqqqqqqqqq"])
def test_nothing_is_near_to_nonsense(typed):
    assert nearest_encoders(typed) == []
    with pytest.raises(UsageError, match=r"see timm.list_models\(\)"):
        check_encoder_name(typed)


def test_a_tag_may_follow_the_name():
    check_encoder_name("resnet18.a1_in1k")


@pytest.mark.parametrize(
    ("name", "output_stride", "strides"),
    [
        ("resnet18", 32, (2, 4, 8, 16, 32)),
        ("resnet18", 16, (2, 4, 8, 16, 16)),
        ("convnext_atto", 32, (4, 8, 16, 32)),
        ("vgg11_bn", 32, (1, 2, 4, 8, 16, 32)),
    ],
)
def test_strides_are_found_out(name, output_stride, strides):
    description = describe_encoder(name, output_stride, (64, 96))
    assert description.strides == strides
    assert len(description.channels) == len(description.indices) == len(strides)
    assert not description.channels_last


def test_the_place_of_a_stride_is_that_of_its_last_map():
    description = describe_encoder("resnet18", 16, (64, 96))
    assert description.position(16) == 4
    assert description.position(4) == 1
    assert description.position(32) is None


def test_maps_with_channels_last_are_recognised():
    assert describe_encoder("mambaout_femto", 32, (64, 96)).channels_last


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mobilevitv2_050", (192, 256)),
        ("swin_tiny_patch4_window7_224", (128, 96)),
        ("maxvit_tiny_rw_224", (96, 128)),
        ("gcvit_xxtiny", (96, 128)),
        ("efficientformerv2_s0", (64, 96)),
    ],
)
def test_encoders_made_for_one_size_are_made_for_ours(name, size):
    description = describe_encoder(name, 32, size)
    assert [description.position(stride) is None for stride in (4, 8, 16, 32)] == [False] * 4


def test_maps_that_do_not_divide_the_size_are_told_with_it():
    with pytest.raises(UsageError, match=r"no feature maps of 64x96 images .height x width.*gave"):
        describe_encoder("mobilevitv2_050", 32, (64, 96))
