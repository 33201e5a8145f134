"""The page: one HTML file that needs nothing else, neither network nor scripts."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from importlib import resources

import lamsearch
from lamsearch import wording
from lamsearch.answer import Answer, Dossier
from lamsearch.report import effects, facts, protocol, sections
from lamsearch.report.averages import by_slot
from lamsearch.report.markup import Markup, el, joined

PARTS = (
    ("change", "What would change it"),
    ("numbers", "In numbers"),
    ("effects", "What λ does"),
    ("budget", "Budget"),
    ("trials", "Every λ"),
    ("protocol", "Protocol"),
    ("words", "Words"),
)


def html(dossier: Dossier) -> str:
    """The report. Every name and message in it is escaped; its one script only sorts tables."""
    answer = dossier.answer
    averages = by_slot(dossier.results)
    main = el(
        "main",
        sections.verdict(answer),
        el("nav", el("ul", *(el("li", el("a", name, href=f"#{key}")) for key, name in PARTS)), aria_label="Sections"),
        sections.would_change(answer),
        facts.numbers(answer, dossier.settings),
        effects.effects(dossier, averages),
        sections.budget(answer),
        sections.trials(dossier, averages),
        protocol.protocol(dossier),
        protocol.words(),
        id="main",
    )
    page = el(
        "div",
        el("a", "Skip to the answer", href="#main", class_="skip"),
        el("header", _origin(answer, dossier.created_at)),
        main,
        _footer(),
        class_="page",
    )
    return f'<!doctype html>\n<html lang="en">{_head(answer)}<body>{page}{_script()}</body></html>\n'


def _head(answer: Answer) -> Markup:
    digest = base64.b64encode(hashlib.sha256(_file("report.js").encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    return el(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        el("title", f"{answer.study}: {wording.headline(answer)}"),
        el("style", Markup(_file("report.css"))),
    )


def _script() -> Markup:
    return el("script", Markup(_file("report.js")))


def _origin(answer: Answer, created_at: float) -> Markup:
    when = datetime.fromtimestamp(created_at, tz=UTC)
    state = el("span", f"{answer.status} answer", class_="state")
    stamp = el("time", f"{when:%d %B %Y, %H:%M} UTC", datetime=when.isoformat(timespec="seconds"))
    return el("p", "lamsearch · study ", el("strong", answer.study), " · started ", stamp, " ", state, class_="origin")


def _footer() -> Markup:
    beside = ("answer.json", "folds.csv", "curve.png", "curve.svg")
    links = joined(*(joined(el("a", name, href=name), ", ") for name in beside))
    return el(
        "footer",
        f"Made by lamsearch {lamsearch.__version__}. Beside this file: ",
        links,
        "and each figure as PNG and SVG.",
    )


def _file(name: str) -> str:
    return resources.files("lamsearch.report").joinpath(name).read_text(encoding="utf-8")
