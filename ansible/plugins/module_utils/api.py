# Copyright: the Millwright developers
# SPDX-License-Identifier: Apache-2.0
"""The portal's API for modules and the inventory: the standard library and Ansible's own only."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit

from ansible.module_utils.urls import open_url

#: What every module takes to reach the portal.
ARGUMENTS = {
    "url": {"type": "str", "required": True},
    "token": {"type": "str", "no_log": True},
    "token_file": {"type": "path", "no_log": False},
    "ca_path": {"type": "path"},
    "timeout_s": {"type": "int", "default": 30},
}


class ApiError(Exception):
    """The portal refuses or does not answer; the text has its words. `status` is 0 without an answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def read_token(token: str | None, token_file: str | None) -> str:
    """The token itself.

    Raises:
        ApiError: none is given, or the file cannot be read.
    """
    if token:
        return token
    if not token_file:
        raise ApiError(0, "token and token_file are both missing: one of them is needed")
    try:
        return Path(token_file).expanduser().read_text(encoding="ascii").strip()
    except OSError as error:
        raise ApiError(0, f"token_file = {token_file!r}: {error.strerror}") from None


class Api:
    """Calls with a token; POST carries a key made of its content, so that a repeated call changes nothing twice."""

    def __init__(
        self, url: str, token: str, ca_path: str | None = None, timeout_s: int = 30
    ) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._ca_path = ca_path
        self._timeout_s = timeout_s

    @classmethod
    def of(cls, params: dict[str, Any]) -> Api:
        """From a module's parameters."""
        token = read_token(params["token"], params["token_file"])
        return cls(params["url"], token, params["ca_path"], params["timeout_s"])

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, key: str = ""
    ) -> Any:
        """One call; the answer as data, None if it is empty.

        Raises:
            ApiError: refused, or no answer.
        """
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        if key:
            headers["Idempotency-Key"] = hashlib.sha256(key.encode()).hexdigest()
        try:
            answer = open_url(
                f"{self.url}/api/v1/{path}",
                data=data,
                headers=headers,
                method=method,
                timeout=self._timeout_s,
                ca_path=self._ca_path,
                # The plant's own portal: a proxy must never see its token.
                use_proxy=False,
                follow_redirects="none",
            )
            text = answer.read()
        except HTTPError as error:
            raise ApiError(error.code, _words(error.read(), error.code)) from None
        except Exception as error:
            raise ApiError(0, f"the portal at {self.url} does not answer: {error}") from None
        return json.loads(text) if text else None

    def get(self, path: str, **query: str) -> Any:
        """GET one thing; None if it does not exist."""
        try:
            return self.call("GET", f"{path}?{urlencode(query)}" if query else path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def post(self, path: str, body: dict[str, Any] | None = None, key: str = "") -> Any:
        """POST."""
        return self.call("POST", path, body or {}, key)

    def rows(self, path: str, **query: str) -> list[dict[str, Any]]:
        """All rows of a list, page by page."""
        found: list[dict[str, Any]] = []
        page = self.call("GET", f"{path}?{urlencode(query)}" if query else path)
        while True:
            found += page["results"]
            if not page.get("next"):
                return found
            # Named by the portal's public name; asked where it was reached, and the token goes nowhere else.
            page = self.call("GET", f"{path}?{urlsplit(page['next']).query}")


def segment(text: str) -> str:
    """A name as one part of a path."""
    return quote(text, safe="")


def _words(raw: bytes, status: int) -> str:
    try:
        body = json.loads(raw)
    except ValueError:
        return f"HTTP {status}"
    if not isinstance(body, dict):
        return f"HTTP {status}"
    rows = body.get("errors") or []
    if rows:
        return "; ".join(f"{row['field']}: {row['message']}" for row in rows)
    return str(body.get("detail") or body.get("title") or f"HTTP {status}")
