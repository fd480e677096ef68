"""One client's connections to a service: keys, errors and trying again."""

from __future__ import annotations

import time
from typing import Any

from proxyhash.errors import ProxyhashError, UsageError, require_extra

__all__ = ["Connection"]

_LONGEST_WAIT = 30.0


class Connection:
    """Sends requests and turns answers into values or errors of this package.

    Args:
        url: of the service.
        key: sent with every request, or None.
        timeout: seconds that an answer may take.
        retries: how often a request is sent again after a 503.
    """

    def __init__(self, url: str, *, key: str | None, timeout: float, retries: int) -> None:
        httpx = require_extra("httpx", extra="serve", purpose="the client of a service")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.url = url.rstrip("/")
        self._retries = retries
        self._failures = (httpx.HTTPError, httpx.InvalidURL)
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout)

    def send(self, method: str, path: str, **body: Any) -> Any:
        """Return the decoded answer to a request.

        Raises:
            UsageError: the service refuses it, with the service's sentence.
            ProxyhashError: the service cannot be reached, has no room or failed.
        """
        answer = self.request(method, path, **body)
        if answer.status_code < 300:
            return answer.json()
        try:
            error = answer.json()["error"]
            message = f"{error['message']} (request {error['request_id']})"
        except (ValueError, KeyError, TypeError):
            message = f"the answer is {answer.status_code}; is this a proxyhash service?"
        kind = UsageError if 400 <= answer.status_code < 500 else ProxyhashError
        raise kind(f"{self.url}: {message}")

    def request(self, method: str, path: str, **body: Any) -> Any:
        """Return the answer to a request, whatever it is, once the service has room for it.

        Raises:
            ProxyhashError: the service cannot be reached.
        """
        for attempt in range(self._retries + 1):
            try:
                answer = self._http.request(method, path, **body)
            except self._failures as error:
                raise ProxyhashError(
                    f"{self.url} does not answer ({error or type(error).__name__}); is the "
                    "service running, and is this its address?"
                ) from error
            if answer.status_code != 503 or attempt == self._retries:
                break
            time.sleep(_seconds(answer.headers.get("retry-after")))
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _seconds(retry_after: str | None) -> float:
    try:
        return min(max(float(retry_after or 1), 0.05), _LONGEST_WAIT)
    except ValueError:
        return 1.0
