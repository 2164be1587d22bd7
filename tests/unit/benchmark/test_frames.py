import io
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl.benchmark.frames import Frame, FrameError, Limits, pack, read_frame

LIMITS = Limits(head=1000, body=1000)
PLAIN = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none())


def read(content, limits=LIMITS):
    return read_frame(io.BytesIO(content).read, limits)


@given(head=PLAIN, body=st.binary(max_size=1000))
def test_a_message_comes_out_as_it_went_in(head, body):
    content = pack(Frame(head, body))
    limits = Limits(head=1 << 20, body=1000)
    assert read(content, limits) == (Frame(head, body), content)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not a message of automl: it begins with b'GET '"),
        (
            struct.pack(">4sIQ", b"AMB1", 1 << 31, 0),
            "head may have 1000 bytes here, got 2147483648",
        ),
        (struct.pack(">4sIQ", b"AMB1", 2, 1 << 63) + b"{}", "body may have 1000 bytes"),
        (struct.pack(">4sIQ", b"AMB1", 3, 0) + b"{a}", "not JSON"),
        (struct.pack(">4sIQ", b"AMB1", 2, 0) + b"\xff\xfe", "not JSON"),
        (struct.pack(">4sIQ", b"AMB1", 2, 0) + b"[]", "must be a JSON object, got list"),
    ],
)
def test_what_is_no_message_is_refused_before_it_is_read(content, told):
    with pytest.raises(FrameError) as caught:
        read(content)
    assert told in str(caught.value)


def test_json_that_is_nested_without_end_is_refused():
    head = b'{"a":' + b"[" * 900
    with pytest.raises(FrameError, match="not JSON"):
        read(struct.pack(">4sIQ", b"AMB1", len(head), 0) + head)
    assert json.loads(pack(Frame({"a": 1}))[16:]) == {"a": 1}
