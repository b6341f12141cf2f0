"""Listening sockets, and accepting no faster than there is room."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from helexa.config.sockets import Socket
from helexa.cortex.gateway.edge.listening import (
    Gate,
    addresses_of,
    open_all,
    open_sockets,
    told_address,
)
from helexa.util.errors import ConfigError


class Room:
    """Counts what was taken, and says whether more fits."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken: list[socket.socket] = []
        self.peers: list[str] = []

    def take(self, client: socket.socket, peer: str) -> None:
        self.taken.append(client)
        self.peers.append(peer)

    def has_room(self) -> bool:
        return len(self.taken) < self.places


@contextmanager
def gate_for(room: Room) -> Iterator[tuple[Gate, socket.socket]]:
    [listener] = open_sockets("127.0.0.1", 0)
    listener.settimeout(0)
    gate = Gate([listener], room.take, room.has_room)
    try:
        yield gate, listener
    finally:
        gate.close()
        for client in room.taken:
            client.close()


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def test_addresses_are_told_as_they_are_typed() -> None:
    assert told_address(("127.0.0.1", 80)) == "127.0.0.1:80"
    assert told_address(("::1", 80, 0, 0)) == "[::1]:80"


def test_every_address_of_a_name_gets_the_same_port() -> None:
    sockets = open_sockets("localhost", 0)
    try:
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
    finally:
        for sock in sockets:
            sock.close()


def test_an_address_in_use_is_told_with_its_port() -> None:
    [first] = open_sockets("127.0.0.1", 0)
    port = first.getsockname()[1]
    try:
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}"):
            open_sockets("127.0.0.1", port)
    finally:
        first.close()


def test_a_shared_port_can_be_opened_twice() -> None:
    [first] = open_sockets("127.0.0.1", 0, shared_port=True)
    [second] = open_sockets("127.0.0.1", first.getsockname()[1], shared_port=True)
    assert first.getsockname() == second.getsockname()
    first.close()
    second.close()


async def test_a_full_server_leaves_clients_waiting_and_takes_them_when_there_is_room() -> None:
    room = Room(places=2)
    with gate_for(room) as (gate, listener):
        gate.open()
        clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        await until(lambda: not gate.accepting)
        assert len(room.taken) == 2
        gate.retry()
        assert not gate.accepting
        room.places = 5
        gate.open()
        await until(lambda: len(room.taken) == 3)
        assert room.peers == [told_address(client.getsockname()) for client in clients]
        for client in clients:
            client.close()


async def test_running_out_of_descriptors_pauses_accepting_instead_of_spinning() -> None:
    resource = pytest.importorskip("resource")
    room = Room(places=1000)
    with gate_for(room) as (gate, listener):
        client = socket.create_connection(listener.getsockname())
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        spare = socket.socket()
        lowest = spare.fileno()
        spare.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            gate.open()
            await until(lambda: not gate.accepting)
            gate.open()
            assert not gate.accepting
            assert not room.taken
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        gate.retry()
        await until(lambda: len(room.taken) == 1)
        client.close()


async def test_a_closed_gate_refuses_connections() -> None:
    room = Room(places=5)
    with gate_for(room) as (gate, listener):
        gate.open()
        address = listener.getsockname()
        assert gate.addresses == [told_address(address)]
        gate.close()
        assert not gate.accepting
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)


def test_all_wanted_sockets_are_bound_or_none() -> None:
    free = Socket("127.0.0.1", 0)
    with open_all({"gateway": free, "portal": None}) as bound:
        (address,) = addresses_of(bound).values()
        taken = Socket("127.0.0.1", int(address.rpartition(":")[2]))
        with pytest.raises(ConfigError) as caught, open_all({"a": free, "b": taken}):
            pass
    assert caught.value.__notes__ == [f"for [b] socket = {taken}"]
