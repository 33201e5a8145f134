"""optuna-dashboard with the answer in it: publish it there, and serve it from this process."""

from lamsearch.dashboard.publishing import publish
from lamsearch.dashboard.server import serve, server

__all__ = ["publish", "serve", "server"]
