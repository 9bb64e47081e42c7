"""The demo: what it shows, how it ends, that nothing is left of it. A stand-in worker plays the parts that go wrong."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from rich.console import Console

from engine.core.contract.outbound import TOPIC_OF_KIND
from engine.demo import demo
from engine.demo.board import RUNNING, Board, plain_actions, plain_line, screen, summary
from engine.demo.clients import BAD_SHARE, CLIENTS, SEED, Feed, fast_days_per_s
from engine.demo.embedded import EmbeddedKafka
from engine.demo.simulator import DAY_MS, simulate

ROOT = Path(__file__).parent.parent
HUNG_S = 800  # nothing here is waited for as long as this, on whatever machine
STANDIN = str(Path(__file__).with_name("standin_worker.py"))
METRICS = """\
engage_events_total{topic="trades"} 90.0
engage_events_total{topic="logins"} 8.0
engage_rejected_total{topic="logins",reason="not_json"} 2.0
engage_tier_clients{partition="0",tier="A"} 3.0
engage_tier_clients{partition="1",tier="A"} 4.0
engage_tier_clients{partition="1",tier="qfii"} 1.0
engage_tier_clients{partition="1",tier="B"} 9.0
engage_tier_changes_total{from_tier="B",to_tier="A",reason="promoted"} 2.0
engage_decisions_total{rule="r",outcome="no_consent"} 5.0
engage_decisions_total{rule="r",outcome="held"} 0.0
engage_decisions_total{rule="r",outcome="sent"} 6.0
"""
OF_POOLS = """\
engage_events_total{topic="assignment_answers"} 7.0
engage_pool_load{pool="east"} 40.0
engage_pool_capacity{pool="east"} 120.0
engage_pool_waiting{pool="east"} 3.0
engage_pool_open_tasks{pool="east"} 5.0
engage_pool_load{pool="west"} 0.0
engage_pool_capacity{pool="west"} 9.0
engage_pool_answers_total{pool="east",outcome="no_capacity"} 2.0
engage_pool_answers_total{pool="east",outcome="assigned"} 5.0
engage_pool_answers_total{pool="west",outcome="no_capacity"} 0.0
"""


def action(kind):
    why = {"client.tier": "A", "client.has_advisor": False, "outflow_ratio_7d": 0.41666}
    return json.dumps(
        {"kind": kind, "time": "2026-03-02T01:30:00.000Z", "client_id": "C000001", "rule_id": "money-leaving"}
        | {"why": why, "channel": "work_queue", "title": "Money is leaving"}
    ).encode()


def full_board():
    board = Board("127.0.0.1:1", "redis://127.0.0.1:2/0", "http://127.0.0.1:3/metrics", "/tmp/worker.log")
    board.saw_metrics(METRICS)
    for kind, topic in TOPIC_OF_KIND.items():
        board.saw_record(topic, action(kind), {})
    board.saw_record("tier-changes", b"{}", {})
    for _ in range(2):
        board.saw_record("dead-letters", b"\xff", {"engage_reason": b"not_json"})
    board.fed, board.fed_bad, board.simulated_ms = 100, 2, 1_790_000_000_000
    return board


def test_a_full_board_misses_nothing():
    board = full_board()
    assert board.missing() == []
    assert board.tiers_in_order() == [("A", 7), ("B", 9), ("qfii", 1)]
    assert board.suppressed == {"no_consent": 5}


def test_what_is_missing_is_named():
    board = full_board()
    board.published["survey"] = board.tier_changes = 0
    board.fed, board.fed_bad = 101, 3
    assert board.unseen() == ["no survey was published", "no tier changed"]
    assert board.missing() == [
        "no survey was published",
        "no tier changed",
        "the worker took in 100 of 101 records",
        "2 dead letters, but 3 bad records were fed",
    ]


def test_pools_of_advisors_are_shown_where_there_are_any():
    board = full_board()
    assert "load" not in plain_line(board)
    board.saw_metrics(METRICS + OF_POOLS)
    assert board.taken == 100  # what pools answer was not fed
    east = "east load 40 of 120, 3 wait, tasks 5 open, 0 queued, no_capacity 2"
    assert f"  |  {east}  |  west load 0 of 9" in plain_line(board)
    console = Console(width=160, height=50)
    with console.capture() as capture:
        console.print(screen(board), summary(board, []))
    assert capture.get().count("load 40 of 120, 3 wait") == 2


def test_plain_lines_say_it_all_without_control_codes():
    board = full_board()
    text = "\n".join([plain_line(board), *plain_actions(board)])
    for part in (
        "A 7",
        "B 9",
        "alert 1",
        "suppressed 5",
        "dead letters 2",
        "C000001",
        "money-leaving",
        "via work_queue",
    ):
        assert part in text
    assert "client.has_advisor no, outflow_ratio_7d 0.4167" in text
    assert "... and 1 more actions" in text
    assert "\x1b" not in text
    assert plain_actions(board) == []
    board.status = "the worker decides the last records"
    assert plain_line(board).endswith("dead letters 2  |  the worker decides the last records")
    board.status = RUNNING
    assert plain_line(board).endswith("dead letters 2")


@pytest.mark.parametrize("size", [(160, 50), (100, 40), (60, 15)])
def test_the_screen_can_be_drawn_in_any_size(size):
    console = Console(width=size[0], height=size[1], force_terminal=True, record=True)
    with console.capture() as capture:
        console.print(screen(full_board()))
    assert "Engage" in capture.get()
    if size[0] == 160:
        for part in ("▲2", "money-leaving", "no_consent", "not_json", "kcat -b 127.0.0.1:1", "redis-cli -u", "curl"):
            assert part in re.sub(r"\x1b\[[0-9;]*m", "", capture.get())


def test_what_was_stopped_leaves_room_for_the_dead_letters_and_numbers_are_whole():
    board = full_board()
    board.suppressed.update({f"reason_{number}": 12_345 + number for number in range(30)})
    board.dead_letters.update(not_json=54_321)
    for size in ((118, 36), (100, 36)):
        console = Console(width=size[0], height=size[1], force_terminal=True, record=True)
        with console.capture() as capture:
            console.print(screen(board))
        text = re.sub(r"\x1b\[[0-9;]*m", "", capture.get())
        assert "Dead letters" in text
        assert "12,374" in text
        assert "54,32" in text


def test_the_summary_carries_the_faults():
    console = Console(width=100)
    with console.capture() as capture:
        console.print(summary(full_board(), ["no survey was published"]))
        console.print(summary(full_board(), []))
    assert "suppressed: no_consent" in capture.get()
    assert "actions retracted" in capture.get()
    assert "suppressed: held" not in capture.get()  # there was none
    assert "- no survey was published" in capture.get()
    assert "All went well." in capture.get()
    assert "this machine decided 0 events a second; it was not asked for more" in capture.get()


def test_a_short_demo_is_faster_and_a_long_one_not_slower():
    assert fast_days_per_s(None) == fast_days_per_s(600) == 4.5
    assert 4.5 < fast_days_per_s(20) < fast_days_per_s(5) == 15


def test_the_feed_stops_where_there_is_no_room_and_goes_on_from_there():
    now_ms = 1_790_000_000_000
    with EmbeddedKafka() as kafka:
        feed = Feed(kafka.address, lambda: now_ms, 15)
        start_ms = int(feed.moment_ms)
        whole = list(islice(simulate(SEED, CLIENTS, start_ms, now_ms, bad_share=BAD_SHARE), 4_000))
        fed = list(feed.advance(start_ms + 5 * DAY_MS, 3_000))
        assert feed.moment_ms == whole[3_000].time_ms
        assert list(feed.advance(start_ms + 5 * DAY_MS, 0)) == []
        fed += feed.advance(start_ms + 5 * DAY_MS, 1_000)
        assert fed == whole
        assert whole[-1].time_ms <= feed.moment_ms < start_ms + 5 * DAY_MS


def start(mode, seconds, directory, patience_s=300, **options):
    """`mode` is the stand-in's, or "real" for the worker itself."""
    worker = "demo.WORKER" if mode == "real" else f"[sys.executable, {STANDIN!r}, {mode!r}]"
    code = f"import sys\nfrom engine.demo import demo\ndemo.PATIENCE_S = {patience_s}\n"
    code += f"sys.exit(demo.run_demo({seconds}, worker={worker}))"
    environment = os.environ | {"TMPDIR": str(directory), "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "160"}
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, preexec_fn=_hears_interrupts, **options
    )


def _hears_interrupts():
    """As in a terminal: what a shell starts in the background is deaf to SIGINT, and hands that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def outcome(mode, seconds, directory, patience_s=300):
    process = start(mode, seconds, directory, patience_s, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        text, _ = process.communicate(timeout=HUNG_S)
    finally:
        process.kill()
    return process.returncode, text


def test_a_demo_that_shows_everything_ends_with_zero_and_leaves_nothing(tmp_path):
    code, text = outcome("nothing", 3, tmp_path)
    assert code == 0, text
    assert "All went well." in text
    assert "\x1b" not in text
    assert list(tmp_path.iterdir()) == []


def test_the_real_worker_shows_everything_within_seconds(tmp_path):
    code, text = outcome("real", 5, tmp_path)
    assert code == 0, text
    assert "All went well." in text
    assert list(tmp_path.iterdir()) == []


def test_a_slow_machine_shows_everything_too_and_it_is_said(tmp_path):
    """Some 300 events a second: in its one second not one of the five kinds of action can have come."""
    code, text = outcome("slow", 1, tmp_path)
    assert code == 0, text
    assert re.search(r"this machine decided \d+ events a second; simulated time waited for it", text)
    assert "All went well." in text


@pytest.mark.parametrize(
    ("mode", "fault", "patience_s"),
    [
        ("crash", "the worker ended by itself with exit code 9", 300),
        ("no-survey", "no survey was published", 300),
        ("no-ready", "the worker is not ready", 5),
        ("stuck", "nothing at all has moved for 5 s", 5),
        ("exit-3", "the worker ended with exit code 3 on SIGTERM", 300),
    ],
)
def test_a_demo_in_which_something_went_wrong_ends_with_one_and_says_what(mode, fault, patience_s, tmp_path):
    code, text = outcome(mode, 2, tmp_path, patience_s)
    assert code == 1, text
    assert fault in text
    log = re.search(r"The worker's log: (\S+)", text)
    assert log
    assert Path(log[1]).exists()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("mode", ["real", "hang"])
def test_an_interrupt_ends_it_cleanly_whatever_the_worker_does(mode, signal_number, tmp_path):
    process = start(mode, None, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = []
    while "alert 0" in (line := process.stdout.readline()) or "alert" not in line:
        assert line, lines
        lines.append(line)
    children = _children(process.pid)
    assert len(children) == 2  # the worker and Redis
    process.send_signal(signal_number)
    rest = process.communicate(timeout=HUNG_S)[0]
    assert process.returncode == 130
    assert rest.endswith("Stopped.\n")
    assert "Traceback" not in rest
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
    assert list(tmp_path.iterdir()) == []


def _children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_in_a_terminal_there_is_a_live_screen_and_the_terminal_is_given_back(tmp_path):
    ours, theirs = pty.openpty()
    process = start("nothing", 3, tmp_path, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while process.poll() is None or select.select([ours], [], [], 0.1)[0]:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                seen += os.read(ours, 65_536)
            except OSError:
                break
    os.close(ours)
    assert process.wait(HUNG_S) == 0, seen[-2000:].decode(errors="replace")
    text = seen.decode(errors="replace")
    assert text.count("\x1b[?1049h") == text.count("\x1b[?1049l") == 1  # alternate screen, there and back
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # cursor
    assert "Last actions" in text
    assert "All went well." in text.rpartition("\x1b[?1049l")[2]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (None, "no such directory; give the directory that holds the rule files"),
        ({}, "no *.yaml file in it"),
        ({"features.yaml": "features: 7\n"}, "are refused,"),
        ({"tiers.yml": ""}, "rule files end in .yaml or .csv"),
    ],
)
def test_rules_that_a_worker_would_refuse_are_refused_before_anything_starts(
    files, said, tmp_path, monkeypatch, capsys
):
    started = []
    for name in ("EmbeddedKafka", "EmbeddedRedis", "_Worker"):
        monkeypatch.setattr(demo, name, lambda *_, name=name: started.append(name))
    if files is not None:
        (tmp_path / "rules").mkdir()
        for name, text in files.items():
            (tmp_path / "rules" / name).write_text(text)
    assert demo.run_demo(1, tmp_path / "rules") == 1
    assert started == []
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("engage demo: ")
    assert str(tmp_path / "rules") in err
    assert said in err


def test_without_the_extra_it_names_the_remedy(tmp_path):
    (tmp_path / "rich.py").write_text("raise ImportError('no', name='rich')")
    code = "import sys\nfrom engine.demo.demo import run_demo\nsys.exit(run_demo(1))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == "engage demo: rich is not installed; install the extra: pip install 'engage[demo]'\n"
