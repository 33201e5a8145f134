"""``python -m lamsearch``."""

from lamsearch.cli import command

command()
