"""A cortex's end of the control socket, on loopback: it says only what a test tells it to."""

import asyncio

import msgspec
import picows
from picows import WSListener, WSMsgType, WSUpgradeResponse, WSUpgradeResponseWithListener

from helexa.protocol.control import NeuronMessage, Welcome
from helexa.protocol.tunnel import Tunnel
from tests.fakes.exchange_log import until

_decode = msgspec.json.Decoder(NeuronMessage).decode


class Session(WSListener):
    """One connection of a neuron."""

    def __init__(self, server, request):
        self.server = server
        self.path = request.path.decode()
        self.headers = dict(request.headers)
        self.messages = []
        self.pings = 0
        self.close_code = None
        self.lost = False
        self.transport = None
        self.tunnel = Tunnel(accept=None, wake=self._wake, fault=server.faults.append)

    def on_ws_connected(self, transport):
        self.transport = transport
        self.server.sessions.append(self)

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.TEXT:
            message = _decode(frame.get_payload_as_bytes())
            self.messages.append(message)
            self.server.on_message(self, message)
        elif frame.msg_type == WSMsgType.BINARY:
            self.tunnel.receive(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.PING:
            self.pings += 1
            if self.server.answers_pings:
                transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            self.close_code = int(frame.get_close_code())
            transport.send_close(1000)
            transport.disconnect()

    def on_ws_disconnected(self, transport):
        self.lost = True
        if not self.tunnel.closed:
            self.tunnel.close(b'{"code":"lost"}')

    def _wake(self):
        asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self):
        while message := self.tunnel.take():
            self.transport.send(WSMsgType.BINARY, message)

    def say(self, message):
        self.text(message if isinstance(message, bytes) else msgspec.json.encode(message))

    def text(self, data):
        self.transport.send(WSMsgType.TEXT, data)

    def binary(self, data):
        self.transport.send(WSMsgType.BINARY, data)

    def of(self, kind):
        return [message for message in self.messages if isinstance(message, kind)]

    def close(self, code=1000, reason=b""):
        self.transport.send_close(code, reason)
        self.transport.disconnect()


class CortexServer:
    """Accepts neurons; `welcomes` False leaves them unwelcome, `status` refuses the handshake."""

    def __init__(
        self, *, welcomes=True, heartbeat_interval_s=0.05, status=None, answers_pings=True,
        version=1,
    ):  # fmt: skip
        self.version = version
        self.welcomes = welcomes
        self.heartbeat_interval_s = heartbeat_interval_s
        self.status = status
        self.answers_pings = answers_pings
        self.sessions = []
        self.handshakes = []
        self.faults = []
        self.port = 0
        self._server = None

    async def __aenter__(self):
        await self.start()
        return self

    async def start(self):
        self._server = await picows.ws_create_server(
            self._listener, "127.0.0.1", self.port, enable_auto_pong=False, reuse_port=False
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        """The process is gone: nobody listens, and every connection is cut."""
        self._server.close()
        for session in self.sessions:
            session.transport.disconnect(graceful=False)
        await until(lambda: all(s.lost for s in self.sessions), "the sessions to end")

    async def __aexit__(self, *_exc):
        await self.stop()
        assert self.faults == []

    @property
    def endpoint(self):
        return f"ws://127.0.0.1:{self.port}"

    def on_message(self, session, message):
        if self.welcomes and len(session.messages) == 1:
            session.say(
                Welcome(
                    version=self.version,
                    cortex_id="c1",
                    heartbeat_interval_s=self.heartbeat_interval_s,
                )
            )

    def _listener(self, request):
        self.handshakes.append(dict(request.headers))
        if self.status is not None:
            response = WSUpgradeResponse.create_error_response(self.status, b"no")
            return WSUpgradeResponseWithListener(response, None)
        return Session(self, request)

    async def session(self, number=1):
        await until(lambda: len(self.sessions) >= number, f"connection {number}")
        return self.sessions[number - 1]

    async def welcomed(self, number=1):
        session = await self.session(number)
        await until(lambda: len(session.messages) > 1, "a heartbeat")
        return session
