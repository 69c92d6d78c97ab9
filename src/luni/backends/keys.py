"""Every key name on Redis: the only file that knows the layout.

A session's keys follow the wire format of the deployed system (docs/reference/wire.md). Parts are percent-encoded
outside ``[A-Za-z0-9_.@+=~-]``, so no id can smuggle a separator, a hash tag, a pattern or a newline.

On a Cluster the namespace is a `Tagged` one: the same keys, with literal braces that put into one slot what one script
touches.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from luni.errors import InvalidInput
from luni.models import Address

__all__ = [
    "ResourceKeys",
    "SessionKeys",
    "Tagged",
    "TracedKey",
    "address_of",
    "address_of_member",
    "agenda_keys",
    "generation_key",
    "id_key",
    "list_keys",
    "lock_keys",
    "part",
    "pending_keys",
    "resource_keys",
    "session_keys",
    "sessions_key",
    "tenants_key",
    "tombstone_keys",
    "trace_end",
    "trace_lists",
    "trace_prefixes",
    "traced",
]

PART_BYTES = 256
_AGENDA_PARTS, _SESSION_PARTS = 2, 3  # after the tenant
_PLAIN = re.compile(r"[A-Za-z0-9_.@+=~-]{1,256}")


class Tagged(str):
    """The namespace of keys on a Cluster: equal to no plain one, so that the two layouts never meet in a cache."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tagged) and str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((Tagged, str(self)))


def _tag(namespace: str, name: str) -> str:
    return f"{{{name}}}" if isinstance(namespace, Tagged) else name


class SessionKeys(NamedTuple):
    """The keys of one session. ``own`` lie in one slot of a Cluster; the others are the tenant's."""

    own: tuple[str, ...]
    client: str
    tenant_lists: tuple[str, ...]
    member: str
    tenant: str
    channel: str
    unsent: str


class ResourceKeys(NamedTuple):
    """The keys of one resource of a tenant's agenda."""

    records: str
    timeline: str
    due: str
    marks: str


class TracedKey(NamedTuple):
    """What a key's name says: whose ``address``, whether it is one of a session's ``own`` or astray, which ``resource``."""

    address: Address | None = None
    own: bool = False
    stray: bool = False
    resource: str = ""


def part(value: object, name: str) -> str:
    """Return one part of an address as keys carry it; raise `InvalidInput` if it cannot be one."""
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be a str, not {type(value).__name__}")
    if _PLAIN.fullmatch(value):
        return value
    try:
        encoded = quote(value, safe="@+=~")
    except UnicodeEncodeError:
        raise InvalidInput(f"{name} has a lone surrogate, which UTF-8 cannot carry") from None
    if not 1 <= len(encoded) <= PART_BYTES:
        raise InvalidInput(f"{name} must have 1 to {PART_BYTES} bytes once percent-encoded; it has {len(encoded)}")
    return encoded


@functools.lru_cache(maxsize=4096)
def session_keys(namespace: str, address: Address) -> SessionKeys:
    """Return the keys of a session; raise `InvalidInput` for an address that cannot be one."""
    tenant, channel, user = part(address.tenant, "tenant"), part(address.channel, "channel"), part(address.user, "user")
    base = f"{namespace}:sess:{_tag(namespace, f'{tenant}:{channel}:{user}')}"
    lists = f"{namespace}:tenant:{_tag(namespace, tenant)}"
    return SessionKeys(
        own=(f"{base}:ctx", f"{base}:msgs", f"{base}:locks", f"{base}:seen", f"{base}:fold", f"{base}:log"),
        client=f"{namespace}:client:{tenant}",
        tenant_lists=(f"{lists}:sessions", f"{lists}:waiting", f"{lists}:channels", f"{namespace}:tenants"),
        member=f"{channel}:{user}",
        tenant=tenant,
        channel=channel,
        unsent=f"{lists}:unsent",
    )


def id_key(namespace: str, session_id: str) -> str:
    """Return the key that leads from a session's id to its base key."""
    return f"{namespace}:sess:id:{part(session_id, 'session_id')}"


def sessions_key(namespace: str, tenant: str) -> str:
    """Return the key of a tenant's sessions."""
    return f"{namespace}:tenant:{_tag(namespace, part(tenant, 'tenant'))}:sessions"


def list_keys(namespace: Tagged, tenant: str) -> tuple[str, ...]:
    """Return the keys of a tenant's lists on a Cluster: sessions, waiting, channels, unsent, and listed, the versions."""
    lists = f"{namespace}:tenant:{_tag(namespace, part(tenant, 'tenant'))}"
    return tuple(f"{lists}:{name}" for name in ("sessions", "waiting", "channels", "unsent", "listed"))


def pending_keys(namespace: str, tenant: str, kind: str) -> tuple[str, ...]:
    """Return the key of what waits of a tenant (``kind`` ``waiting`` or ``unsent``), and that of the sweepers' claims."""
    lists = f"{namespace}:tenant:{_tag(namespace, part(tenant, 'tenant'))}"
    return f"{lists}:{kind}", f"{lists}:claims"


def lock_keys(namespace: str, tenant: str, name: str, channel: str = "", user: str = "") -> tuple[str, str]:
    """Return the key of a named lock, and that of the hash with its fence and queue: a session's ctx, or the lock's own."""
    if channel:
        ctx, _, lease, *_ = session_keys(namespace, Address(tenant, channel, user)).own
        return f"{lease}:{part(name, 'name')}", ctx
    lock = f"{namespace}:lock:{_tag(namespace, part(tenant, 'tenant'))}:{part(name, 'name')}"
    return lock, f"{lock}:fence"


def agenda_keys(namespace: str, tenant: str) -> tuple[str, str, str]:
    """Return the keys of a tenant's bookings by customer, of when those are over, and of its resources."""
    agenda = f"{namespace}:agenda:{_tag(namespace, part(tenant, 'tenant'))}"
    return f"{agenda}:customers", f"{agenda}:over", f"{agenda}:resources"


def resource_keys(namespace: str, tenant: str, resource: str) -> ResourceKeys:
    """Return the keys of a resource."""
    base = f"{namespace}:agenda:{_tag(namespace, part(tenant, 'tenant'))}:{part(resource, 'resource')}"
    return ResourceKeys(f"{base}:records", f"{base}:timeline", f"{base}:due", f"{base}:marks")


def generation_key(namespace: str) -> str:
    """Return the key of the name that a server's data was given: gone, if the data is."""
    return f"{namespace}:generation"


def tenants_key(namespace: str) -> str:
    """Return the key of the tenants that have sessions."""
    return f"{namespace}:tenants"


def address_of(namespace: str, base_key: str) -> Address | None:
    """Return the address a base key stands for, ``None`` if it is not one of this namespace."""
    prefix = f"{namespace}:sess:"
    parts = base_key[len(prefix) :].strip("{}").split(":")
    if not base_key.startswith(prefix) or len(parts) != len(Address.__struct_fields__):
        return None
    return Address(*map(unquote, parts))


def address_of_member(tenant: str, member: str) -> Address:
    """Return the address of a member of a tenant's list."""
    channel, _, user = member.partition(":")
    return Address(tenant, unquote(channel), unquote(user))


def tombstone_keys(namespace: str) -> tuple[str, str]:
    """Return the key of who was erased when, and that of the key of those digests."""
    key = f"{namespace}:{_tag(namespace, 'tombstones')}"
    return key, f"{key}:key"


def trace_lists(namespace: str, tenant: str) -> tuple[str, ...]:
    """Return the keys of a tenant's lists with users in them: three of sessions, then the one of bookings by customer."""
    lists = f"{namespace}:tenant:{_tag(namespace, part(tenant, 'tenant'))}"
    return f"{lists}:sessions", f"{lists}:waiting", f"{lists}:unsent", agenda_keys(namespace, tenant)[0]


def trace_prefixes(namespace: str, tenant: str) -> tuple[str, ...]:
    """Return what the names of a tenant's keys begin with: of sessions, the old focus, the agenda, locks."""
    own, begins = part(tenant, "tenant"), "{" if isinstance(namespace, Tagged) else ""
    tag = _tag(namespace, own)
    return (
        f"{namespace}:sess:{begins}{own}:", f"{namespace}:foco:{own}:",
        f"{namespace}:agenda:{tag}:", f"{namespace}:lock:{tag}:",
    )  # fmt: skip


def trace_end(namespace: str, user: str) -> str:
    """Return what the base keys of a user's sessions end with; ``user`` as keys carry it."""
    return f":{user}}}" if isinstance(namespace, Tagged) else f":{user}"


def traced(namespace: str, key: str) -> TracedKey:
    """Return what the name of a tenant's key says."""
    name = key[len(namespace) + 1 :]
    if isinstance(namespace, Tagged):
        name = name.replace("{", "", 1).replace("}", "", 1)
    kind, _, *rest = name.split(":")
    if kind == "agenda":  # …:{resource}:records and the like; the tenant's own have one part
        return TracedKey(resource=unquote(rest[0])) if len(rest) == _AGENDA_PARTS else TracedKey()
    if kind == "sess" and len(rest) >= _SESSION_PARTS:
        address = Address(*map(unquote, name.split(":")[1:4]))
        own = len(rest) == _SESSION_PARTS
        return TracedKey(address, own=own, stray=not own)
    if kind == "foco" and len(rest) == _SESSION_PARTS:
        return TracedKey(Address(*map(unquote, name.split(":")[1:4])), stray=True)
    return TracedKey(stray=kind in {"lock", "foco"})
