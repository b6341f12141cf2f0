"""Which connection is a neuron's current one."""

from helexa.cortex.control_plane.links import Links
from helexa.protocol.ids import NeuronId
from tests.fakes.link import FakeLink, Silent

N1 = NeuronId("n1")


def test_numbers_are_never_used_twice() -> None:
    links = Links()
    first = links.add(FakeLink())
    links.drop(first)
    assert links.add(FakeLink()) != first


def test_streams_go_to_the_current_connection_of_that_process_only() -> None:
    links = Links()
    old, new = FakeLink(epoch=1), FakeLink(epoch=2)
    links.accept(links.add(old), N1)
    links.accept(links.add(new), N1)
    assert links.open_stream(N1, 1, b"", b"", Silent()) is None
    links.open_stream(N1, 2, b"", b"", Silent())
    assert (old.opened, new.opened) == (0, 1)


def test_the_end_of_an_old_connection_leaves_the_new_one_current() -> None:
    links = Links()
    old, new = links.add(FakeLink()), links.add(FakeLink())
    links.accept(old, N1)
    links.accept(new, N1)
    links.drop(old)
    assert links.connection_of(N1) == new
    links.drop(new)
    assert links.connection_of(N1) is None
    assert links.current() == []


def test_a_connection_that_has_ended_is_not_accepted() -> None:
    links = Links()
    number = links.add(FakeLink())
    links.drop(number)
    assert links.accept(number, N1) is None
    assert links.connection_of(N1) is None
