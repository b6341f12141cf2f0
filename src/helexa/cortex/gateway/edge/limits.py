"""What one client may take: sizes in bytes, times in seconds. Every limit has a test."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one edge server. Times are checked by a sweep, so they are late by up to 0.25 s."""

    header_timeout_s: float = 10.0
    """From the first byte of a head (or from the connection's start) to its last."""
    body_window_s: float = 10.0
    """A body that is still arriving is judged once per window …"""
    body_bytes_per_s_min: int = 1024
    """… and must have averaged this much in it."""
    idle_timeout_s: float = 75.0
    """How long a kept-alive connection may wait for its next request."""
    write_stall_s: float = 60.0
    """A client that takes none of what is sent to it for this long is cut."""
    linger_s: float = 5.0
    """After a refusal the rest of the request is read and dropped, so that the client gets to read
    the answer: at most this long …"""
    linger_bytes_max: int = 32 * 1024 * 1024
    """… and at most this much."""
    request_line_bytes_max: int = 8 * 1024
    head_bytes_max: int = 64 * 1024
    """Request line and all headers together."""
    headers_max: int = 100
    body_bytes_max: int = 32 * 1024 * 1024
    bodies_bytes_max: int = 512 * 1024 * 1024
    """Bodies in memory, of all requests together …"""
    body_bytes_free: int = 64 * 1024
    """… but for so much of each: who sends little is not turned away for those who send much."""
    trailer_bytes_max: int = 8 * 1024
    chunk_line_bytes_max: int = 256
    """A chunk's size with its extensions."""
    chunk_extension_bytes_max: int = 16 * 1024
    """Extensions of all chunks of one body."""
    pipelined_bytes_max: int = 64 * 1024
    """What is held of later requests while one is being answered; past it nothing more is read
    until the answer is out. One read of the event loop may go past it once."""
    send_buffer_bytes: int = 64 * 1024
    """Of the socket (SO_SNDBUF) and, again, of the transport above it (its high-water mark)."""
    connections_max: int = 10_000
    """Past it no connection is accepted until one ends; they wait in the kernel's queue."""
    file_descriptors_spare: int = 64
    """Kept free of clients' connections, below the process's own limit."""
    sweep_s: float = 0.25
