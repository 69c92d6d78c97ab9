"""TLS: which options a connection is made with, what may not be switched off, and what a failure has to do with the files.

The files are read for each new connection, so a renewed certificate needs no restart.
"""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import Any

import redis.exceptions as driver

from luni.errors import ConfigError
from luni.settings import Settings

__all__ = ["hint", "options"]

_FILES = {"tls_ca": "ssl_ca_certs", "tls_cert": "ssl_certfile", "tls_key": "ssl_keyfile"}
_NAMES = {"ssl_ca_certs": "REDIS_TLS_CA", "ssl_certfile": "REDIS_TLS_CERT", "ssl_keyfile": "REDIS_TLS_KEY"}

_HUNG_UP = ("RESET BY PEER", "CONNECTION CLOSED", "WHILE READING", "WHILE WRITING", "EOF OCCURRED")

_WEAKER = ("ssl_exclude_verify_flags", "ssl_ciphers", "ssl_ocsp_context")
"""Options of a URL that can take the verification away, or its meaning."""


def options(found: dict[str, Any], settings: Settings, *, encrypted: bool, asynchronous: bool) -> dict[str, Any]:
    """Return the TLS arguments of a connection: the URL's and the settings', verified, TLS 1.2 at the least. No I/O.

    Raises `ConfigError` for settings that a URL without TLS would ignore, and for options that weaken the verification:
    there is no setting that switches it off, so that none is left on by accident.
    """
    given = {option: getattr(settings, field) for field, option in _FILES.items() if getattr(settings, field)}
    if not encrypted:
        if given:
            name = _NAMES[next(iter(given))]
            raise ConfigError(
                f"{name}: the URL's scheme is not encrypted; use rediss://, rediss+sentinel:// or rediss+cluster://"
            )
        return {}
    _check(found)
    if "ssl_keyfile" in given and "ssl_certfile" not in given:
        raise ConfigError("REDIS_TLS_KEY: needs REDIS_TLS_CERT")
    return {
        **given,
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_min_version": max(ssl.TLSVersion.TLSv1_2, found.get("ssl_min_version", 0)),
        "redis_connect_func": _async_accepted if asynchronous else _accepted,
    }


def _check(found: dict[str, Any]) -> None:
    for name in _WEAKER:
        if name in found:
            raise ConfigError(f"the URL's {name} is not allowed: it can weaken how the server's certificate is verified")
    if found.get("ssl_cert_reqs", "required") != "required":
        raise ConfigError(
            "the URL's ssl_cert_reqs: only required is allowed; to trust an authority of your own, set REDIS_TLS_CA"
        )
    if not found.get("ssl_check_hostname", True):
        raise ConfigError("the URL's ssl_check_hostname: the host name is always verified; use the name in the certificate")
    if found.get("ssl_min_version", ssl.TLSVersion.TLSv1_2) < ssl.TLSVersion.TLSv1_2:
        raise ConfigError("the URL's ssl_min_version: TLS 1.2 is the least")


def _accepted(connection: Any) -> None:
    """Wait for one reply before anything of ours is sent.

    With TLS 1.3 a server looks at the client's certificate after the client thinks that all is well: without this, a refusal
    would look like an operation that was sent.
    """
    connection.on_connect()
    connection.send_command("PING", check_health=False)
    with contextlib.suppress(driver.ResponseError, driver.AuthenticationError):  # a reply is a reply
        connection.read_response()


async def _async_accepted(connection: Any) -> None:
    await connection.on_connect()
    await connection.send_command("PING", check_health=False)
    with contextlib.suppress(driver.ResponseError, driver.AuthenticationError):
        await connection.read_response()


def hint(error: Exception, arguments: dict[str, Any]) -> str:
    """Return what the files have to do with a connection that failed, ``""`` if nothing is seen; only paths are told."""
    if "ssl_cert_reqs" not in arguments:
        return ""
    fault = _fault(arguments)
    if fault:
        return f" ({fault})"
    text = str(error).upper()
    certificate = arguments.get("ssl_certfile")
    if "CERTIFICATE_REQUIRED" in text or ("ALERT" in text and "HANDSHAKE" in text and not certificate):
        return " (the server asks for a client certificate: set REDIS_TLS_CERT and REDIS_TLS_KEY)"
    if "ALERT" in text and certificate:
        return f" (the server does not accept the client certificate of REDIS_TLS_CERT, {certificate})"
    if any(word in text for word in _HUNG_UP):  # its alert is lost where the system resets the connection first
        whose = f"{certificate} of REDIS_TLS_CERT" if certificate else "a client certificate, which REDIS_TLS_CERT gives"
        return f" (perhaps the server does not accept {whose})" if certificate else f" (perhaps the server asks for {whose})"
    return ""


def _fault(arguments: dict[str, Any]) -> str:
    paths = {option: str(arguments[option]) for option in _NAMES if arguments.get(option)}
    for option, path in paths.items():
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            return f"{_NAMES[option]}: {path} cannot be read: {error.strerror}"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if "ssl_ca_certs" in paths:
            context.load_verify_locations(cafile=paths["ssl_ca_certs"])
    except (OSError, ValueError):
        return f"REDIS_TLS_CA: {paths['ssl_ca_certs']} holds no certificate that can be read"
    try:
        if "ssl_certfile" in paths:
            context.load_cert_chain(
                paths["ssl_certfile"], paths.get("ssl_keyfile"), lambda: arguments.get("ssl_password") or ""
            )
    except (OSError, ValueError):
        pair = " and ".join(paths[option] for option in ("ssl_certfile", "ssl_keyfile") if option in paths)
        return f"REDIS_TLS_CERT: {pair} are no certificate with its key"
    return ""
