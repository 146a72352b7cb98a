"""Logs: one JSON object a line, with what happened and without what is secret."""

import json
import logging

import pytest

from record_presence.server.logs import JsonFormatter

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOjQyfQ.c2lnbmF0dXJl"


def formatted(message, *args, exception=None, **extra):
    info = (type(exception), exception, exception.__traceback__) if exception else None
    record = logging.LogRecord("presence.test", logging.WARNING, __file__, 1, message, args, info)
    vars(record).update(extra)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    return json.loads(line)


def test_line_says_when_how_bad_where_and_what():
    entry = formatted("it %s", "broke", path="/x", status=500)

    assert entry["time"].endswith("+00:00")
    assert {**entry, "time": None} == {
        "time": None,
        "level": "warning",
        "logger": "presence.test",
        "message": "it broke",
        "path": "/x",
        "status": 500,
    }


@pytest.mark.parametrize(
    "text",
    ['quotes " and \\ ', "line\nbreak\r\n", "\x00\x1b[31m", "\u2028", "日本 😀", "\ud800", "{}"],
    ids=ascii,
)
def test_any_text_stays_on_one_line_and_comes_back(text):
    assert formatted("%s", text, path=text)["path"] == text


def test_what_json_does_not_know_is_written_as_text():
    assert formatted("x", value={1}, error=ValueError("no"))["error"] == "no"


def test_exception_is_in_its_line():
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError as error:
        entry = formatted("broken", exception=error)

    assert "RuntimeError: first\nsecond" in entry["exception"]
    assert "test_logs.py" in entry["exception"]


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {JWT}",
        f"authorization: bearer {JWT}",
        f"token={JWT}",
        JWT,
        f"'{JWT}'",
        "BEARER opaque-c2lnbmF0dXJl",
        "Error handling request GET /api/v1/presence/events?record=flow:1&token=c2lnbmF0dXJl",
        f"GET /x?access_token={JWT} HTTP/1.1",
    ],
)
def test_token_is_not_written(text):
    for entry in (
        formatted("%s", text),
        formatted("x", path=text),
        formatted("x", exception=ValueError(text)),
    ):
        assert "c2lnbmF0dXJl" not in json.dumps(entry)
        assert "eyJhbGci" not in json.dumps(entry)


@pytest.mark.parametrize(
    "text",
    [
        "redis://:c2lnbmF0dXJl@cache:6379/0",
        "could not parse redis://u:c2ln/c2lnbmF0dXJl@cache",
        "postgresql+psycopg://flows:c2lnbmF0dXJl@db/flows",
        "cookie session=.eJwlzj.c2lnbmF0dXJl",
    ],
)
def test_password_and_session_are_not_written(text):
    for entry in (
        formatted("%s", text),
        formatted("x", url=text),
        formatted("x", exception=ValueError(text)),
    ):
        assert "c2lnbmF0dXJl" not in json.dumps(entry)
