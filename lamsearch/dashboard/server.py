"""Serving optuna-dashboard from this process, on loopback unless told otherwise.

It has no login and does not check whom a request was meant for. A page on the internet could reach a loopback server
through DNS rebinding, so requests that name another host, or come from a page of another host, are refused.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Callable, Iterable
from socket import AF_INET6
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from lamsearch.dashboard.storage import open_url
from lamsearch.errors import InputError

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def serve(url: str, *, host: str = "127.0.0.1", port: int = 8080, allow_remote: bool = False) -> None:
    """Serve the dashboard until Ctrl-C. Raises InputError."""
    with server(url, host=host, port=port, allow_remote=allow_remote) as running:
        shown = f"[{host}]" if ":" in host else host
        print(f"optuna-dashboard: http://{shown}:{running.server_port}/ (no login; Ctrl-C ends it)", file=sys.stderr)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print("dashboard closed", file=sys.stderr)


def server(url: str, *, host: str = "127.0.0.1", port: int = 8080, allow_remote: bool = False) -> WSGIServer:
    """The dashboard's server, bound and not yet serving; ``port`` 0 takes a free one.

    ``allow_remote`` is for a place behind an authenticating proxy: any address may be bound, and host names are not
    checked. Raises InputError for an address beyond this machine without it, and for a port that is taken.
    """
    from optuna_dashboard import wsgi  # noqa: PLC0415 (a second to import)

    if not (allow_remote or is_loopback(host)):
        raise InputError(
            f"--host {host}: the dashboard has no login and anyone who reaches it can delete studies; keep 127.0.0.1, "
            "or put an authenticating proxy in front and say --allow-remote"
        )
    app: App = wsgi(open_url(url))
    try:
        return make_server(host, port, app if allow_remote else guarded(app), _server_class(host), _Quiet)
    except OSError as error:
        raise InputError(f"--host {host} --port {port}: {error.strerror}; choose another --port") from None


def is_loopback(host: str) -> bool:
    """True for an address that only this machine reaches."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def guarded(app: App) -> App:
    """``app`` behind a check that a request was meant for this machine, and sent by no page of another."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        origin = environ.get("HTTP_ORIGIN")
        named = _host_name(f"//{environ.get('HTTP_HOST', '')}")
        if is_loopback(named) and (origin is None or is_loopback(_host_name(origin))):
            return app(environ, start)
        start("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"This dashboard answers only to localhost.\n"]

    return answer


def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class _Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ThreadedIPv6(_Threaded):
    address_family = AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """One line per request would bury the terminal."""


def _server_class(host: str) -> type[WSGIServer]:
    return _ThreadedIPv6 if ":" in host else _Threaded
