"""The answer as JSON, and back. One shape for ``answer.json``, ``lamsearch best --json`` and the database."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from lamsearch.records import Answer


@cache
def _adapter() -> TypeAdapter[Answer]:
    return TypeAdapter(Answer)


def to_json(answer: Answer) -> dict[str, Any]:
    """``answer`` as JSON values. ``cv`` carries its ``sem``; absent things are null."""
    body: dict[str, Any] = _adapter().dump_python(answer, mode="json")
    body["cv"]["sem"] = body.pop("cv_sem")
    return body


def from_json(body: dict[str, Any]) -> Answer:
    """The inverse of ``to_json``. Raises pydantic's ValidationError for foreign shapes."""
    cv = dict(body["cv"])
    return _adapter().validate_python({**body, "cv_sem": cv.pop("sem"), "cv": cv})
