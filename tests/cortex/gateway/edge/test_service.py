"""What connections share: ids, the date, the sweep."""

from tests.fakes.edge_transport import EdgeBench


class Sleeper:
    """A connection that notes when it is woken."""

    busy = False

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self.woken: list[float] = []

    def expire(self, now: float) -> None:
        self.woken.append(now)
        self.deadline_s = now + 100

    def close_idle(self) -> None:
        """Not asked for here."""

    def abort(self) -> None:
        """Not asked for here."""


def test_only_what_is_due_expires_and_only_once() -> None:
    service = EdgeBench().service
    early, late = Sleeper(10.0), Sleeper(20.0)
    service.connections = {early, late}
    for now in (9.9, 10.0, 10.1):
        service.tick(now, 0.0)
    assert early.woken == [10.0]
    assert not late.woken


def test_the_date_follows_the_clock() -> None:
    service = EdgeBench().service
    service.tick(1.0, 0.9)
    assert service.date_line == b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    service.tick(1.0, 1.1)
    assert service.date_line == b"date: Thu, 01 Jan 1970 00:00:01 GMT\r\n"


def test_ids_differ() -> None:
    service = EdgeBench().service
    assert len({service.new_request_id() for _ in range(1000)}) == 1000
