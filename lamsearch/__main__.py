"""``python -m lamsearch``."""

from lamsearch.cli import main

main()
