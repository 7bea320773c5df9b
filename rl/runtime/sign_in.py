"""One page on 127.0.0.1 that signs a browser in to Ray's dashboard.

Ray's dashboard runs code for whoever has its token, so it asks for the token, and nobody should
have to copy a token by hand. This server gives the token to one browser, once, in the cookie that
Ray's own login form sets (HttpOnly, SameSite=Strict), and sends it on to the dashboard. The token
is in no address, no line of output and no log.

Who else on this machine could get it:

- Another user can reach 127.0.0.1 too, so the page's address holds a random path, which is printed
  on the user's terminal only. No browser is started for the user: the address would be in its
  command line, which everybody can read. The address works once, and for ten minutes at most.
- Cookies belong to a host name, not to a port: a browser sends this one to every server on
  127.0.0.1 that it visits, which may be another user's. That is so after Ray's own login, too,
  whose cookie stays for 30 days; this one is gone when the browser is closed.
- A page of another site cannot use the cookie (SameSite=Strict), and cannot read it (HttpOnly). A
  site that points its own name at 127.0.0.1 is refused by its Host header.
"""

from __future__ import annotations

import re
import secrets
import threading
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from rl.errors import ConfigError
from rl.runtime.loopback import HOST

COOKIE = "ray-authentication-token"  # Ray's: authentication_constants.py, Ray 2.60
_COOKIE_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]+")  # RFC 6265, cookie-octet


class SignIn:
    """Serves the page until one browser was signed in.

        page = SignIn("http://127.0.0.1:8265", token)
        print(page.url)                     # http://127.0.0.1:41235/kc3...: for the user alone
        page.serve(wait_s=600)              # True once a browser was sent to the dashboard

    Raises: ConfigError if the port is taken, or if the token cannot be written into a cookie.
    """

    def __init__(self, dashboard_url: str, token: str, *, port: int = 0) -> None:
        if not _COOKIE_VALUE.fullmatch(token):
            raise ConfigError(
                "Ray's token has characters that no cookie can hold",
                where="RAY_AUTH_TOKEN",
                expected="visible ASCII without quotes, comma, semicolon and backslash",
                do="make another with `ray get-auth-token --generate`",
            )
        self._path = f"/{secrets.token_urlsafe(24)}"
        self._is_used = threading.Event()
        answer = _Answer(self._path, urlsplit(dashboard_url).port or 80, token, self._is_used)
        try:
            self._server = ThreadingHTTPServer((HOST, port), partial(_Handler, answer))
        except (OSError, OverflowError) as error:
            why = error.strerror if isinstance(error, OSError) else "a port is 0 to 65535"
            raise ConfigError(
                f"port {port}: {why}", do="give another with --port, or 0 for a free one"
            ) from error
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """The page's address. Whoever has it gets the token: show it to the user alone."""
        return f"http://{HOST}:{self._server.server_address[1]}{self._path}"

    def serve(self, wait_s: float = 600.0) -> bool:
        """Waits for a browser. Returns whether one was signed in. Ctrl-C ends it as well."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            return self._is_used.wait(wait_s)
        finally:
            self._server.shutdown()
            self._server.server_close()


class _Answer:
    """The token, for the first request that names the secret path."""

    def __init__(self, path: str, port: int, token: str, is_used: threading.Event) -> None:
        self._path, self.port, self._token, self.is_used = path, port, token, is_used
        self._lock = threading.Lock()

    def take(self, path: str) -> str | None:
        """The token; None for another path, and from the second time on."""
        with self._lock:
            # In constant time, so that the path cannot be guessed letter by letter.
            if not secrets.compare_digest(path.encode(), self._path.encode()):
                return None
            token, self._token = self._token, ""
            return token or None


class _Handler(BaseHTTPRequestHandler):
    """GET alone; http.server refuses methods that have no `do_` here."""

    server_version, sys_version = "plumbline", ""
    timeout = 10

    def __init__(self, answer: _Answer, *args: object) -> None:
        self._answer = answer
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        name = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        if name not in (HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN)
        elif (token := self._answer.take(self.path)) is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self.send_response(HTTPStatus.SEE_OTHER)
            self.send_header("Set-Cookie", f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict")
            # The cookie belongs to the name that was asked for: the dashboard has to be under it.
            self.send_header("Location", f"http://{name}:{self._answer.port}/")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Content-Length", "0")
            self.end_headers()
            self.wfile.flush()
            self._answer.is_used.set()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged: the path is a secret."""
