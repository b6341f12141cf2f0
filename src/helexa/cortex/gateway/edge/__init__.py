"""An HTTP/1.1 server protocol: bytes to requests, answers to bytes. Knows nothing of inference.

`server.EdgeServer` listens, `connection.Connection` is one client, `exchange.Exchange` is one
request with its one answer. Everything else here is pure: `grammar`, `head`, `body`, `response`.

The way of a request: `Connection.data_received` finds the end of a head, `HeadReader` checks and
splits it, `admit` may refuse it before its body is read, the body is counted off, and `handler`
gets the whole exchange in a plain call. No task is started and nothing is awaited on that way.
"""
