"""`serve`: the endpoint in OpenAI's dialect, for programs that take a base URL."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from langchain_openrouter_free.cli.main import NEEDS_EXTRA
from langchain_openrouter_free.cli.output import Output, log_shown
from langchain_openrouter_free.cli.start import Options, require_key
from langchain_openrouter_free.values import value_type

if TYPE_CHECKING:
    import socket

    from langchain_openrouter_free.serve.backend import Backend

LEVELS = ("debug", "info", "warning", "error")
_NEEDED = ("starlette", "uvicorn")


@value_type(kw_only=True, frozen=True)
class Serving:
    """How the endpoint is run; each worker reads the configuration and makes its own application.

    Attributes:
        options: the command's.
        hosts: names that a request's `Host` may have.
        origins: web pages that may ask.
        token: what clients must say.
        most_bytes: the largest body that is read.
        log_level: one of `LEVELS`.
    """

    options: Options
    hosts: tuple[str, ...]
    origins: tuple[str, ...]
    token: str | None = field(repr=False)
    most_bytes: int
    log_level: str

    def backend(self) -> Backend:
        """Return what answers, as it is configured here."""
        from langchain_openrouter_free.serve.backend import Backend  # noqa: PLC0415 - slow for --help

        return Backend.configured(self.options.profile, dotenv=self.options.dotenv or False)

    def __call__(self, taking: socket.socket) -> None:
        """Serve until a signal ends it."""
        from langchain_openrouter_free.serve.app import application  # noqa: PLC0415 - it needs the extra
        from langchain_openrouter_free.serve.running import run as run_server  # noqa: PLC0415 - it needs the extra

        app = application(
            self.backend(), most_bytes=self.most_bytes, hosts=self.hosts, origins=self.origins, token=self.token
        )
        with log_shown(self.options.output()):
            logging.getLogger("langchain_openrouter_free").setLevel(self.log_level.upper())
            # What the server tells of its own beginning and end is said by the command.
            run_server(app, taking, log_level="warning" if self.log_level == "info" else self.log_level)


def run(
    options: Options,
    *,
    host: str,
    port: int,
    token: str | None,
    origins: Sequence[str],
    hosts: Sequence[str],
    workers: int,
    max_body: int,
    log_level: str,
) -> None:
    """Serve until it is interrupted."""
    out = options.output()
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        needed = f"serve needs {' and '.join(missing)}: pip install 'langchain-openrouter-free[serve]'"
        out.fail("ExtraNeeded", needed, NEEDS_EXTRA)
    if log_level not in LEVELS:
        out.fail("UsageError", f"--log-level {log_level!r} is none of {', '.join(LEVELS)}.", 2)
    require_key(options)
    from langchain_openrouter_free.serve.running import check_host, listening  # noqa: PLC0415 - it needs the extra

    serving = Serving(
        options=options,
        hosts=(*check_host(host, token), *hosts),
        origins=tuple(origins),
        token=token or None,
        most_bytes=max_body * 1024 * 1024,
        log_level=log_level,
    )
    aliases = _checked(serving, workers)
    try:
        taking = listening(host, port)
    except (OSError, OverflowError) as error:
        out.fail("CannotListen", f"cannot listen on {host}:{port}: {error}", 1)
    with taking:
        _tell(out, host, taking, aliases, serving)
        _serve(out, serving, taking, workers)


def _checked(serving: Serving, workers: int) -> list[str]:
    """Make all of it once, so that a mistake is told before anybody waits; return the names that are no ids."""
    backend = serving.backend()
    if workers > 1 and not backend.is_shared:
        from langchain_openrouter_free.errors import ConfigurationError  # noqa: PLC0415 - slow for --help

        raise ConfigurationError(
            f"workers={workers} need a state that processes share (a file, or redis://): each would have the whole "
            'quota and budget for itself with state="memory".'
        )
    return backend.aliases


def _tell(out: Output, host: str, taking: socket.socket, aliases: list[str], serving: Serving) -> None:
    from langchain_openrouter_free.serve.running import url_of  # noqa: PLC0415 - it needs the extra

    url = url_of(host, taking)
    if out.json:
        out.row({"base_url": url, "models": aliases, "token_needed": serving.token is not None})
        return
    key = "<the token>" if serving.token else "unused"
    out.say(f"base URL: {url}   models: {', '.join(aliases)}, or an id of {url}/models")
    out.say(f"export OPENAI_BASE_URL={url} OPENAI_API_KEY={key}")
    out.say("Ctrl-C ends it.")


def _serve(out: Output, serving: Serving, taking: socket.socket, workers: int) -> None:
    from langchain_openrouter_free.serve.workers import supervise  # noqa: PLC0415 - it needs the extra

    try:
        if workers == 1:
            serving(taking)
        else:
            supervise(serving, taking, workers)
    except KeyboardInterrupt:
        out.note("stopped")
    except RuntimeError as error:
        out.fail("CannotServe", str(error), 1)
