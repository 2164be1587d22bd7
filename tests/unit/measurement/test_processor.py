import pytest

from automl.measurement.processor import cpu_model


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: A Processor\n\nprocessor\t: 1\n", "A Processor"),
        ("processor : 0\nHardware : A Chip\nModel : A Board\n", "A Board"),
    ],
)
def test_the_name_is_what_linux_tells(tmp_path, text, name):
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert cpu_model(file) == name


def test_there_is_a_name_where_linux_tells_none(tmp_path):
    assert cpu_model(tmp_path / "none")
