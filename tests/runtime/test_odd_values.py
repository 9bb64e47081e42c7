"""Odd values of every option, argument and setting: a clear line and exit status 2, never a traceback, and at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from engine.cli import explain, files, rules, servers
from engine.cli.main import main
from engine.runtime.addresses import RedisAddresses
from engine.runtime.settings import Settings, SettingsError, load

LONG = "x" * 5_000
TEXT = ["", "  ", "a\nb", "a\x00b", "a\u200bb", "\udcff", "\x1b[31m"]
HOSTS = [*TEXT, "http://host", "a b", "999.1.1.1", "1.2.3", "host/path", "-host", "a..b", LONG, "*", "[::1]"]
WHOLE = [*TEXT, "x", "1.5", "nan", "inf", "-1", "1e3", "9" * 5_000, "0x10", "٣"]
NUMBERS = [*TEXT, "x", "nan", "inf", "-inf", "-1", "1e999", "9" * 5_000]
ODD: dict[str, list[str]] = {
    "kafka": [*HOSTS, "host", ":9092", "host:", "host:0", "host:70000", "host:x", "a:1,,b:2", "kafka://host:9092",
              "a b:1"],
    "kafka_security": [*TEXT, "ssl", "TLS"],
    "kafka_sasl_mechanism": [*TEXT, "plain", "GSSAPI"],
    "kafka_username": TEXT,
    "kafka_password": [*TEXT, "secret\n"],
    "kafka_ca_file": [*TEXT, "/nowhere/ca.pem", "/", __file__, LONG],
    "kafka_checksums": [*TEXT, "maybe", "2"],
    "redis": [*TEXT, "localhost:6379", "http://host", "redis://", "redis://host:x", "redis://host:99999", "redis://h/x",
              "redis://a b/0", "redis://:sec/secret@127.0.0.1:1/0", "redis://127.0.0.1:99999/0",
              "redis://:secret@[::1", "unix://", "redis://a:1,b:x/0", "redis://a:1,,b:2/0", "redis://:secret@a,b c/0",
              "redis://a:1,b:2/x", LONG],
    "redis_mode": [*TEXT, "cluster ", "single", "Sentinel"],
    "redis_service": TEXT,
    "redis_sentinel_username": TEXT,
    "redis_sentinel_password": [*TEXT, "secret\n"],
    "redis_never_evicts": [*TEXT, "maybe", "2"],
    "rules": [*TEXT, "/nowhere", __file__, LONG],
    "watch": [*TEXT, "maybe", "2"],
    "prefix": ["a b", "a\nb", "a/b", "\udcff", "€", LONG],
    "app_id": [*TEXT, "a b", "a.b", "é", LONG],
    "schemas_url": [*TEXT, "schemas", "ftp://h/x", "https://", "https:///x", "https://h/", "https://h/a b", "https://h/x?y",
                    "https://h/x#y", "https://h//x", "https://user@h/x", "https://h:x/y", 'https://h/"', "https://密码/x"],
    "web_host": HOSTS,
    "web_port": [*WHOLE, "0", "65536", "http"],
    "log_level": [*TEXT, "INFO", "trace"],
    "log_format": [*TEXT, "JSON", "xml"],
    "clock": [*TEXT, "sundial"],
    "cache_mb": [*(odd for odd in WHOLE if odd != "1e3"), "0", "9", "10000000"],
    "batch_records": [*WHOLE, "0", "5001"],
    "unit_age_s": [*NUMBERS, "0", "11"],
    "unit_deadline_s": [*NUMBERS, "1", "1e9"],
    "session_timeout_s": [*NUMBERS, "0", "1e9"],
    "transaction_timeout_s": [*NUMBERS, "0", "901"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_begins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever is accepted would start to work here."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"ENGAGE_{name.upper()}", raising=False)

    def begun(work: Any) -> None:
        work.close()
        raise AssertionError("it was accepted, and work began")

    for module in (servers, rules, explain, files):
        monkeypatch.setattr(module, "run_to_the_end", begun)


def refused(*arguments: str, **environment: str) -> str:
    """What a command says to an odd value."""
    result = CliRunner().invoke(main, list(arguments), env=environment)
    assert isinstance(result.exception, SystemExit), (arguments[-1:], result.exception)
    assert result.exit_code == 2, (arguments[-1:], result.output)
    assert "Traceback" not in result.output
    error = result.stderr.partition("Error: ")[2]
    assert 0 < len(error.strip().splitlines()) <= 2, result.stderr
    return error


# -- settings -------------------------------------------------------------------------------------


def test_every_setting_has_its_odd_values() -> None:
    assert set(ODD) == set(Settings.model_fields)


@pytest.mark.parametrize("name", ODD)
def test_settings_of_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = f"ENGAGE_{name.upper()}"
    for odd in ODD[name]:
        if "\0" in odd:
            continue  # no environment can hold it
        if name == "rules" and odd not in TEXT:
            error = refused("run", **{variable: odd})  # others do not use it
        else:
            monkeypatch.setenv(variable, odd)
            with pytest.raises(SettingsError) as raised:
                load()
            monkeypatch.delenv(variable)
            error = str(raised.value)
        assert "secret" not in error
        assert name in error
        if not error.startswith("settings: "):
            assert variable in error


@pytest.mark.parametrize("name", ["web_port", "kafka", "redis", "rules", "unit_age_s", "watch", "session_timeout_s"])
def test_a_worker_says_it_in_a_line(name: str) -> None:
    for odd in ODD[name]:
        if "\0" not in odd:
            error = refused("run", **{f"ENGAGE_{name.upper()}": odd})
            assert name in error


def test_settings_that_make_no_sense_together() -> None:
    assert "there is nothing to watch" in refused("run", "--watch")
    assert "unit_deadline_s must be at least" in refused("run", ENGAGE_UNIT_DEADLINE_S="30")
    assert "needs kafka_username" in refused("run", ENGAGE_KAFKA_SECURITY="SASL_SSL")
    several = "redis://:secret@a:1,b:2/0"
    assert "several addresses: set redis_mode" in refused("run", ENGAGE_REDIS=several)
    assert "needs redis_service" in refused("run", ENGAGE_REDIS=several, ENGAGE_REDIS_MODE="sentinel")
    for database in ("/3", "/0?db=3"):
        given = {"ENGAGE_REDIS": f"redis://a:1{database}", "ENGAGE_REDIS_MODE": "cluster"}
        assert "needs database 0" in refused("run", **given)
    for mode in ("sentinel", "cluster"):
        given = {"ENGAGE_REDIS": "unix:///run/redis.sock", "ENGAGE_REDIS_MODE": mode, "ENGAGE_REDIS_SERVICE": "s"}
        assert "not a socket's path" in refused("run", **given)


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("kafka", ["a:1", "a-b.c_d:9092,10.0.0.1:9093", "[::1]:9092", "KAFKA.example.:9092", "a:1, b:2"]),
        ("redis", ["redis://h", "rediss://u:p%40@h:1/15", "unix:///run/redis.sock?db=2", "redis://:p w@h/0", "redis://[::1]:1"]),
        ("redis_sentinel_password", ["pass word", "密码"]),
        ("web_host", ["0.0.0.0", "::", "localhost", "worker_1.internal"]),
        ("kafka_password", ["pass word", "密码", "#!§"]),
        ("web_port", ["1", "65535"]),
        ("prefix", ["", "cn."]),
        ("schemas_url", ["https://h", "http://h:1/a/b.c/v1", "http://[::1]:1/x", "https://h/%E5/~a"]),
    ],
)  # fmt: skip
def test_what_is_usual_is_accepted(name: str, usual: list[str]) -> None:
    for value in usual:
        load(**{name: value})


def test_several_addresses_of_redis_are_each_a_url() -> None:
    settings = load(redis="rediss://u:p%40@a:1, [::1]:2,c/0?ssl_ca_certs=/x", redis_mode="cluster")
    addresses = RedisAddresses.of(settings.redis.get_secret_value())
    assert [addresses.url(server) for server in addresses.servers] == [
        f"rediss://u:p%40@{server}/0?ssl_ca_certs=/x" for server in ("a:1", "[::1]:2", "c")
    ]
    load(redis="redis://a,b/3", redis_mode="sentinel", redis_service="s")


# -- options and arguments -----------------------------------------------------------------------------


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):  # imports the modules that have them
            yield from commands(command.commands[name], (*path, name))
    else:
        yield path, command


COMMANDS = {" ".join(path): (path, command) for path, command in commands(main)}
FILES = [*TEXT, "/nowhere/at/all", LONG]
OPTIONS: dict[str, list[str]] = {
    "settings_file": [*FILES, "/", __file__],
    "file": [*FILES, "/"],
    "snapshot": [*FILES, "/"],
    "records": [*FILES, "/"],
    "junit": [*TEXT, "/"],
    "html": [*TEXT, "/"],
    "against": [*FILES, __file__],
    "seed": [odd for odd in WHOLE[:-1] if odd != "-1"],
    "client_count": [*WHOLE[:-1], "0", "99999999999"],
    "days": [*NUMBERS, "0", "1e9"],
    "end": [*TEXT, "yesterday", "2026-13-01T00:00:00Z", "2026-11-01", LONG],
    "count": [*WHOLE[:-1], "0"],
    "one_in": [*WHOLE[:-1], "0"],
    "topic_names": [*TEXT[1:], "trade", "trades,,logins"],
    "per_second": [*WHOLE[:-1], "0", "9999999"],
    "bad_share": [*NUMBERS, "1.1"],
    "odd_share": [*NUMBERS, "1.1"],
    "seconds": [*WHOLE[:-1], "0", "4"],
    "partitions": [*WHOLE[:-1], "0", "1001"],
    "replication_factor": [*WHOLE[:-1], "0", "10"],
    "clients": [*WHOLE[:-1], "0", "9999999999999"],
    "events_per_day": [*WHOLE[:-1], "0", "9999999999999"],
    "peak": [*NUMBERS, "0.9", "86401"],
    "event_bytes": [*NUMBERS, "0", "1e6"],
    "keep_days": [*NUMBERS, "0", "1e6"],
    "history_days": [*NUMBERS, "0", "1e6"],
    "redis_gb": [*NUMBERS, "0", "1e6"],
    "replication": [*WHOLE[:-1], "0", "10"],
    "format_": [*TEXT, "xml"],
    "reason": [*TEXT, "no_reason"],
    "client_id": TEXT,
    "features": TEXT,
    "ids": TEXT,
    "digest": TEXT,
    "workers": [*TEXT, "worker:6066", "ftp://h", "http://", "http://[", "http://h:99999", "http://h:x"],
    "rule": TEXT,
    "name": TEXT,
    "where": TEXT,
    "tier": TEXT,
    "segment": TEXT,
    "advisor": TEXT,
    "team": TEXT,
    "stage": TEXT,
    "limit": [*WHOLE[:-1], "0"],
    "day": [*TEXT, "yesterday", "2026-13-01", "2026-02-30", "20260101"],
    "at": [*TEXT, "yesterday", "2026-13-01 10:00", "25:00"],
    "event": [*TEXT, "/nowhere.json", "{", LONG],
    "by": TEXT,
    "note": TEXT[2:],
    "old": TEXT,
    "new": TEXT,
    "into": TEXT,
    "directory": [*FILES, __file__],
    "paths": [*FILES],
    "files": [*FILES, "/"],
    "mapping": [*FILES, "/"],
    "acted": [*TEXT, "some"],
    "dead_letters": [*FILES, "/"],
    "work": [*TEXT, __file__],
    "jobs": [*WHOLE[:-1], "0", "513"],
    "until": [*TEXT, "yesterday", "2026-13-01T00:00:00Z"],
    "begin": [*TEXT, "yesterday", "2026-13-01 10:00", "25:00"],
    "request": TEXT,
}  # fmt: skip
FILL = {"client_id": "c1", "file": __file__, "digest": "abcd", "old": "live", "new": "live", "features": "f",
        "note": "n", "name": "client.assets_cny", "directory": ".", "paths": __file__, "snapshot": __file__,
        "clients": "10", "events_per_day": "10", "until": "2026-01-01T00:00:00Z",
        "begin": "2026-01-01 00:00", "request": "r1",
        "records": __file__, "rules": "."}  # fmt: skip


def arguments(path: tuple[str, ...], command: click.Command, parameter: click.Parameter, odd: str) -> list[str]:
    """A whole command line that is right but for the one value."""
    said, last = [*path], []
    for other in command.params:
        value = odd if other is parameter else FILL.get(other.name or "") if other.required else None
        if value is None:
            continue
        if isinstance(other, click.Argument):
            last.append(value)
        else:
            said.append(f"{other.opts[0]}={value}")
    if command.name == "load":
        last = last or [__file__]
    if command.name == "replay" and parameter.name != "rules":
        said += ["--rules", FILL["directory"]]
        last = last or [__file__]
    return [*said, "--", *last]


@pytest.mark.parametrize("name", COMMANDS)
def test_options_and_arguments(name: str) -> None:
    path, command = COMMANDS[name]
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.is_flag:
            continue
        odds = OPTIONS.get(parameter.name or "") or ODD[parameter.name or ""]
        if name in ("schemas", "init") and parameter.name == "directory":
            odds = [*TEXT, __file__]  # it makes the directory
        if name == "decisions" and parameter.name == "days":
            odds = [odd for odd in odds if odd != "0"]  # only what waits
        if name == "warnings" and parameter.name == "end":
            odds = OPTIONS["begin"]  # as it is read there
        for odd in odds:
            if "\0" not in odd:
                refused(*arguments(path, command, parameter, odd))
