"""Settings: read once, checked at once, named when they are wrong."""

import math

import msgspec
import pytest

from luni import Memory, Policy, Settings
from luni.errors import ConfigError
from luni.settings import _LINKS, ENVIRONMENT, policy_for

DAY = 24 * 3600


def read(**environ):
    return Settings.from_env(environ, dotenv=None)


def test_an_empty_environment_gives_the_defaults():
    settings = read()
    assert settings == Settings()
    assert (settings.url, settings.namespace, settings.ttl, settings.lease) == ("sqlite:///luni.db", "luni", 3 * DAY, 60.0)


def test_every_setting_is_read():
    settings = read(
        LUNI_URL="redis://h:1/2",
        LUNI_DATA_DIR="/d",
        USE_REDIS="1",
        REDIS_URL="redis://x",
        LUNI_NAMESPACE="n",
        REDIS_TTL_SECONDS="60",
        LUNI_LEASE_SECONDS="5",
        LUNI_PROMPT_WINDOW="10",
        LUNI_TOKEN_BUDGET="1000",
        REDIS_CONNECT_TIMEOUT="1500",
        LUNI_TIMEOUT="7",
        REDIS_MAX_RETRIES="2",
        REDIS_QUEUE_MAX_LENGTH="5",
        REDIS_POOL_MIN="1",
        REDIS_POOL_MAX="9",
        LUNI_DURABILITY="full",
        LUNI_MAX_TEXT_BYTES="1000",
        LUNI_MAX_JSON_BYTES="2000",
        LUNI_POLICIES="p.toml",
        LOG_LEVEL="debug",
    )
    assert msgspec.structs.asdict(settings) | {
        "url": "redis://h:1/2",
        "data_dir": "/d",
        "use_redis": True,
        "redis_url": "redis://x",
        "namespace": "n",
        "ttl": 60.0,
        "lease": 5.0,
        "prompt_window": 10,
        "token_budget": 1000,
        "connect_timeout": 1.5,
        "timeout": 7.0,
        "max_retries": 2,
        "queue_max_length": 5,
        "pool_min": 1,
        "pool_max": 9,
        "durability": "full",
        "max_text_bytes": 1000,
        "max_json_bytes": 2000,
        "policies_file": "p.toml",
        "log_level": "DEBUG",
    } == msgspec.structs.asdict(settings)


@pytest.mark.parametrize("bad", ["abc", "0", "-1", "nan", "inf", "1e99", "0.5", "72h", "1 2", "1_0_0_0_0_0_0_0_0"])
def test_a_bad_time_to_live_is_an_error_at_start_that_names_it(bad):
    with pytest.raises(ConfigError, match="REDIS_TTL_SECONDS"):
        read(REDIS_TTL_SECONDS=bad)


@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name, (field, _) in ENVIRONMENT.items()
        if field not in {"url", "data_dir", "redis_url", "policies_file", *_LINKS}
    ),
)
def test_a_bad_value_is_an_error_that_names_the_setting(name):
    with pytest.raises(ConfigError, match=name):
        read(**{name: "no such value: \0*"})


@pytest.mark.parametrize(
    "bad",
    [
        {"LUNI_LEASE_SECONDS": "0"},
        {"LUNI_TOKEN_BUDGET": "10"},
        {"LUNI_PROMPT_WINDOW": "-1"},
        {"REDIS_POOL_MAX": "0"},
        {"REDIS_MAX_RETRIES": "1.5"},
        {"LUNI_MAX_TEXT_BYTES": "99999999"},
        {"USE_REDIS": "2"},
        {"LUNI_NAMESPACE": "a:b"},
        {"LUNI_NAMESPACE": "{a}"},
        {"LUNI_NAMESPACE": "x" * 65},
        {"REDIS_POOL_MIN": "60"},
    ],
    ids=str,
)
def test_a_value_outside_its_bounds_is_an_error_that_names_it(bad):
    (name,) = bad
    with pytest.raises(ConfigError, match=name):
        read(**bad)


def test_an_empty_value_is_no_value():
    assert read(REDIS_TTL_SECONDS="", LUNI_URL="") == Settings()


def test_unknown_names_of_ours_warn_and_those_of_others_do_not():
    with pytest.warns(UserWarning, match="LUNI_SPEDE"):
        read(LUNI_SPEDE="1", PATH="/bin", REDIS_SOMETHING="x")
    read(LUNI_REQUIRE="redis")


def test_a_secret_is_never_told():
    secret = "hunter2-very-secret"
    with pytest.raises(ConfigError) as found:
        Memory.open(f"foo://user:{secret}@h")
    assert secret not in str(found.value)
    with pytest.raises(ConfigError) as found:
        Memory.open(f"redis://user:{secret}@h:notaport/0")
    assert secret not in str(found.value)
    assert secret not in repr(Memory.open(f"redis://user:{secret}@h:1/0"))
    assert secret not in repr(Settings(url=f"redis://user:{secret}@h:1/0"))


def test_the_flag_decides_where_no_url_is_set():
    assert read(USE_REDIS="1", REDIS_URL="redis://r").url == "redis://r"
    assert read(USE_REDIS="0", REDIS_URL="redis://r").url == "sqlite:///luni.db"
    assert read(USE_REDIS="1", LUNI_URL="sqlite:///x.db").url == "sqlite:///x.db"
    assert read(LUNI_DATA_DIR="/var/luni").url == "sqlite:////var/luni/luni.db"


def test_a_dotenv_file_fills_what_the_environment_lacks(tmp_path):
    path = tmp_path / ".env"
    path.write_text('REDIS_TTL_SECONDS=100\nLUNI_NAMESPACE="from file"\n# LUNI_LEASE_SECONDS=1\nLUNI_LEASE_SECONDS=30\n')
    settings = Settings.from_env({"LUNI_NAMESPACE": "from-env"}, dotenv=path)
    assert (settings.ttl, settings.namespace, settings.lease) == (100.0, "from-env", 30.0)
    assert Settings.from_env({}, dotenv=tmp_path / "none") == Settings()


def test_settings_do_not_change():
    with pytest.raises(AttributeError):
        Settings().ttl = 5
    with pytest.raises(TypeError):
        Settings(speed=1)


@pytest.mark.parametrize("bad", [True, math.nan, math.inf, 0, -1, "60", 31 * DAY])
def test_a_policy_is_checked_when_it_is_made(bad):
    with pytest.raises(ConfigError, match="ttl"):
        Policy(ttl=bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"lease": 0},
        {"prompt_window": 121},
        {"token_budget": 49},
        {"transcript_messages": -1},
        {"prompt_window": 1.5},
        {"language": "fr"},
        {"name": ""},
    ],
)
def test_a_policys_other_bounds(bad):
    (name,) = bad
    with pytest.raises(ConfigError, match=name):
        Policy(**bad)


def test_a_mapping_of_policies_is_asked_from_the_closest_to_the_widest():
    one, two, three = Policy(name="1"), Policy(name="2"), Policy(name="3")
    policies = {("shop", "web"): one, "shop": two, "*": three}
    assert policy_for(policies, "shop", "web") is one
    assert policy_for(policies, "shop", "sms") is two
    assert policy_for(policies, "other", "web") is three
    assert policy_for({}, "other", "web").name == "default"
    assert policy_for(None, "other", "web").name == "default"


def test_a_function_may_give_policies():
    assert policy_for(lambda tenant, channel: Policy(name=f"{tenant}-{channel}"), "a", "b").name == "a-b"
    with pytest.raises(ConfigError):
        policy_for(lambda *_: {"ttl": 5}, "a", "b")


def test_a_file_of_policies_inherits_from_the_wider_table(tmp_path):
    path = tmp_path / "policies.toml"
    path.write_text(
        '[default]\nttl = 3600\nlanguage = "pt"\n'
        "[tenant.shop]\nttl = 60\ntoken_budget = 500\n"
        "[tenant.shop.whatsapp]\nlease = 5\n"
    )
    policies = Settings(policies_file=str(path)).load_policies()
    assert policy_for(policies, "x", "y") == Policy(ttl=3600, language="pt")
    assert policy_for(policies, "shop", "y") == Policy(ttl=60, language="pt", token_budget=500)
    assert policy_for(policies, "shop", "whatsapp") == Policy(ttl=60, language="pt", token_budget=500, lease=5)
    assert Settings().load_policies() is None


@pytest.mark.parametrize(
    "text",
    [
        "[default]\nttl = 0",
        "[default]\nspeed = 1",
        "[other]\nttl = 5",
        "ttl = 5",
        "not toml",
        '[default]\nlanguage = "fr"',
        '[default]\nttl = "5"',
    ],
)
def test_a_bad_file_of_policies_is_an_error(tmp_path, text):
    path = tmp_path / "policies.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        Settings(policies_file=str(path)).load_policies()


def test_a_missing_file_of_policies_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="LUNI_POLICIES"):
        Settings(policies_file=str(tmp_path / "none.toml")).load_policies()


def test_from_env_opens_a_memory(tmp_path):
    with Memory.from_env(
        environ={"LUNI_URL": f"sqlite:///{tmp_path / 'x.db'}", "LUNI_LEASE_SECONDS": "9"}, dotenv=None
    ) as memory:
        assert memory.settings.lease == 9.0
        assert memory.health().ok


def test_turning_redis_off_needs_no_other_change():
    """The fallback of what is turned off is neither used nor an error."""
    for fallback in ("0", "sqlite:////var/luni/local.db"):
        assert read(USE_REDIS="0", REDIS_URL="redis://r", LUNI_FALLBACK=fallback).fallback == ""
        assert read(USE_REDIS="1", REDIS_URL="redis://r", LUNI_FALLBACK=fallback).fallback == fallback.removeprefix("0")
