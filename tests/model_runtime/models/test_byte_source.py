from helexa.model_runtime.models.byte_source import Buffer


def test_a_buffer_gives_what_it_has_and_no_more() -> None:
    buffer = Buffer(b"0123456789")
    assert buffer.size_bytes == 10
    assert buffer.read_at(8, 5) == b"89"
    assert buffer.read_at(20, 5) == b""
