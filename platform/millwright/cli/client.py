"""The public API, as the command line uses it: the same that everyone has."""

from __future__ import annotations

import json
import os
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from millwright.settings import Settings, get_settings

from .errors import ApiError, CliError

#: The token that `millwright up` leaves for whoever runs commands on this machine.
CLI_TOKEN = "cli.token"  # noqa: S105  # a file's name


def token_file(settings: Settings, user: str = "") -> Path:
    """Where a user's token is kept, mode 0600."""
    return settings.secrets_dir / (f"api-{user}.token" if user else CLI_TOKEN)


def login_file() -> Path:
    """Where `millwright login` keeps portal and token: mode 0600, below the person's configuration."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if base.startswith("/") else Path.home() / ".config"
    return folder / "millwright" / "login.json"


def read_login() -> dict[str, str] | None:
    """Portal and token that were kept, or None.

    Raises:
        CliError: the file cannot be understood, or others may read it.
    """
    path = login_file()
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    if mode & 0o077:
        raise CliError(f"{path}: others may read this token; `chmod 600 {path}`")
    try:
        data = json.loads(text)
        return {
            "url": str(data["url"]),
            "token": str(data["token"]),
            "ca": str(data.get("ca", "")),
        }
    except (ValueError, KeyError, TypeError):
        raise CliError(f"{path} is damaged; `millwright login` writes it anew") from None


class Api:
    """Calls with a token. Every POST carries an idempotency key: a repeated call changes nothing twice."""

    def __init__(self, url: str, token: str, *, timeout_s: float = 30.0, ca: str = "") -> None:
        """`ca`: PEM file of the authority that the portal's certificate must come from; else the system's.

        Raises:
            CliError: that file cannot be read, or holds no certificate.
        """
        self.url = url.rstrip("/")
        try:
            trust = ssl.create_default_context(cafile=ca) if ca else True
        except OSError as error:  # SSLError is one
            raise CliError(f"certificates in {ca!r} cannot be read: {error}") from None
        self._client = httpx.Client(
            base_url=f"{self.url}/api/v1/",
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_s,
            verify=trust,
            # A proxy must never see the token of a portal on loopback.
            trust_env=False,
        )

    @classmethod
    def from_settings(cls, user: str = "") -> Api:
        """The portal of `millwright login`, else this machine's installation with its token file.

        Raises:
            CliError: neither is there.
        """
        if not user and (signed_in := read_login()):
            return cls(signed_in["url"], signed_in["token"], ca=signed_in["ca"])
        settings = get_settings()
        path = token_file(settings, user)
        try:
            token = path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise CliError(
                f"no token at {path}; run `millwright up` first, or `millwright login URL`"
            ) from None
        return cls(settings.public_url, token)

    def close(self) -> None:
        self._client.close()

    def _call(self, method: str, path: str, **options: Any) -> Any:
        answer = self._answer(method, path, **options)
        return answer.json() if answer.content else None

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise CliError(
                f"the portal at {self.url} does not answer ({type(error).__name__}); `millwright status` says more"
            ) from None
        if answer.status_code >= 400:
            raise ApiError(answer.status_code, _words(answer))
        return answer

    def get(self, path: str, **query: Any) -> Any:
        return self._call("GET", path, params=query)

    def post(
        self, path: str, body: dict[str, Any] | None = None, *, timeout_s: float | None = None
    ) -> Any:
        """POST. A key of its own each: what is repeated on purpose is repeated by the caller."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        # What is known to take longer has a limit of its own.
        more: dict[str, Any] = {} if timeout_s is None else {"timeout": timeout_s}
        return self._call("POST", path, json=body or {}, headers=headers, **more)

    def put(self, path: str, body: dict[str, Any]) -> Any:
        return self._call("PUT", path, json=body)

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        return self._call("PATCH", path, json=body)

    def download(self, path: str, **query: Any) -> bytes:
        """A file as it is."""
        return bytes(self._answer("GET", path, params=query).content)

    def delete(self, path: str) -> None:
        self._call("DELETE", path)

    def rows(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """All rows of a list, page by page."""
        page = self.get(path, **query)
        while True:
            yield from page["results"]
            if not page.get("next"):
                return
            page = self._call("GET", self._here(page["next"]))

    def _here(self, url: str) -> str:
        """The portal names its pages by its public name: they are asked where this client reaches it, and the token
        goes nowhere else."""
        own = self._client.base_url
        return str(httpx.URL(url).copy_with(scheme=own.scheme, host=own.host, port=own.port))

    def first(self, path: str, **query: Any) -> dict[str, Any] | None:
        """The first row, or None."""
        return next(self.rows(path, **{"page_size": 1, **query}), None)

    def events(self, **query: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        """One stream of events until the portal ends it: (id, what happened).

        Raises:
            CliError: the portal does not answer, or refuses.
            ConnectionError: the stream broke; go on with `last_event_id`.
        """
        # A line comes at least every second: a stream that is silent for a minute is dead.
        limits = httpx.Timeout(30.0, read=60.0)
        try:
            with self._client.stream("GET", "events", params=query, timeout=limits) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise ApiError(answer.status_code, _words(answer))
                number = 0
                for line in answer.iter_lines():
                    field, _colon, value = line.partition(": ")
                    if field == "id":
                        number = int(value)
                    elif field == "data":
                        yield number, json.loads(value)
        except httpx.HTTPError as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from None


def _words(answer: httpx.Response) -> str:
    """What a problem document says, field by field."""
    try:
        body = answer.json()
    except ValueError:
        return f"HTTP {answer.status_code}"
    if not isinstance(body, dict):
        return f"HTTP {answer.status_code}"
    errors = body.get("errors") or []
    if errors:
        return "; ".join(f"{row['field']}: {row['message']}" for row in errors)
    return str(body.get("detail") or body.get("title") or f"HTTP {answer.status_code}")


def wait_for(
    look: Callable[[], Any],
    *,
    limit_s: float,
    what: str,
    every_s: float = 0.5,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Any:
    """Look until it gives something true.

    Raises:
        CliError: names what was waited for, and the limit.
    """
    end = clock() + limit_s
    while True:
        if found := look():
            return found
        if clock() >= end:
            raise CliError(f"{what}: not within {limit_s:g} s")
        sleep(every_s)
