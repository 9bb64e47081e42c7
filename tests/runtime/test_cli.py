"""The command line, as far as it needs no servers: exit status, what goes to standard output and what to error."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from functools import partial

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner, Result

from engine import __version__
from engine.cli import output
from engine.cli.main import main
from engine.cli.output import SECTIONS
from engine.compiled import form
from engine.core.contract.topics import inbound_topics
from engine.runtime.settings import Settings
from tests.services.process import REPOSITORY

RULES = str(REPOSITORY / "rules")
FEW = ["simulate", "--clients", "40", "--days", "40", "--seed", "5"]


def commands(command, path=()):
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):  # imports the modules that have them
            yield from commands(command.commands[name], (*path, name))
    else:
        yield path, command


COMMANDS = list(commands(main))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENGAGE_RULES", "ENGAGE_KAFKA", "ENGAGE_REDIS"):
        monkeypatch.delenv(name, raising=False)


def engage(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=stdin, catch_exceptions=False)


@pytest.fixture(scope="module")
def history() -> bytes:
    return engage(*FEW).stdout_bytes


def test_version_and_help():
    assert engage("--version").output.strip() == f"engage, version {__version__}, core: {form.RUNNING}"
    shown = engage("-h").output
    for command in main.commands:
        assert f"  {command}" in shown
        assert engage(command, "--help").exit_code == 0


@pytest.mark.parametrize("command", ["run", "topics", "client", "states", "replay"])
def test_help_names_the_environment_of_each_setting(command):
    shown = " ".join(engage(command, "--help").output.split())
    settings = [p.name for p in main.commands[command].params if p.name in Settings.model_fields]
    assert settings
    for name in settings:
        assert f"[ENGAGE_{(name or '').upper()}]" in shown


@pytest.mark.parametrize("path", [path for path, _ in COMMANDS], ids=" ".join)
def test_every_command_answers_programs_too(path):
    """All but those that run until they are ended, and the one whose lines are JSON."""
    shown = engage(*path, "--help").stdout
    assert ("--json" in shown) is (path not in (("run",), ("demo",), ("dev",), ("simulate",)))


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=str)
def test_every_option_says_what_it_is(path, command):
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    assert not [(path, option.opts) for option in options if not option.help]


def test_help_lists_every_command_once_by_what_one_wants_to_do():
    assert sorted(name for names in SECTIONS.values() for name in names) == sorted(main.commands)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("chekc", "check"),
        ("replya", "replay"),
        ("tests", "test"),
        ("rules histroy", "history"),
        ("dead-letters lst", "list"),
    ],
)
def test_a_mistyped_command_is_answered_with_what_was_meant(typed, meant):
    result = engage(*typed.split())
    assert result.exit_code == 2
    assert f"No such command '{typed.split()[-1]}'. Did you mean {meant}" in result.stderr


def test_a_mistyped_option_is_answered_with_what_was_meant():
    assert "No such option: --kafak Did you mean --kafka?" in engage("run", "--kafak", "x").stderr


@pytest.mark.parametrize("path", [(), ("rules",), ("dead-letters",)])
def test_lists_of_commands_have_whole_sentences(path):
    assert "..." not in engage(*path, "--help").stdout.replace("[ARGS]...", "")


def test_what_takes_long_shows_how_far_it_is_on_a_terminal_alone(tmp_path):
    """Standard error is a terminal here, standard output a file or the same terminal."""
    program = [sys.executable, "-m", "engine.cli", "simulate", "--clients", "300", "--days", "20"]
    for beside in (False, True):
        terminal, theirs = pty.openpty()
        with open(tmp_path / "records.ndjson", "wb") as file:
            out = theirs if beside else file
            ended = subprocess.Popen(program, stdout=out, stderr=theirs, stdin=subprocess.DEVNULL)
            os.close(theirs)
            shown = b"".join(iter(partial(read_terminal, terminal), b"")).decode()
        assert ended.wait() == 0
        assert ("simulate  [" in shown) is not beside
    records = (tmp_path / "records.ndjson").read_bytes()
    assert b"simulate" not in records


def read_terminal(terminal):
    try:
        return os.read(terminal, 65_536)
    except OSError:  # nobody has its other end any more
        return b""


@pytest.mark.parametrize(("option", "values"), [("--clock", ["wall", "event"]), ("--log-format", ["json", "console"])])
def test_completion_knows_the_values_of_a_setting(option, values):
    completer = BashComplete(main, {}, "engage", "_ENGAGE_COMPLETE")
    assert [item.value for item in completer.get_completions(["run", option], "")] == values


@pytest.mark.parametrize(
    ("line", "painted_line"),
    [
        ("a.yaml:2:14: no", "\x1b[1ma.yaml:2:14:\x1b[0m\x1b[31m no\x1b[0m"),
        ("2 of 2 tests passed", "\x1b[32m2 of 2 tests passed\x1b[0m"),
        ("1 of 2 tests passed", "\x1b[31m1 of 2 tests passed\x1b[0m"),
        ("clients 3", "clients 3"),
    ],
)
def test_colours_say_what_is_wrong_and_what_is_well(line, painted_line):
    assert output.painted(line) == painted_line


def test_no_colour_where_no_terminal_is():
    assert "\x1b" not in engage("check", RULES).output


def test_init_begins_with_rules_that_are_whole(tmp_path):
    firm = tmp_path / "firm"
    found = json.loads(engage("init", str(firm), "--json").stdout)
    assert str(firm / "rules/trading.yaml") in found["files"]
    rules = str(firm / "rules")
    for command in (["check", rules], ["test", rules], ["lint", rules], ["fmt", "--check", rules]):
        assert engage(*command).exit_code == 0, command
    assert json.loads((firm / "schemas/rule-files/rules.json").read_text())
    for file in (firm / "rules").glob("*.yaml"):  # editors find each file's schema
        schema = file.read_text().partition("$schema=")[2].partition("\n")[0]
        assert (file.parent / schema).is_file()
    again = engage("init", str(firm))
    assert again.exit_code == 1
    assert "is not empty" in again.stderr


def test_init_with_all_shipped_rules(tmp_path):
    engage("init", str(tmp_path / "firm"), "--shipped")
    assert engage("diff", RULES, str(tmp_path / "firm/rules")).exit_code == 0


def test_init_with_advisors(tmp_path):
    firm = tmp_path / "firm"
    found = json.loads(engage("init", str(firm), "--advisors", "--json").stdout)
    assert str(firm / "rules/advisors.yaml") in found["files"]
    rules = str(firm / "rules")
    for command in (["check", rules], ["test", rules]):
        assert engage(*command).exit_code == 0, command
    for name in ("advisors", "assignment", "pools"):
        file = firm / f"rules/{name}.yaml"
        schema = file.read_text().partition("$schema=")[2].partition("\n")[0]
        assert (file.parent / schema).is_file()


# -- check ----------------------------------------------------------------------------------------


def test_check_of_good_rules():
    assert engage("check", RULES).exit_code == 0


def test_check_names_every_fault_at_its_place(tmp_path):
    shutil.copytree(RULES, tmp_path / "rules")
    file = tmp_path / "rules" / "policy.yaml"
    file.write_text("contact:\n  daily_cap: many\n  other: 1\n")
    result = engage("check", str(tmp_path / "rules"))
    assert result.exit_code == 1
    assert "policy.yaml:2:14:" in result.stdout
    assert "policy.yaml:3:3:" in result.stdout


def test_check_of_no_directory():
    result = engage("check", "/nowhere")
    assert result.exit_code != 0
    assert "/nowhere" in result.output


# -- simulate -------------------------------------------------------------------------------------


def test_simulate_is_a_function_of_its_arguments(history):
    assert engage(*FEW).stdout_bytes == history
    assert engage(*FEW[:-1], "6").stdout_bytes != history
    lines = [json.loads(line) for line in history.splitlines()]
    assert len(lines) > 500
    assert {line["topic"] for line in lines} == set(inbound_topics())


def test_simulate_some_topics_and_so_many():
    lines = engage(*FEW, "--topics", "trades,logins", "--count", "50").stdout.splitlines()
    assert len(lines) == 50
    assert {json.loads(line)["topic"] for line in lines} <= {"trades", "logins"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["simulate", "--topics", "trades,tardes"], "--topics: unknown tardes; there are profiles, balances"),
        (["simulate", "--end", "yesterday"], "--end: "),
        (["simulate", "--clients", "0"], "0 is not in the range"),
        (["simulate", "--bad-share", "2"], "2.0 is not in the range"),
        (["replay"], "give a FILE (- for standard input), or --from-ledger"),
        (["replay", "f", "--from-ledger"], "give a FILE (- for standard input), or --from-ledger"),
        (["replay", "f"], "a replay of a file needs --rules DIRECTORY"),
        (["replay", "-", "--rules", RULES, "--until", "tomorrow"], "not an RFC 3339 time"),
        (["replay", "-", "--rules", "/nowhere"], "/nowhere: no such directory"),
        (["replay", "/nowhere.ndjson", "--rules", RULES], "/nowhere.ndjson: no such file"),
        (["run", "--rules", "/nowhere"], "/nowhere: no such directory"),
        (["run", "--web-port", "0"], "web_port: Input should be greater than or equal to 1"),
        (["run", "--web-port", "http"], "web_port: Input should be a valid integer"),
        (["run", "--settings", "/nowhere.yaml"], "/nowhere.yaml: no such settings file"),
        (["dead-letters", "resend"], "name the letters to re-send"),
        (["dead-letters", "list", "--reason", "ugly"], "'ugly' is not one of 'too_large', 'no_key'"),
        (["demo", "--seconds", "1"], "1 is not in the range"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)
def test_used_wrongly_is_said_and_ends_with_two(arguments, said):
    result = engage(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


# -- replay ---------------------------------------------------------------------------------------


def summary(result: Result) -> dict[str, str]:
    return dict(line.split() for line in result.stderr.splitlines()[:4])  # then what was refused or not known


def test_replay_of_a_file(history, tmp_path):
    file = tmp_path / "history.ndjson"
    file.write_bytes(history)
    result = engage("replay", str(file), "--rules", RULES)
    assert result.exit_code == 0
    actions = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(actions) > 20
    assert "dead-letters" not in {action["topic"] for action in actions}
    said = summary(result)
    assert list(said) == ["events", "rejected", "clients", "states"]
    assert int(said["events"]) == len(history.splitlines())
    assert (said["clients"], said["rejected"], len(said["states"])) == ("40", "0", 64)
    again = engage("replay", "-", "--rules", RULES, stdin=history)
    assert (again.stdout, again.stderr) == (result.stdout, result.stderr)


def test_replay_goes_on_with_timers(history):
    plain = engage("replay", "-", "--rules", RULES, stdin=history)
    longer = engage("replay", "-", "--rules", RULES, "--until", "2027-03-01T00:00:00+08:00", stdin=history)
    assert longer.stdout.startswith(plain.stdout)
    assert len(longer.stdout) > len(plain.stdout)
    assert summary(longer)["events"] == summary(plain)["events"]


def test_replay_counts_what_it_rejects(history):
    """And says which and why: each kind with its first line, 20 kinds at most."""
    record = b'{"topic":"trades","key":"%s","timestamp":1,"value":%s}\n'
    before = len(history.splitlines())
    bad = record % (b"c", b'{"event_id":"t","client_id":"d"}') + record % (b"c", b"[]") * 3
    said = engage("replay", "-", "--rules", RULES, stdin=history + bad).stderr.splitlines()
    assert said[1] == "rejected 4"
    assert said[4].startswith(f"trades, line {before + 2} (and 2 more): wrong_type: a JSON array, not an object")
    assert said[5].startswith(f"trades, line {before + 1}: missing_field: time: Field required")
    many = b"".join(record % (b"c", b'"%s"' % (b"x" * number)) for number in range(65_530, 65_560))
    said = engage("replay", "-", "--rules", RULES, stdin=many).stderr.splitlines()
    assert (said[1], len(said)) == ("rejected 30", 25)
    assert sum("too_large" in line for line in said) == 19
    assert said[-1] == "6 more were rejected for other reasons"


@pytest.mark.parametrize(
    ("stdin", "arguments", "said"),
    [
        (b"garbage\n", [], "-:1: not a record line"),
        (b'{"topic":"nowhere","key":"c","timestamp":1,"value":{}}\n', [], '-:1: "nowhere" is not an inbound topic'),
    ],
)
def test_what_replay_refuses_ends_with_one(stdin, arguments, said):
    result = engage("replay", "-", "--rules", RULES, *arguments, stdin=stdin)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "Traceback" not in result.output


# -- schemas --------------------------------------------------------------------------------------


def test_schemas_in_the_repository_are_those_of_the_models():
    result = engage("schemas", "--check", str(REPOSITORY / "schemas"))
    assert (result.exit_code, result.stdout) == (0, "")


def test_schemas_written_and_spoiled(tmp_path):
    directory = tmp_path / "schemas"
    assert engage("schemas", str(directory)).exit_code == 0
    assert engage("schemas", "--check", str(directory)).exit_code == 0
    (directory / "tasks.json").write_text("{}")
    (directory / "alerts.json").unlink()
    result = engage("schemas", "--check", str(directory))
    assert result.exit_code == 1
    assert "tasks.json" in result.stdout
    assert "alerts.json" in result.stdout


# -- nobody there ---------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["client", "c1"], ["states"]])
def test_a_redis_that_is_away_is_said(arguments):
    result = engage(*arguments, "--redis", "redis://127.0.0.1:1/0")
    assert result.exit_code == 1
    assert "redis is away" in result.stderr
    assert "; --redis, ENGAGE_REDIS or the file of settings says where it is\n" in result.stderr
    assert "Traceback" not in result.output


def test_a_kafka_that_is_away_is_said_with_what_names_it():
    result = engage("topics", "--kafka", "127.0.0.1:1")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: kafka is away: no broker answers at 127.0.0.1:1; "
        "--kafka, ENGAGE_KAFKA or the file of settings says where it is\n"
    )


def test_what_creates_topics_says_the_prefix():
    assert Settings().create_topics == "engage topics --create"
    assert Settings(prefix="ev.").create_topics == "engage topics --create --prefix ev."
