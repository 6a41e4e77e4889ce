"""Whether the locked packages were looked up among the known vulnerabilities: nobody takes a silence for a "no"."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import audit
import pytest
from test_hostile_server import serving

ANSWERS = {
    "nothing but a refusal": (404, b"{}", "it says 404"),
    "a page": (200, b"<html>", "Expecting value"),
    "something else": (200, b"[]", "it says something else"),
    "another table": (200, b'{"info": {}}', "it says something else"),
}


@contextmanager
def saying(status: int, body: bytes) -> Iterator[audit.Question]:
    """A service that gives one answer to all that it is asked."""
    with serving(lambda _: (status, {"Content-Type": "application/json"}, body)) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query", b'{"model": ""}', "vulnerabilities"


@pytest.mark.parametrize(("status", "body", "why"), ANSWERS.values(), ids=ANSWERS)
def test_a_service_that_does_not_answer_is_named(
    status: int, body: bytes, why: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a sentence and a status of its own; pip-audit is not even installed."""
    monkeypatch.setattr(audit, "audited", lambda _: pytest.fail("audited"))
    with saying(status, body) as asked, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{probe.getsockname()[1]}/v1/query", b"{}", ""
        assert audit.main([], {"pypi": asked, "osv": away}) == audit.UNABLE
    told = capsys.readouterr().err
    assert told.startswith("make audit: nothing was audited")
    assert f"pypi ({asked[0].split('/')[2]}): {why}" in told
    assert "osv (127.0.0.1" in told
    assert "refused" in told
    assert len(told.splitlines()) == 1


def test_the_first_that_answers_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip-audit says is the result; who names a service gets that one."""
    given: list[list[str]] = []

    def audited(arguments: list[str]) -> int:
        given.append(arguments)
        return 1

    monkeypatch.setattr(audit, "audited", audited)
    with saying(503, b"") as away, saying(200, b'{"vulnerabilities": []}') as there:
        assert audit.main(["--desc"], {"pypi": away, "osv": there}) == 1
    assert audit.main(["--osv-url", "http://x"], {}) == 1
    assert given == [["--vulnerability-service", "osv", "--desc"], ["--osv-url", "http://x"]]


def test_what_is_asked_is_what_will_be_asked() -> None:
    """About a version that is locked, of services that there are."""
    known = audit.services()
    assert list(known) == ["pypi", "osv"]
    name, version = known["pypi"][0].split("/")[-3:-1]
    assert f"\n{name}=={version}" in audit.LOCK.read_text(encoding="utf-8")
    assert json.loads(known["osv"][1] or b"")["version"] == version
