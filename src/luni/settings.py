"""Every setting, its environment name, its default and its bounds: the only file that knows them."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from luni.errors import ConfigError

__all__ = ["DEFAULT_POLICY", "ENVIRONMENT", "Policies", "Policy", "Settings", "default_fallback", "policy_for"]

HOUR = 3600.0
DAY = 24 * HOUR
MAX_TTL = 30 * DAY
"""No session lives longer without activity, so a tenant's index can be pruned safely."""
MAX_NAMESPACE = 64
DEFAULT_NAMESPACE = "luni"


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one tenant's channel is served. Times are seconds.

    Raises `ConfigError` for a value outside its bounds.
    """

    name: str = "default"
    """Labels metrics, so that two policies can be compared."""
    ttl: float | None = None
    """A session expires this long after its last activity; ``None`` is the setting's (72 h)."""
    lease: float | None = None
    """How long a turn may go without renewal; ``None`` is the setting's (60 s)."""
    prompt_window: int | None = None
    """At most this many messages before the current ones in a prompt; ``None`` is the setting's."""
    token_budget: int | None = None
    """At most this many tokens in a prompt, without the application's system prompt; ``None`` is the setting's."""
    language: Literal["en", "pt"] = "en"
    """The language of the few words luni itself puts into a prompt."""
    coalesce: float = 0.0
    """Gather a burst: a turn opens when nobody has said anything for so long (0: at once; 1.8 is right for WhatsApp)."""
    coalesce_max: float = 6.0
    """At the latest so long after a burst's first message."""
    outbox: bool = False
    """Whether a reply waits in ``unsent()`` until `Session.mark_sent` confirms that it was sent."""
    transcript_messages: int = 0
    """Keep this many messages as a transcript beside the window (0 = none), with the session's expiry."""
    outage: Literal["answer", "accept", "refuse"] = "answer"
    """What a message meets while the server is away and there is a fallback: a turn; storage and silence until the server is
    back (right where several hosts share the conversations); or `Degraded`, with nothing stored."""

    def __post_init__(self) -> None:
        for name, bounds in _POLICY_BOUNDS.items():
            bounds.check(f"Policy.{name}", getattr(self, name))
        _choice("Policy.language", self.language, _LANGUAGES)
        _choice("Policy.outage", self.outage, ("answer", "accept", "refuse"))
        if self.coalesce > self.coalesce_max:
            raise ConfigError("Policy.coalesce: must not be above Policy.coalesce_max")
        if not isinstance(self.outbox, bool):
            raise ConfigError("Policy.outbox: allowed are true and false")
        if not isinstance(self.name, str) or not self.name:
            raise ConfigError("Policy.name: must be a str and not empty")


Policies = Mapping[Any, Policy] | Callable[[str, str], Policy] | None
"""Where policies come from: a callable ``(tenant, channel) -> Policy``, or a mapping whose keys are
``(tenant, channel)``, a tenant, or ``"*"`` for everybody else (the first of these that is there)."""


def policy_for(policies: Policies, tenant: str, channel: str) -> Policy:
    """Return the policy of a tenant's channel; `DEFAULT_POLICY` where none is given."""
    if policies is None:
        return DEFAULT_POLICY
    if callable(policies):
        policy = policies(tenant, channel)
    elif not isinstance(policies, Mapping):
        raise ConfigError("policies must be a mapping or a callable (tenant, channel) -> luni.Policy")
    else:
        policy = policies.get((tenant, channel)) or policies.get(tenant) or policies.get("*") or DEFAULT_POLICY
    if not isinstance(policy, Policy):
        raise ConfigError(f"policies gave a {type(policy).__name__} for a channel, not a luni.Policy")
    return policy


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of one `Memory`. Times are seconds; sizes are bytes.

    Raises `ConfigError`, naming the setting and what is allowed, for a value outside its bounds.
    """

    url: str = "sqlite:///luni.db"
    fallback: str = ""
    data_dir: str = ""
    use_redis: bool | None = None
    redis_url: str = "redis://127.0.0.1:6379/0"
    namespace: str = DEFAULT_NAMESPACE
    ttl: float = 72 * HOUR
    lease: float = 60.0
    prompt_window: int | None = None
    token_budget: int | None = None
    connect_timeout: float = 2.0
    timeout: float = 5.0
    max_retries: int = 3
    queue_max_length: int = 10_000
    pool_min: int = 0
    pool_max: int = 50
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    password_file: str = ""
    credentials: Callable[[], Any] | None = None
    sentinel_username: str = ""
    sentinel_password: str = ""
    sentinel_password_file: str = ""
    durability: Literal["normal", "full"] = "normal"
    noeviction: bool = False
    wait_replicas: int | None = None
    replica_timeout: float = 1.0
    booking_grace: float = 72 * HOUR
    failover_after: float = 0.4
    mirror_interval: float = 1.0
    journal_max_bytes: int = 4 * 1024**3
    max_text_bytes: int = 256 * 1024
    max_json_bytes: int = 64 * 1024
    policies_file: str = ""
    log_level: str = "WARNING"

    def __repr__(self) -> str:
        return "<Settings>"  # a URL can carry a password

    def __rich_repr__(self) -> Any:
        return ()

    def __post_init__(self) -> None:
        for name, bounds in _BOUNDS.items():
            bounds.check(_ENV_BY_FIELD.get(name, name), getattr(self, name))
        _choice("LUNI_DURABILITY", self.durability, ("normal", "full"))
        _choice("LOG_LEVEL", self.log_level, _LEVELS)
        for name in ("url", "fallback", "redis_url", "data_dir", "policies_file", "namespace", *_LINKS):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"{_ENV_BY_FIELD[name]}: must be a str")
        if self.fallback not in {"", "0"} and not self.fallback.startswith("sqlite:///"):
            raise ConfigError("LUNI_FALLBACK: allowed are sqlite:///relative.db, sqlite:////absolute.db and 0")
        if self.credentials is not None and not callable(self.credentials):
            raise ConfigError("credentials: must be callable; it returns (user, password)")
        if not isinstance(self.noeviction, bool):
            raise ConfigError("LUNI_NOEVICTION: allowed are 0 and 1")
        if not self.namespace or len(self.namespace) > MAX_NAMESPACE or not set(self.namespace) <= _NAMESPACE:
            raise ConfigError("LUNI_NAMESPACE: 1 to 64 of the letters, digits, '.', '_' and '-'")
        if self.pool_min > self.pool_max:
            raise ConfigError("REDIS_POOL_MIN: must not be above REDIS_POOL_MAX")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, dotenv: str | Path | None = ".env") -> Settings:
        """Read the environment, and for what it lacks the file ``dotenv`` if there is one.

        Raises `ConfigError` with the name of the bad setting. Warns of unknown ``LUNI_*`` names.
        """
        found = _dotenv(dotenv) | dict(os.environ if environ is None else environ)
        unknown = sorted(name for name in found if name.startswith("LUNI_") and name not in _READ | _OTHER_TOOLS)
        for name in unknown:
            warnings.warn(f"{name} is not a setting of luni; it has no effect", stacklevel=2)
        values = {field: parse(name, found[name]) for name, (field, parse) in ENVIRONMENT.items() if found.get(name, "") != ""}
        settings = cls(**values)
        if "url" in values:
            return msgspec.structs.replace(settings, fallback=settings.fallback.removeprefix("0"))
        return _by_flag(settings)

    def load_policies(self) -> Policies:
        """Return the policies of the TOML file that is set, ``None`` without one; raise `ConfigError` for a bad one.

        Tables are ``[default]``, ``[tenant.NAME]`` and ``[tenant.NAME.CHANNEL]`` with the fields of `Policy`.
        """
        if not self.policies_file:
            return None
        import tomllib  # noqa: PLC0415  only where there is such a file

        try:
            tree = tomllib.loads(Path(self.policies_file).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"LUNI_POLICIES: the file cannot be read ({type(error).__name__})") from None
        return _policies(tree)


def default_fallback(data_dir: str) -> str:
    """Return the fallback's URL that ``USE_REDIS=1`` brings with it."""
    return f"sqlite:///{Path(data_dir) / 'local.db'}"


def _by_flag(settings: Settings) -> Settings:
    """The feature flag decides where no URL is set: Redis with a local fallback, or the embedded file in the data directory."""
    if settings.use_redis:
        local = {"": default_fallback(settings.data_dir), "0": ""}.get(settings.fallback, settings.fallback)
        return msgspec.structs.replace(settings, url=settings.redis_url, fallback=local)
    if settings.use_redis is False:  # a way back in one step: the fallback of what is turned off is no error
        settings = msgspec.structs.replace(settings, fallback="")
    if settings.data_dir:
        return msgspec.structs.replace(settings, url=f"sqlite:///{Path(settings.data_dir) / 'luni.db'}")
    return settings


def _policies(tree: dict[str, Any]) -> dict[Any, Policy]:
    found: dict[Any, Policy] = {}
    tables: dict[Any, dict[str, Any]] = {"*": tree.pop("default", {})}
    tenants = tree.pop("tenant", {})
    if not isinstance(tenants, dict) or not all(isinstance(table, dict) for table in [tables["*"], *tenants.values()]):
        raise ConfigError("LUNI_POLICIES: default, tenant and what is below tenant must be tables")
    for tenant, table in tenants.items():
        own = {key: value for key, value in table.items() if not isinstance(value, dict)}
        tables[tenant] = tables["*"] | own
        for channel, inner in table.items():
            if isinstance(inner, dict):
                tables[(tenant, channel)] = tables[tenant] | inner
    if tree:
        raise ConfigError(f"LUNI_POLICIES: unknown table {min(tree)!r}; allowed are default and tenant")
    for key, table in tables.items():
        try:
            found[key] = msgspec.convert(table, Policy)
        except msgspec.ValidationError as error:
            raise ConfigError(f"LUNI_POLICIES: {key!r}: {error}") from None
    return found


def _dotenv(path: str | Path | None) -> dict[str, str]:
    if path is None or not Path(path).is_file():
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415  only where there is such a file

    try:
        return {name: value for name, value in dotenv_values(path).items() if value is not None}
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None


class Bounds(msgspec.Struct, frozen=True):
    """What a number may be. ``whole``: no fraction; ``optional``: ``None`` leaves it to somebody else."""

    low: float
    high: float
    whole: bool = False
    optional: bool = False

    def check(self, name: str, value: object) -> None:
        """Raise `ConfigError`, naming the setting and what is allowed, if ``value`` is not within them."""
        if value is None and self.optional:
            return
        kinds = int if self.whole else int | float
        if (
            isinstance(value, bool)
            or not isinstance(value, kinds)
            or not math.isfinite(value)
            or not self.low <= value <= self.high
        ):
            kind = "whole number" if self.whole else "number"
            raise ConfigError(f"{name}: must be a {kind} from {self.low:g} to {self.high:g}, not {value!r}")


def _choice(name: str, value: object, allowed: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ConfigError(f"{name}: allowed are {', '.join(allowed)}")


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{name}: must be a number, not {text!r}") from None


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{name}: must be a whole number, not {text!r}") from None


def _seconds_of_ms(name: str, text: str) -> float:
    return _number(name, text) / 1000


def _flag(name: str, text: str) -> bool:
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off"}:
        return False
    raise ConfigError(f"{name}: allowed are 0 and 1")


def _text(_name: str, text: str) -> str:
    return text


def _upper(_name: str, text: str) -> str:
    return text.upper()


_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_NAMESPACE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")

ENVIRONMENT: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "LUNI_URL": ("url", _text),
    "LUNI_DATA_DIR": ("data_dir", _text),
    "USE_REDIS": ("use_redis", _flag),
    "REDIS_URL": ("redis_url", _text),
    "LUNI_NAMESPACE": ("namespace", _text),
    "REDIS_TTL_SECONDS": ("ttl", _number),
    "LUNI_LEASE_SECONDS": ("lease", _number),
    "LUNI_PROMPT_WINDOW": ("prompt_window", _whole),
    "LUNI_TOKEN_BUDGET": ("token_budget", _whole),
    "REDIS_CONNECT_TIMEOUT": ("connect_timeout", _seconds_of_ms),
    "LUNI_TIMEOUT": ("timeout", _number),
    "REDIS_MAX_RETRIES": ("max_retries", _whole),
    "REDIS_QUEUE_MAX_LENGTH": ("queue_max_length", _whole),
    "REDIS_POOL_MIN": ("pool_min", _whole),
    "REDIS_POOL_MAX": ("pool_max", _whole),
    "REDIS_TLS_CA": ("tls_ca", _text),
    "REDIS_TLS_CERT": ("tls_cert", _text),
    "REDIS_TLS_KEY": ("tls_key", _text),
    "REDIS_PASSWORD_FILE": ("password_file", _text),
    "REDIS_SENTINEL_USERNAME": ("sentinel_username", _text),
    "REDIS_SENTINEL_PASSWORD": ("sentinel_password", _text),
    "REDIS_SENTINEL_PASSWORD_FILE": ("sentinel_password_file", _text),
    "LUNI_DURABILITY": ("durability", _text),
    "LUNI_NOEVICTION": ("noeviction", _flag),
    "LUNI_WAIT_REPLICAS": ("wait_replicas", _whole),
    "LUNI_REPLICA_TIMEOUT": ("replica_timeout", _number),
    "LUNI_BOOKING_GRACE_SECONDS": ("booking_grace", _number),
    "LUNI_FALLBACK": ("fallback", _text),
    "LUNI_FAILOVER_AFTER": ("failover_after", _number),
    "LUNI_MIRROR_INTERVAL": ("mirror_interval", _number),
    "LUNI_JOURNAL_MAX_BYTES": ("journal_max_bytes", _whole),
    "LUNI_MAX_TEXT_BYTES": ("max_text_bytes", _whole),
    "LUNI_MAX_JSON_BYTES": ("max_json_bytes", _whole),
    "LUNI_POLICIES": ("policies_file", _text),
    "LOG_LEVEL": ("log_level", _upper),
}
"""Environment name → (field, parser). The reference page of the settings is checked against this table."""

_ENV_BY_FIELD = {field: name for name, (field, _) in ENVIRONMENT.items()}
_READ = frozenset(ENVIRONMENT)
_OTHER_TOOLS = frozenset({"LUNI_REQUIRE"})

_LANGUAGES = ("en", "pt")
_LINKS = (
    "tls_ca", "tls_cert", "tls_key", "password_file", "sentinel_username", "sentinel_password", "sentinel_password_file",
)  # fmt: skip

_BOUNDS = {
    "ttl": Bounds(1, MAX_TTL),
    "lease": Bounds(0.1, HOUR),
    "prompt_window": Bounds(0, 120, whole=True, optional=True),
    "token_budget": Bounds(50, 10_000_000, whole=True, optional=True),
    "connect_timeout": Bounds(0.01, 60),
    "timeout": Bounds(0.01, 300),
    "max_retries": Bounds(0, 10, whole=True),
    "queue_max_length": Bounds(1, 1_000_000, whole=True),
    "wait_replicas": Bounds(0, 100, whole=True, optional=True),
    "replica_timeout": Bounds(0.01, 60),
    "booking_grace": Bounds(60, 366 * DAY),
    "failover_after": Bounds(0.05, 10),
    "mirror_interval": Bounds(0.05, 60),
    "journal_max_bytes": Bounds(1024**2, 1024**4, whole=True),
    "pool_min": Bounds(0, 1000, whole=True),
    "pool_max": Bounds(1, 1000, whole=True),
    "max_text_bytes": Bounds(1, 4 * 1024 * 1024, whole=True),
    "max_json_bytes": Bounds(256, 4 * 1024 * 1024, whole=True),
}

_POLICY_BOUNDS = {
    "ttl": Bounds(1, MAX_TTL, optional=True),
    "lease": Bounds(0.1, HOUR, optional=True),
    "prompt_window": Bounds(0, 120, whole=True, optional=True),
    "token_budget": Bounds(50, 10_000_000, whole=True, optional=True),
    "transcript_messages": Bounds(0, 10_000, whole=True),
    "coalesce": Bounds(0, 60),
    "coalesce_max": Bounds(0, 300),
}

DEFAULT_POLICY = Policy()
