"""Settings of a process: the command line over the environment (ENGAGE_*) over a settings file (YAML).

Enters: the three. Leaves: a frozen Settings. Holds: secrets come by environment or file, never by the command line
alone.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from engine.core.contract.outbound import OUTBOUND, SCHEMAS_URL
from engine.core.contract.topics import DEAD_LETTERS, REROUTED
from engine.runtime.addresses import RedisAddresses, is_host, odd_characters

# Of one unit, to load and to apply: redis-py gives up a connection after 3 s, an answer after 10.
REDIS_WAITS_S: Final = 30.0
_SCHEMAS_URL: Final = re.compile(  # a file's name is put after it
    r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*", re.ASCII
)


class Settings(BaseSettings):
    """Each field is also ENGAGE_<FIELD> in the environment and <field> in the settings file."""

    model_config = SettingsConfigDict(env_prefix="ENGAGE_", extra="forbid", frozen=True, allow_inf_nan=False)
    _processor: str = PrivateAttr("engagement")
    _suffix: str = PrivateAttr("")

    kafka: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, HOST:PORT[,HOST:PORT]")
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="security protocol"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="SASL mechanism"
    )
    kafka_username: str | None = Field(None, description="SASL user")
    kafka_password: SecretStr | None = Field(None, description="SASL password; environment or file only")
    kafka_ca_file: Path | None = Field(None, description="CA certificates for SSL; the system's when left out")
    kafka_checksums: bool = Field(
        True,
        description="whether checksums of records are checked; false for `engage dev`, whose broker leaves some out",
    )
    redis: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis URL, also of several Sentinels or nodes; give a password by environment or file",
    )
    redis_mode: Literal["standalone", "sentinel", "cluster"] = Field(
        "standalone", description="what answers there: a server, Sentinels that know the primary, nodes of a cluster"
    )
    redis_service: str | None = Field(None, description="the primary's name at the Sentinels")
    redis_sentinel_username: str | None = Field(None, description="user at the Sentinels")
    redis_sentinel_password: SecretStr | None = Field(
        None, description="password at the Sentinels; environment or file only"
    )
    redis_never_evicts: bool = Field(
        False, description="states that Redis keeps all keys, where it does not say its maxmemory-policy itself"
    )
    rules: Path | None = Field(None, description="directory of rule files; left out, the rule set on the topic is used")
    watch: bool = Field(False, description="publish the rule files again whenever they change")
    prefix: str = Field("", pattern=r"^[A-Za-z0-9._-]{0,100}$", description="put before every topic's name")
    app_id: str = Field(
        "engage", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="names the group, the producers and the keys in Redis"
    )
    schemas_url: str = Field(
        SCHEMAS_URL, description="where you keep schemas/: ce_dataschema of all that is published begins with it"
    )
    web_host: str = Field("127.0.0.1", description="address of metrics and health")
    web_port: int = Field(6066, ge=1, le=65535, description="port of metrics and health")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level to log")
    log_format: Literal["json", "console"] = Field("json", description="one JSON object a line, or text")
    clock: Literal["wall", "event"] = Field(
        "wall",
        description="the clock of ticks once caught up: the wall clock, or the latest event time (for playing history)",
    )
    cache_mb: int = Field(
        100, ge=10, le=1_000_000, description="memory for the states of the clients used last, in this worker"
    )
    batch_records: int = Field(5_000, ge=1, le=5_000, description="records decided at once")
    unit_age_s: float = Field(1.0, gt=0, le=10, description="a unit without messages is committed after this")
    unit_deadline_s: float = Field(60.0, le=3_600, description="a unit that takes longer is a hang: the process ends")
    session_timeout_s: float = Field(10.0, ge=1, le=1_800, description="Kafka gives up a silent worker after this")
    transaction_timeout_s: float = Field(
        10.0, ge=1, le=900, description="Kafka aborts a transaction left open after this"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = init_settings.init_kwargs.pop("settings_file", {})  # type: ignore[attr-defined]
        return init_settings, env_settings, InitSettingsSource(settings_cls, file)

    @field_validator("*", mode="before")
    @classmethod
    def _is_text(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            if not value.strip() and info.field_name not in ("prefix", "kafka"):
                raise ValueError("is empty: leave it out, or give a value")
            if fault := odd_characters(value):
                raise ValueError(fault)
        return value

    @field_validator("kafka")
    @classmethod
    def _has_addresses(cls, servers: str) -> str:
        for server in servers.split(","):
            host, _, port = server.strip().rpartition(":")
            if not port.isascii() or not port.isdecimal() or not 0 < int(port[:6]) < 65_536:
                raise ValueError("needs HOST:PORT[,HOST:PORT]")
            if not is_host(host[1:-1] if host.startswith("[") and host.endswith("]") else host):
                raise ValueError("needs HOST:PORT[,HOST:PORT], each HOST a name or an address ([...] for IPv6)")
        return servers

    @field_validator("schemas_url")
    @classmethod
    def _is_an_absolute_url(cls, url: str) -> str:
        if not _SCHEMAS_URL.fullmatch(url):
            raise ValueError(
                "needs an address such as https://schemas.firm.example/engage, without ? # or / at its end"
            )
        return url

    @field_validator("web_host")
    @classmethod
    def _is_an_address(cls, host: str) -> str:
        if not is_host(host):
            raise ValueError("needs the address to serve at, such as 127.0.0.1, or 0.0.0.0 for all")
        return host

    @field_validator("redis")
    @classmethod
    def _is_a_url(cls, url: SecretStr) -> SecretStr:
        """No message of another library gets out: it may hold a part of the password."""
        RedisAddresses.of(url.get_secret_value())
        return url

    @field_validator("kafka_ca_file", mode="before")
    @classmethod
    def _is_a_file(cls, file: Any) -> Any:
        if file is not None and not os.path.isfile(file):  # with names that are too long, too
            raise PydanticCustomError("path_not_file", "Path does not point to a file")
        return file

    @field_validator("kafka_ca_file")
    @classmethod
    def _has_certificates(cls, file: Path | None) -> Path | None:
        try:
            if file is not None:  # else the system's are taken, and reading them takes longer than all the rest
                ssl.create_default_context(cafile=file)
        except ssl.SSLError as error:
            raise ValueError("no file of certificates in PEM") from error
        return file

    @model_validator(mode="after")
    def _has_credentials(self) -> Self:
        if self.kafka_security.startswith("SASL") and (self.kafka_username is None or self.kafka_password is None):
            raise ValueError(f"kafka_security {self.kafka_security} needs kafka_username and kafka_password as well")
        return self

    @model_validator(mode="after")
    def _fits_the_mode(self) -> Self:
        addresses = RedisAddresses.of(self.redis.get_secret_value())
        if self.redis_mode == "standalone" and len(addresses.servers) > 1:
            raise ValueError("redis has several addresses: set redis_mode to sentinel or cluster, or give one address")
        if self.redis_mode != "standalone" and addresses.scheme == "unix":
            raise ValueError(f"redis_mode {self.redis_mode} needs HOST:PORT[,HOST:PORT] in redis, not a socket's path")
        if self.redis_mode == "cluster" and re.search(r"^/0*[1-9]|\bdb=0*[1-9]", addresses.rest):
            raise ValueError("redis_mode cluster needs database 0: a cluster has no other")
        if self.redis_mode == "sentinel" and self.redis_service is None:
            raise ValueError("redis_mode sentinel needs redis_service as well: the primary's name at the Sentinels")
        return self

    @model_validator(mode="after")
    def _has_time_to_wait(self) -> Self:
        if self.unit_deadline_s < self.transaction_timeout_s + REDIS_WAITS_S:
            raise ValueError(
                f"unit_deadline_s must be at least transaction_timeout_s + {REDIS_WAITS_S:g}: so long Kafka and Redis "
                "may keep one unit waiting, which is not a hang"
            )
        return self

    def topic(self, name: str) -> str:
        """The real name of a topic of the contract."""
        return f"{self.prefix}{self.scope}-{name}" if name == REROUTED else self.prefix + name

    def scoped(self, processor: str, suffix: str) -> Self:
        """As a processor other than the one of clients needs them: with a group, a ledger and keys of its own."""
        made = self.model_copy()
        made._processor, made._suffix = processor, suffix
        return made

    @property
    def scope(self) -> str:
        """What the names of the processor's own topics begin with, after the prefix, and the tags of its keys."""
        return f"{self.app_id}-{self._suffix}" if self._suffix else self.app_id

    @property
    def ledger_topic(self) -> str:
        return f"{self.prefix}{self.scope}-ledger"

    @property
    def group(self) -> str:
        """Of the workers; a partition's producer is this and its number. With the prefix, as all topics have it: two
        engines that differ only in that must not throw each other out.
        """
        return f"{self.prefix}{self.app_id}-{self._processor}"

    @property
    def rule_set_topic(self) -> str:
        return f"{self.prefix}{self.app_id}-rule-sets"

    @property
    def resent_topic(self) -> str:
        return f"{self.prefix}{self.app_id}-resent"

    @property
    def create_topics(self) -> str:
        """The command that creates what is missing."""
        return f"engage topics --create{f' --prefix {self.prefix}' if self.prefix else ''}"

    def kafka_client(self, retry_backoff_ms: int = 100) -> dict[str, Any]:
        """Arguments that every aiokafka client takes. It asks again after the backoff, also while Kafka is away."""
        arguments: dict[str, Any] = {
            "bootstrap_servers": self.kafka,
            "security_protocol": self.kafka_security,
            "request_timeout_ms": 10_000,
            "retry_backoff_ms": retry_backoff_ms,
            "metadata_max_age_ms": 60_000,  # so soon a topic that grew is noticed
        }
        if "SSL" in self.kafka_security.split("_"):
            arguments["ssl_context"] = ssl.create_default_context(cafile=self.kafka_ca_file)
        if self.kafka_security.startswith("SASL"):
            password = self.kafka_password.get_secret_value() if self.kafka_password else None
            arguments |= {
                "sasl_mechanism": self.kafka_sasl_mechanism,
                "sasl_plain_username": self.kafka_username,
                "sasl_plain_password": password,
            }
        return arguments


class SettingsError(Exception):
    """A setting is wrong; the message names it and where it can be set."""


def _read(file: Path) -> dict[str, Any]:
    try:
        found = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:  # its own text quotes lines and values, and those may be secret
        mark, problem = error.problem_mark or error.context_mark, str(error.problem).partition(" with value ")[0]
        raise SettingsError(f"{file}:{mark.line + 1}:{mark.column + 1}: not YAML: {problem}") from error
    except (OSError, ValueError, YAMLError) as error:
        raise SettingsError(f"{file}: not a readable file of UTF-8 text ({type(error).__name__})") from error
    if found is not None and not isinstance(found, dict):
        raise SettingsError(f"{file}: needs lines such as `kafka: 127.0.0.1:9092`")
    return {str(name): value for name, value in (found or {}).items()}


def load(settings_file: Path | None = None, **given: Any) -> Settings:
    """Settings from what was given on the command line (None: not given), environment and file."""
    if settings_file is not None and not os.path.isfile(settings_file):  # never raises
        raise SettingsError(f"{settings_file}: no such settings file")
    file = {} if settings_file is None else _read(settings_file)
    given = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**given, settings_file=file)  # type: ignore[call-arg]
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            said = fault["msg"].removeprefix("Value error, ")
            if not fault["loc"]:  # of several settings together
                faults.append(f"settings: {said}")
                continue
            name = str(fault["loc"][0])
            faults.append(f"{name}: {said} ({source(name, given, settings_file)})")
        raise SettingsError("\n".join(faults)) from error


def source(name: str, given: Collection[str], settings_file: Path | None) -> str:
    """Where the value came from: the first of the places that has one."""
    if name in given:
        return f"option --{name.replace('_', '-')}"
    variable = f"ENGAGE_{name.upper()}"
    if settings_file is None or variable in map(str.upper, os.environ):
        return f"environment {variable}"
    return str(settings_file)


PUBLISHED: tuple[str, ...] = (*OUTBOUND, DEAD_LETTERS)
OF_POOLS: tuple[str, str] = ("assignment", "assignment")  # name and suffix of the processor of advisors' pools
