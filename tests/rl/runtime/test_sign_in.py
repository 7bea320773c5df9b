"""The page that signs a browser in to Ray's dashboard."""

from __future__ import annotations

import contextlib
import http.client
import os
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from rl.errors import ConfigError
from rl.runtime.sign_in import COOKIE, SignIn
from tests.sockets import listeners

TOKEN = "4f1c9e5b0a"


class Served:
    """A page that is served in a thread, and whether it signed anybody in."""

    def __init__(self) -> None:
        self.page = SignIn("http://127.0.0.1:8265", TOKEN)
        self.outcome: list[bool] = []
        self.thread = threading.Thread(
            target=lambda: self.outcome.append(self.page.serve(wait_s=30)), daemon=True
        )
        self.thread.start()

    def ask(
        self, path: str | None = None, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and text of one request; the page's own path if none is given."""
        parts = urlsplit(self.page.url)
        connection = http.client.HTTPConnection("127.0.0.1", parts.port or 0, timeout=10)
        try:
            connection.request(method, path or parts.path, headers=headers)
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read().decode()
        finally:
            connection.close()


@pytest.fixture
def served() -> Iterator[Served]:
    found = Served()
    yield found
    with contextlib.suppress(OSError):  # it has ended, or is about to
        found.ask()
    found.thread.join(10)


def test_the_first_browser_gets_rays_cookie_and_is_sent_to_the_dashboard(served: Served) -> None:
    status, headers, text = served.ask()
    assert status == 303
    assert headers["Set-Cookie"] == f"{COOKIE}={TOKEN}; Path=/; HttpOnly; SameSite=Strict"
    assert headers["Location"] == "http://127.0.0.1:8265/"
    assert headers["Cache-Control"] == "no-store"
    assert TOKEN not in headers["Location"] + text + served.page.url
    served.thread.join(10)
    assert served.outcome == [True]  # and the server has ended by itself
    with pytest.raises(OSError, match="refused"):
        served.ask()


def test_a_browser_that_says_localhost_stays_there(served: Served) -> None:
    """A cookie belongs to the name: under 127.0.0.1 this one would not be sent."""
    port = urlsplit(served.page.url).port
    _, headers, _ = served.ask(Host=f"localhost:{port}")
    assert headers["Location"] == "http://localhost:8265/"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"path": "/"}, 404),
        ({"path": "/favicon.ico"}, 404),
        ({"path": "/a-guess"}, 404),
        ({"method": "POST"}, 501),
        ({"method": "HEAD"}, 501),
        ({"Host": "elsewhere.example"}, 403),
        ({"Host": "127.0.0.1.elsewhere.example"}, 403),
    ],
)
def test_nobody_else_gets_the_token(served: Served, request_: dict[str, str], status: int) -> None:
    found, headers, text = served.ask(**request_)
    assert found == status
    assert "Set-Cookie" not in headers
    assert TOKEN not in text
    assert served.ask()[0] == 303  # the user's own browser still does


def test_the_address_works_once(served: Served) -> None:
    answer = served.page._server.RequestHandlerClass.args[0]  # type: ignore[attr-defined]
    path = urlsplit(served.page.url).path
    assert answer.take(path) == TOKEN
    assert answer.take(path) is None
    answer.is_used.set()
    served.thread.join(10)


def test_the_page_listens_on_loopback_alone(served: Served) -> None:
    port = urlsplit(served.page.url).port
    assert port
    assert [found for found in listeners(os.getpid()) if not found.is_loopback] == []


def test_two_pages_have_two_addresses() -> None:
    pages = [SignIn("http://127.0.0.1:8265", TOKEN) for _ in range(2)]
    paths = {urlsplit(page.url).path for page in pages}
    for page in pages:
        page._server.server_close()
    assert len(paths) == 2
    assert all(len(path) > 24 for path in paths)


def test_it_ends_where_nobody_comes() -> None:
    assert SignIn("http://127.0.0.1:8265", TOKEN).serve(wait_s=0.05) is False


@pytest.mark.parametrize("token", ["", "a b", 'say "yes"', "one;two", "line\nline"])
def test_a_token_that_no_cookie_holds_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="no cookie can hold") as caught:
        SignIn("http://127.0.0.1:8265", token)
    assert not token or token not in str(caught.value)


def test_a_port_that_is_taken_is_one_line() -> None:
    page = SignIn("http://127.0.0.1:8265", TOKEN)
    port = urlsplit(page.url).port
    with pytest.raises(ConfigError, match=f"port {port}: "):
        SignIn("http://127.0.0.1:8265", TOKEN, port=port or 0)
    page._server.server_close()
