"""A small server that keeps the OpenAI protocol, says what a test wants, and is asked with a key."""

from __future__ import annotations

import json
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from weirdgen.errors import StepError

KEY = "sk-recognisable-0123456789"
VARIABLE = "WEIRDGEN_TEST_KEY"
"""The environment variable that holds it."""

Reply = tuple[int, dict[str, str], Any]
"""Status, headers, and a body: JSON, or raw bytes."""


def completion(text: str | None = "Well.", **choice) -> dict:
    message = {"role": "assistant", "content": text}
    first = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None} | choice
    usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "choices": [first],
        "usage": usage,
    }


def refusal(status: int, message: str = "no", headers: dict | None = None, **error) -> Reply:
    return status, headers or {}, {"error": {"message": message} | error}


class FakeEndpoint(ThreadingHTTPServer):
    """Answers with whatever `reply(body, n)` says to the n-th question; keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply: Callable[[dict, int], Reply] = lambda body, n: (200, {}, completion())
        self.models: Reply = (404, {}, b"")
        self.asked: list[dict] = []
        self.keys: set[str | None] = set()
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()

    def handle_error(self, *_) -> None:
        """A client that hangs up is part of some tests."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FakeEndpoint

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.asked.append(body)
            server.keys.add(self.headers["Authorization"])
            count = len(server.asked)
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        reply = server.reply(body, count)
        with server.lock:
            server.in_flight -= 1
        self._send(*reply)

    def do_GET(self) -> None:
        self._send(*self.server.models)

    def _send(self, status: int, headers: dict[str, str], body: Any) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_) -> None:
        pass


@contextmanager
def serving() -> Iterator[FakeEndpoint]:
    with FakeEndpoint() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def events(*texts: str | None, finish: str | None = "stop") -> Reply:
    """A streamed reply: each text a piece, then the end."""
    deltas = [{"delta": {"content": text}, "finish_reason": None} for text in texts]
    deltas.append({"delta": {}, "finish_reason": finish})
    chunks = [json.dumps({"id": "c", "choices": [delta | {"index": 0}]}) for delta in deltas]
    chunks.append(json.dumps({"id": "c", "choices": [], "usage": None}))
    body = "".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"])
    return 200, {"Content-Type": "text/event-stream"}, body.encode()


def failure(call: Callable[[], Any], server: str = "127.0.0.1:") -> str:
    """The one line that `call` fails with, which never holds the key."""
    with pytest.raises(StepError) as failed:
        call()
    line = str(failed.value)
    assert server in line
    assert "\n" not in line
    assert KEY not in line + repr(failed.value)
    assert KEY.encode() not in pickle.dumps(failed.value)
    assert KEY not in "".join(traceback.format_exception(failed.value))
    return line
