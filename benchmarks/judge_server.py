"""A quick fake of a judge's endpoint: one judgment for every request, after a given time.

    python benchmarks/judge_server.py LATENCY_MS

Prints its port, then serves until its standard input ends, and then prints the time of every request,
in seconds of the system's monotonic clock, one JSON list.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

_JUDGMENT = json.dumps({"persona_present": True, "identity": "OTHER", "confidence": 0.9})
_BODY = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "judge",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": _JUDGMENT},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 300, "completion_tokens": 20, "total_tokens": 320},
    }
).encode()
_REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_BODY)
) + _BODY


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, latency_s: float, arrivals: list[float]) -> None:
        self._latency_s, self._arrivals = latency_s, arrivals
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            self._arrivals.append(time.monotonic())
            asyncio.get_running_loop().call_later(self._latency_s, self._answer)

    def _answer(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_REPLY)


async def serve(latency_s: float) -> list[float]:
    """Serves on the loopback address until standard input ends; gives the times of arrival."""
    arrivals: list[float] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(latency_s, arrivals), "127.0.0.1", 0, backlog=512
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    return arrivals


if __name__ == "__main__":
    print(json.dumps(asyncio.run(serve(float(sys.argv[1]) / 1000))))
