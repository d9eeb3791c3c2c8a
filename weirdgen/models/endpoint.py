"""What generating and judging share of an OpenAI-compatible endpoint: its address, its key, its words."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from openai import APIStatusError, Timeout

from weirdgen.errors import StepError

OPENAI_URL = "https://api.openai.com/v1"
REFUSALS = (400, 422)
"""How endpoints answer a parameter that they do not take."""
_NO_KEY = "none"
_CONNECT_S = 10


class Address(NamedTuple):
    """An endpoint, and the environment variable from which each call reads its key."""

    base_url: str
    key_variable: str
    timeout_s: float
    """The longest silence in one try."""

    def options(self) -> dict[str, Any]:
        """What the client is made with. Raises StepError for a key that no header can hold."""
        timeout = Timeout(self.timeout_s, connect=min(self.timeout_s, _CONNECT_S))
        return {"base_url": self.base_url, "api_key": self._key(), "timeout": timeout}

    def error(self, model: str, problem: str) -> StepError:
        """One line that names host and model, and never the key."""
        host = urlsplit(self.base_url).netloc.rpartition("@")[2]
        return StepError(self.masked(f"endpoint {host}, model {model}: {problem}"))

    def masked(self, text: str) -> str:
        """`text` on one line that every file can hold, without the key where it stands in it."""
        line, key = " ".join(text.encode(errors="replace").decode().split()), self._key()
        return line if key == _NO_KEY else line.replace(key, "***")

    def said(self, error: APIStatusError) -> str:
        """The endpoint's own words, cut, without the key."""
        body = error.body
        words = body.get("message") if isinstance(body, dict) else None
        return self.masked(str(words or body or "no reason given"))[:300]

    def about_key(self) -> str:
        """Where the key comes from, and whether one is there."""
        found = "is set" if os.environ.get(self.key_variable) else "is not set"
        return f"the key is read from {self.key_variable}, which {found}"

    def _key(self) -> str:
        key = os.environ.get(self.key_variable, "").strip() or _NO_KEY
        if not (key.isascii() and key.isprintable()):
            # The HTTP library would quote the whole header in its complaint.
            raise StepError(f"{self.key_variable}: holds characters that no key can have")
        return key


def refuses(error: APIStatusError, parameter: str) -> bool:
    """Whether the endpoint does not take `parameter`."""
    return error.status_code in REFUSALS and names(error, parameter)


def names(error: APIStatusError, parameter: str) -> bool:
    """Whether the endpoint's complaint speaks of `parameter`."""
    return re.search(rf"\b{parameter}\b", str(error.param or error.body)) is not None
