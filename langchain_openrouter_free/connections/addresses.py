"""Whether a base URL may get the key and the prompts: by https, on this machine, or where that is spelled out. Pure."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from langchain_openrouter_free.errors import ConfigurationError


def check_encrypted(url: str, *, allow_http: bool) -> None:
    """Refuse to send anything in the clear to another machine.

    Args:
        url: the base URL, as `settings.base_url` reads it.
        allow_http: whether the user has spelled out that it may be.

    Raises:
        ConfigurationError: with what to say instead.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not allow_http and not is_loopback(parts.hostname or ""):
        raise ConfigurationError(
            f"base_url={url!r} would send your key and prompts unencrypted; use https, or say allow_http=True."
        )


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its name alone."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
