"""Coverage-guided fuzzing of the tunnel with atheris, for `make soak`; not part of the test run.

    python tests/soak/fuzz_tunnel.py [corpus folder] [-max_total_time=600]

The first byte chooses between two games. *Hostile*: the rest is what a peer sends, in pieces; the
only thing that may come out is `TunnelError`. *Honest*: the rest is a script for two ends and the
wire between them; every byte must arrive once, in order, and no window be exceeded.
"""

import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[2])]

with atheris.instrument_imports(include=["helexa.protocol"]):
    from helexa.protocol import tunnel_frames as frames
    from helexa.protocol.tunnel import Stream, Tunnel, TunnelError

STREAMS = 8


def fail(error: Exception) -> None:
    """A handler of ours must never fail."""
    raise AssertionError("a handler failed") from error


class Ear(frames.StreamHandler):
    """Takes what a stream brings, and gives credit back when told to."""

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.data = bytearray()
        self.held = 0
        self.over = False

    def on_head(self, _payload: bytes) -> None:
        assert not self.over

    def on_data(self, data: bytes) -> None:
        assert not self.over
        self.data += data
        self.held += len(data)
        assert self.held <= frames.WINDOW_BYTES

    def on_end(self, _payload: bytes) -> None:
        """The other side is done."""

    def on_reset(self, _payload: bytes) -> None:
        self.over = True

    def on_writable(self) -> None:
        """There is room again."""

    def take(self) -> None:
        if self.stream is not None and self.held:
            count, self.held = self.held, 0
            self.stream.consumed(count)


def hostile(data: bytes) -> None:
    """Give one end whatever bytes there are, as messages of the lengths they say."""
    ears: list[Ear] = []

    def accept(stream: Stream, _head: bytes) -> Ear:
        ears.append(Ear())
        ears[-1].stream = stream
        return ears[-1]

    accepting = bool(data[:1] and data[0] & 1)
    end = Tunnel(accept=accept if accepting else None, wake=lambda: None, fault=fail)
    if not accepting:
        for _ in range(STREAMS):
            ear = Ear()
            ear.stream = end.open(b"{}", b"body", ear)
    at = 1
    try:
        while at < len(data):
            size = data[at] + 1
            end.receive(data[at + 1 : at + 1 + size])
            at += 1 + size
            for ear in ears:
                ear.take()
            while end.take():
                pass
    except TunnelError:
        end.close(b"{}")
        assert len(end) == 0


class Wire:
    """Two honest ends; each message waits until the script delivers it."""

    def __init__(self) -> None:
        self.accepted: dict[int, Ear] = {}
        self.opened: dict[int, Ear] = {}
        self.sent_up: dict[int, bytearray] = {}
        self.sent_down: dict[int, bytearray] = {}
        self.cortex = Tunnel(accept=None, wake=lambda: None, fault=fail)
        self.neuron = Tunnel(accept=self._accept, wake=lambda: None, fault=fail)
        self.neuron.answers = True

    def _accept(self, stream: Stream, _head: bytes) -> Ear:
        ear = self.accepted[stream.id] = Ear()
        ear.stream = stream
        self.sent_down[stream.id] = bytearray()
        return ear

    def step(self, action: int, which: int, size: int) -> None:
        body = bytes((size + index) % 251 for index in range(min(size, 64))) * (1 + size * 16)
        if action == 0 and len(self.opened) < STREAMS:
            ear = Ear()
            ear.stream = stream = self.cortex.open(b"{}", body, ear)
            self.opened[stream.id] = ear
            self.sent_up[stream.id] = bytearray(body)
        elif action == 1 and which in self.accepted:
            stream_ = self.accepted[which].stream
            assert stream_ is not None
            if not stream_.over and not stream_.congested:
                stream_.send_data(body)
                self.sent_down[which] += body
        elif action == 2 and which in self.accepted:
            self.accepted[which].take()
        elif action == 3 and which in self.opened:
            self.opened[which].take()
        elif action == 6 and which in self.accepted:
            stream_ = self.accepted[which].stream
            assert stream_ is not None
            if not stream_.over and not self.sent_down[which]:
                stream_.send_answer(b"{}", body, b"{}")
                self.sent_down[which] += body
        elif action == 4:
            self.carry(self.cortex, self.neuron, size)
        elif action == 5:
            self.carry(self.neuron, self.cortex, size)

    def carry(self, source: Tunnel, target: Tunnel, limit: int) -> int:
        message = source.take(1 + limit * 64)
        if message:
            target.receive(message)
        return len(message)

    def settle(self) -> None:
        """Let everything arrive, and compare."""
        for _ in range(100_000):
            for ear in (*self.opened.values(), *self.accepted.values()):
                ear.take()
            moved = self.carry(self.cortex, self.neuron, 1000)
            if not moved + self.carry(self.neuron, self.cortex, 1000):
                break
        else:
            raise AssertionError("the ends never come to rest")
        assert set(self.opened) == set(self.accepted)
        for number, ear in self.accepted.items():
            assert ear.data == self.sent_up[number]
        for number, ear in self.opened.items():
            assert ear.data == self.sent_down[number]


def honest(data: bytes) -> None:
    """Play a script of three-byte steps."""
    wire = Wire()
    for at in range(1, len(data) - 2, 3):
        wire.step(data[at] % 7, 1 + data[at + 1] % STREAMS, data[at + 2])
    wire.settle()


def one_input(data: bytes) -> None:
    """Check one input of the fuzzer."""
    if data[:1] and data[0] & 2:
        honest(data)
    else:
        hostile(data)


def main() -> None:
    """Run until a finding, or for as long as libFuzzer's own options say."""
    for word in sys.argv[1:]:
        if not word.startswith("-"):
            Path(word).mkdir(parents=True, exist_ok=True)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
