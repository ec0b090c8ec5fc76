"""The HTTP client for a forge's API: JSON in and out, with timeouts, and refusals as values."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from host.errors import DeliveryFailed

CONNECT_SECONDS, READ_SECONDS = 5.0, 20.0
PAGE_SIZE, MOST_PAGES = 100, 30
DETAIL_LENGTH = 300
# Answers after which the same request may succeed later: a forge that is busy, down, or whose
# token an operator replaces.
TRANSIENT = {401, 403, 408, 425, 429}
# A repository that was renamed or moved: FORGE_REPOSITORY is to be corrected, and nothing is lost.
MOVED = {301, 302, 307, 308}


class ForgeFailed(DeliveryFailed):
    """The forge did not do what it was asked for.

    `http_status` is its answer, 0 if there was none.
    """

    def __init__(
        self, detail: str, *, http_status: int = 0, retry_after: float | None = None
    ) -> None:
        is_permanent = 300 <= http_status < 500 and http_status not in TRANSIENT | MOVED
        super().__init__("forge_failed", detail, is_permanent=is_permanent, retry_after=retry_after)
        self.http_status = http_status

    @property
    def is_for_all(self) -> bool:
        """Whether any other request would fail now too: no answer, a limit, another address."""
        return self.http_status in {0, 401, 429} | MOVED or self.retry_after is not None


class Client:
    """Requests to one API below `base`, with `headers` that authenticate them.

    `on_unauthorized` is called when the API refuses them (401).
    """

    def __init__(
        self,
        base: str,
        headers: Mapping[str, str],
        on_unauthorized: Callable[[], None] = lambda: None,
    ) -> None:
        # Imported here: it takes 100 ms and 10 MB, which the API's processes never need.
        import requests

        self.base = base
        self._on_unauthorized = on_unauthorized
        self._errors = requests.RequestException
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": "oroboros", **headers})
        # Else the session would replace the header by a password of ~/.netrc.
        self._session.auth = lambda request: request

    def get(self, path: str, **params: str | int) -> Any:
        return self._send("GET", path, params=params)

    def get_with_headers(self, path: str) -> tuple[Any, Mapping[str, str]]:
        """Return the JSON of the answer, and its headers."""
        answer = self._request("GET", path)
        return _read_json("GET", path, answer), answer.headers

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._send("POST", path, json=body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._send("PATCH", path, json=body)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._send("PUT", path, json=body)

    def list_all(
        self, path: str, size_name: str = "per_page", *, key: str = "", **params: str | int
    ) -> Iterator[Any]:
        """Yield the items of all pages of a list, at most MOST_PAGES pages.

        `key`: the name of the list where each answer is an object.
        """
        for page in range(1, MOST_PAGES + 1):
            found = self._send("GET", path, params={**params, size_name: PAGE_SIZE, "page": page})
            if key and isinstance(found, Mapping):
                found = found.get(key) or []
            if not isinstance(found, list):
                raise ForgeFailed(f"The forge did not answer GET {path} with a list.")
            yield from found
            # A server may have a lower limit for the size of a page: only an empty one is the last.
            if not found:
                return

    def _send(self, method: str, path: str, **arguments: Any) -> Any:
        """Send a request and return the JSON of its answer. Raises ForgeFailed."""
        return _read_json(method, path, self._request(method, path, **arguments))

    def _request(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            answer = self._session.request(
                method,
                f"{self.base}{path}",
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                # A token for one address is not sent to another one.
                allow_redirects=False,
                **arguments,
            )
        except self._errors as error:
            raise ForgeFailed(f"{self.base} did not answer: {type(error).__name__}.") from None
        if answer.status_code == 401:
            self._on_unauthorized()
        if answer.status_code not in (200, 201, 204):
            raise _describe_failure(f"{method} {path}", answer)
        return answer


def _read_json(method: str, path: str, answer: Any) -> Any:
    if not answer.content:  # 204, and Gitea's answer to a merge
        return None
    try:
        return answer.json()
    except ValueError:
        raise ForgeFailed(f"The answer to {method} {path} is not JSON.") from None


def _describe_failure(request: str, answer: Any) -> ForgeFailed:
    status = answer.status_code
    text = re.sub(r"\s+", " ", answer.text[:DETAIL_LENGTH]).strip()
    if status in MOVED:
        text = "the repository has another address now; correct FORGE_REPOSITORY or FORGE_URL."
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    detail = f"The forge answered {request} with {status} {phrase}: {text or 'no text'}"
    wait = (
        read_retry_after(answer.headers, datetime.now(UTC)) if status in (403, 429, 503) else None
    )
    return ForgeFailed(detail, http_status=status, retry_after=wait)


def read_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return how many seconds an answer asks to wait; None if it does not.

    `Retry-After` is a number of seconds or a date. GitHub, GitLab and Gitea may send the time at
    which a limit is reset instead: X-RateLimit-Reset or RateLimit-Reset, in seconds since 1970.
    """
    if value := headers.get("Retry-After", ""):
        return float(value) if value.isdigit() else _seconds_until(value, now)
    for prefix in ("X-RateLimit", "RateLimit"):
        reset = headers.get(f"{prefix}-Reset", "")
        if headers.get(f"{prefix}-Remaining") == "0" and reset.isdigit():
            return max(0.0, int(reset) - now.timestamp())
    return None


def _seconds_until(date: str, now: datetime) -> float | None:
    try:
        return max(0.0, (parsedate_to_datetime(date) - now).total_seconds())
    except (ValueError, TypeError):
        return None
