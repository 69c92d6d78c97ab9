"""The Lua scripts: what they may call, what their headers say, and that no key is built in them."""

import re
from pathlib import Path

import pytest

import luni

SCRIPTS = sorted((Path(luni.__file__).parent / "backends" / "redis" / "lua").glob("*.lua"))

ALLOWED = {
    "DEL", "EXISTS", "EXPIRE", "GET", "HDEL", "HGET", "HGETALL", "HINCRBY", "HLEN", "HMGET",
    "HSCAN", "HSET", "INFO", "LINDEX", "LINSERT", "LLEN", "LPOP", "LPUSH", "LRANGE", "LREM", "LSET", "LTRIM",
    "PEXPIRE", "PEXPIREAT", "PTTL", "RPOP", "RPUSH", "SCAN", "SET", "TIME", "TYPE", "ZADD", "ZCARD", "ZCOUNT",
    "ZRANGE", "ZRANGEBYLEX", "ZRANGEBYSCORE", "ZREM", "ZREMRANGEBYSCORE", "ZREVRANGEBYLEX", "ZREVRANGEBYSCORE", "ZSCAN",
    "ZSCORE",
}  # fmt: skip
"""Commands that Redis 6.2 has, and that change nothing outside the keys they are given."""

ALLOWED_OPTIONS = {
    "SET": {"PX", "EX", "NX", "XX"},
    "ZADD": {"NX", "XX", "GT", "LT", "CH"},  # 6.2
    "ZRANGE": {"WITHSCORES"},
    "ZREVRANGEBYSCORE": {"WITHSCORES", "LIMIT"},
    "ZRANGEBYSCORE": {"WITHSCORES", "LIMIT"},
    "ZRANGEBYLEX": {"LIMIT"},
    "ZREVRANGEBYLEX": {"LIMIT"},
    "SCAN": {"MATCH", "COUNT"},
    "ZSCAN": {"MATCH", "COUNT"},
    "HSCAN": {"MATCH", "COUNT"},
}
NO_OPTIONS_BEFORE_7 = {"EXPIRE", "PEXPIRE", "PEXPIREAT"}  # their NX, XX, GT and LT are of 7.0


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_use_only_what_redis_62_has(script):
    text = code_of(script)
    used = re.findall(r"redis\.p?call\(\s*'([A-Za-z]+)'([^\n]*)", text)
    dynamic = re.findall(r"redis\.p?call\(\s*([A-Za-z_]\w*)", text)
    assert set(dynamic) <= {"pop", "command"}, "a command that is not written out is one of a known pair"
    for command, rest in used:
        assert command in ALLOWED, command
        options = set(re.findall(r"'([A-Z]{2,})'", rest.split("redis.call")[0]))
        if command in ALLOWED_OPTIONS or command in NO_OPTIONS_BEFORE_7:
            assert options <= ALLOWED_OPTIONS.get(command, set()), (command, options)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_call_nothing_newer_than_the_lua_of_62(script):
    text = code_of(script)
    for newer in (
        "redis.setresp",
        "redis.acl_check_cmd",
        "redis.register_function",
        "server.call",
        "redis.REDIS_VERSION",
        "#!lua",
    ):
        assert newer not in text


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_never_parse_users_json(script):
    assert "cjson" not in code_of(script)


def code_of(script):
    return "\n".join(line.split("--", 1)[0] for line in script.read_text().splitlines())


OWN_KEYS = {
    "_prelude", "_agenda", "locate", "sessions", "inspect", "tenants", "pending", "examine", "claim", "lock", "unlock", "renew",
    "bookings_in", "busy_in", "bookings_by", "recall", "resources", "bury", "tombstones", "traces", "vacate", "bookings_of",
    "enlist", "settle", "withdraw", "delist", "point", "unpoint", "living", "told", "forget", "depart",
}  # fmt: skip
"""The scripts whose keys are not told by a prelude."""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_say_in_their_header_what_they_are_given(script):
    header = "\n".join(line for line in script.read_text().split("\n\n")[0].splitlines() if line.startswith("--"))
    code = code_of(script)
    if script.stem in OWN_KEYS:
        assert "KEYS" in header
        used = {int(number) for number in re.findall(r"KEYS\[(\d+)\]", code)}
        named = {
            int(number)
            for number in re.findall(
                r"(?:^|[\s·])(\d+) (?:…|luni|id|client|sessions|waiting|channels|tenants|unsent)", script.read_text()
            )
        }
        assert used <= named
    if not script.stem.startswith("_"):
        assert "Reply" in header
        assert "(operation" in header
    if "ARGV[" in code:
        assert "ARGV" in header
        used = max((int(number) for number in re.findall(r"ARGV\[(\d+)", code)), default=1)
        assert re.search(rf"(?:^|\s){used}(?:…)? ", header.split("ARGV", 1)[1]), f"ARGV {used} is not described"


def test_no_script_builds_a_key():
    for script in SCRIPTS:
        for argument in re.findall(r"redis\.call\(\s*'[A-Z]+',\s*([^,)]+)", code_of(script)):
            assert ".." not in argument, (script.name, argument)
            assert not argument.strip().startswith("'"), (script.name, argument)


def test_there_are_scripts():
    assert len(SCRIPTS) >= 15
