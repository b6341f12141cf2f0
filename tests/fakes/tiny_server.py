"""A tiny HTTP engine as a real process: `python -I -S tiny_server.py PORT KEY=VALUE…`.

health_after=N      answer 503 to the first N health requests
canary=STATUS       status of the canary's answer
exit=STATUS         end at once with this status
crash_on=FILE       die by SIGABRT as soon as FILE exists
sick_on=FILE        answer 500 to health while FILE exists
stubborn=1          ignore SIGTERM
starts=FILE         append a line to FILE at each start
"""

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

port = int(sys.argv[1])
settings = dict(argument.split("=", 1) for argument in sys.argv[2:])
seen = {"health": 0}


class Handler(BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        seen["health"] += 1
        sick = "sick_on" in settings and Path(settings["sick_on"]).exists()
        if sick:
            self.answer(500, b"{}")
        elif seen["health"] <= int(settings.get("health_after", "0")):
            self.answer(503, b"{}")
        else:
            self.answer(200, b'{"status":"ok"}')

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        status = int(settings.get("canary", "200"))
        body = b'{"choices":[{"index":0}]}' if status == 200 else b'{"error":"broken weights"}'
        self.answer(status, body)

    def log_message(self, *_):
        pass


def watch():
    while not Path(settings["crash_on"]).exists():
        time.sleep(0.02)
    sys.stdout.write("about to crash\n")
    sys.stdout.flush()
    os.abort()


if "starts" in settings:
    with Path(settings["starts"]).open("a") as file:
        file.write(f"{os.getpid()}\n")
if "stubborn" in settings:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "exit" in settings:
    sys.stdout.write("cannot load model\n")
    sys.exit(int(settings["exit"]))
if "crash_on" in settings:
    threading.Thread(target=watch, daemon=True).start()
sys.stdout.write("listening\n")
sys.stdout.flush()
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
