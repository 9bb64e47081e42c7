"""Which rule is dear: sampled while deciding, told from the metrics of one or several workers."""

from __future__ import annotations

import itertools
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from engine.cli.main import main
from engine.core.client.state import ClientState
from engine.core.decide.path import Due, Input, decide
from engine.core.plan.compile import Plan
from engine.runtime.observe.metrics import Metrics
from engine.runtime.worker.rule_costs import SAMPLE_EVERY, CostSampler, RuleCost, top
from tests.core.making import at, login, plan_of, profile, rule
from tests.runtime.driving import Bench, all_batches, topics_of

PLAN = plan_of(
    rule("by-phone", when='login.channel == "phone"', priority=9),
    rule("by-branch", when='login.channel == "branch"', priority=8),
    rule("calculated", when="login.success and client.days_known / 7 >= 100", priority=7),
)


def ticking(step_ns: int) -> itertools.count:
    return itertools.count(0, step_ns)


def decided(plan: Plan, inputs: list[Input]) -> dict[str, ClientState]:
    states: dict[str, ClientState] = {}
    decide(plan, states, inputs)
    return states


def logins(number: int, channel: str = "phone") -> list[Input]:
    return [login(at(0) + index, channel=channel) for index in range(number)]


def test_one_event_in_so_many_is_timed_over_the_batches():
    metrics = Metrics(CollectorRegistry())
    sampler = CostSampler(metrics, 4, ticking(2_000).__next__)
    history = logins(11)
    states = decided(PLAN, history)
    for begin, end in itertools.pairwise((0, 1, 3, 3, 11)):
        sampler.take(PLAN, states, history[begin:end])
    assert top([metrics.text().decode()]) == [
        RuleCost("by-phone", pytest.approx(2), pytest.approx(2), 1, pytest.approx(1 / 2)),
        RuleCost("calculated", pytest.approx(2), pytest.approx(2), 1, pytest.approx(1 / 2)),
    ]
    assert "engage_rule_sampled_events_total 2.0" in metrics.text().decode()


def test_several_workers_are_one_sum_dearest_first():
    texts = []
    for channel, number, step_ns in (("phone", 3, 1_000), ("branch", 1, 5_000)):
        metrics = Metrics(CollectorRegistry())
        history = logins(number, channel)
        CostSampler(metrics, 1, ticking(step_ns).__next__).take(PLAN, decided(PLAN, history), history)
        texts.append(metrics.text().decode())
    found = top(texts)
    assert [cost.rule for cost in found] == ["calculated", "by-branch", "by-phone"]
    assert [round(cost.us_per_event, 6) for cost in found] == [2, 1.25, 0.75]
    assert [round(cost.us_per_test, 6) for cost in found] == [2, 5, 1]
    assert [cost.tests_per_event for cost in found] == [1, 0.25, 0.75]
    assert sum(cost.share for cost in found) == pytest.approx(1)


def test_a_tick_and_a_worker_without_a_sample_count_nothing():
    metrics = Metrics(CollectorRegistry())
    CostSampler(metrics, 1).take(PLAN, {}, [Due("c1", at(1))])
    assert top([]) == top([metrics.text().decode()]) == []


async def test_a_partition_samples_and_a_removed_rule_is_shown_no_more():
    plans = [PLAN]
    bench = Bench(lambda: plans[-1])
    worker = await bench.started()
    for batch in all_batches(topics_of([profile(at(0)), *logins(SAMPLE_EVERY)]), 300):
        await worker.take(batch)
    assert {cost.rule for cost in top([bench.metrics.text().decode()])} == {"by-phone", "calculated"}
    plans.append(plan_of(rule("calculated", when="login.success")))
    await worker.commit("age")
    worker.take_newest_plan()
    assert {cost.rule for cost in top([bench.metrics.text().decode()])} == {"calculated"}


def test_the_command_reads_the_workers_of_this_machine_and_others():
    """Pages as a worker serves them, from a web server of the standard library."""
    metrics = Metrics(CollectorRegistry())
    CostSampler(metrics).take(PLAN, decided(PLAN, logins(SAMPLE_EVERY)), logins(SAMPLE_EVERY))

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(metrics.text())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port
        here = CliRunner().invoke(main, ["rules", "top", "--web-port", str(port)])
        named = CliRunner().invoke(main, ["rules", "top", f"http://127.0.0.1:{port}", "--count", "1"])
        server.shutdown()
    assert here.exit_code == named.exit_code == 0, here.output + named.output
    assert "by-phone" in here.output
    assert len(named.output.splitlines()) == 2
    gone = CliRunner().invoke(main, ["rules", "top", "--web-port", str(port)])
    assert gone.exit_code == 1
    assert "cannot be read" in gone.output
