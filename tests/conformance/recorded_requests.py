"""Requests as real clients send them, byte for byte but for keys and addresses."""

_CHAT = b'{"messages":[{"role":"user","content":"Hi"}],"model":"smollm2-135m","stream":true}'


def _post(path: bytes, lines: list[bytes], body: bytes) -> bytes:
    head = [b"POST %b HTTP/1.1" % path, *lines, b"Content-Length: %d" % len(body), b"", b""]
    return b"\r\n".join(head) + body


RECORDED: dict[str, bytes] = {
    "openai-python": _post(
        b"/v1/chat/completions",
        [
            b"Host: 127.0.0.1:8080", b"Accept-Encoding: gzip, deflate", b"Connection: keep-alive",
            b"Accept: application/json", b"Content-Type: application/json",
            b"User-Agent: OpenAI/Python 2.6.1", b"X-Stainless-Lang: python",
            b"X-Stainless-Package-Version: 2.6.1", b"X-Stainless-OS: Linux",
            b"X-Stainless-Arch: x64", b"X-Stainless-Runtime: CPython",
            b"X-Stainless-Runtime-Version: 3.11.7", b"Authorization: Bearer sk-1",
            b"X-Stainless-Async: false", b"x-stainless-retry-count: 0",
            b"x-stainless-read-timeout: 600",
        ],
        _CHAT,
    ),
    "openai-node": _post(
        b"/v1/chat/completions",
        [
            b"host: localhost:8080", b"connection: keep-alive", b"accept: application/json",
            b"authorization: Bearer sk-1", b"content-type: application/json",
            b"user-agent: OpenAI/JS 6.1.0", b"x-stainless-arch: x64", b"accept-language: *",
            b"sec-fetch-mode: cors", b"accept-encoding: gzip, deflate",
        ],
        _CHAT,
    ),
    "curl": _post(
        b"/v1/completions",
        [
            b"Host: [::1]:8080", b"User-Agent: curl/8.5.0", b"Accept: */*",
            b"Authorization: Bearer sk-1", b"Content-Type: application/json",
        ],
        '{"model":"m","prompt":"Grüße"}'.encode(),
    ),
    "curl GET": b"GET /v1/models?limit=1000 HTTP/1.1\r\nHost: a:1\r\nUser-Agent: curl/8.5.0\r\n"
    b"Accept: */*\r\n\r\n",
    "curl with h2c": b"GET /v1/models HTTP/1.1\r\nHost: a:1\r\nUser-Agent: curl/8.5.0\r\n"
    b"Accept: */*\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
    "claude code, HEAD": b"HEAD / HTTP/1.1\r\nhost: a:1\r\nconnection: keep-alive\r\n\r\n",
    "claude code": _post(
        b"/v1/messages?beta=true",
        [
            b"host: a:1", b"connection: keep-alive", b"Accept: application/json",
            b"X-Stainless-Retry-Count: 0", b"anthropic-beta: a,b,c", b"x-app: cli",
            b"anthropic-version: 2023-06-01", b"authorization: Bearer sk-1",
            b"content-type: application/json", b"accept-encoding: gzip, deflate, br, zstd",
        ],
        b'{"model":"m","max_tokens":1,"messages":[]}',
    ),
    "java": _post(
        b"/v1/embeddings",
        [
            b"Connection: Upgrade, HTTP2-Settings", b"Host: localhost:8080",
            b"HTTP2-Settings: AAEAAEAAAAIAAAAB", b"Upgrade: h2c",
            b"User-Agent: Java-http-client/21.0.1", b"Content-Type: application/json",
        ],
        b'{"model":"m","input":"cat"}',
    ),
    "node fetch of a stream": b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost:8080\r\n"
    b"connection: keep-alive\r\ncontent-type: application/json\r\naccept: */*\r\n"
    b"user-agent: node\r\ntransfer-encoding: chunked\r\n\r\n"
    b'11\r\n{"model":"m","a":\r\n4\r\n"\xc3\xa9"\r\n1\r\n}\r\n0\r\n\r\n',
    "go with a trailer": b"POST /v1/completions HTTP/1.1\r\nHost: a\r\n"
    b"User-Agent: Go-http-client/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n"
    b"Accept-Encoding: gzip\r\n\r\n2;x=y\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n",
    "a browser": b"OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: a:1\r\nConnection: keep-alive\r\n"
    b"Accept: */*\r\nAccess-Control-Request-Method: POST\r\n"
    b"Access-Control-Request-Headers: authorization,content-type\r\nOrigin: http://b\r\n"
    b"Sec-Fetch-Mode: cors\r\nReferer: http://b/\r\nAccept-Language: de-DE,de;q=0.9\r\n\r\n",
    "ab": b"GET /health HTTP/1.0\r\nHost: a\r\nUser-Agent: ApacheBench/2.3\r\nAccept: */*\r\n\r\n",
    "prometheus": b"GET /metrics HTTP/1.1\r\nHost: a:1\r\nUser-Agent: Prometheus/3.0\r\n"
    b"Accept: text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\nAccept-Encoding: gzip\r\n"
    b"X-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n",
    "through a proxy": _post(
        b"/v1/chat/completions",
        [
            b"Host: a.example", b"X-Forwarded-For: 10.0.0.1", b"X-Forwarded-For: 10.0.0.2",
            b"Via: 1.1 b", b"Forwarded: for=10.0.0.1", b"X-Request-Id: 0af7651916cd43dd",
            b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"Content-Type: application/json",
        ],
        _CHAT,
    ),
    "an escaped path": b"GET /v1/models/org%2Fname:q4 HTTP/1.1\r\nHost: a\r\n\r\n",
}  # fmt: skip
