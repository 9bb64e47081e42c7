"""A stand-in for the worker in the demo's own tests: counts what it reads and publishes actions by hand.

Its one argument says what to do wrong: nothing, crash, no-survey, no-ready, exit-3, hang; stuck decides only the first
records, slow takes its time for each.
"""

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from confluent_kafka import Consumer, Producer, TopicPartition

from engine.core.contract.outbound import TOPIC_OF_KIND
from engine.core.contract.topics import inbound_topics
from engine.core.reading.decode import Rejected, decode
from engine.core.rules.event_types import declared_by
from engine.rulefile.read.event_types import event_types_of
from engine.rulefile.read.load import read_directory

mode = sys.argv[1]
types = declared_by(event_types_of(read_directory(os.environ["ENGAGE_RULES"])))
counts: Counter[str] = Counter()
client = {"bootstrap.servers": os.environ["ENGAGE_KAFKA"], "log_level": 3}
consumer = Consumer(client | {"group.id": "standin", "auto.offset.reset": "earliest", "fetch.wait.max.ms": 20})
consumer.assign([TopicPartition(topic, p, 0) for topic in inbound_topics() for p in range(4)])
producer = Producer(client)
running = True
EACH = 400 if mode == "slow" else 50  # events to an action


def stop(*_):
    global running
    running = mode == "hang"


class Web(BaseHTTPRequestHandler):
    def do_GET(self):
        text = "".join(f'{name}{{topic="t"}} {count}\n' for name, count in list(counts.items()))
        text += 'engage_tier_clients{partition="0",tier="A"} 7\nengage_tier_clients{partition="1",tier="A"} 5\n'
        text += (
            'engage_decisions_total{rule="r",outcome="cooldown"} 3\nengage_decisions_total{rule="r",outcome="sent"} 9\n'
        )
        text += 'engage_tier_changes_total{from_tier="B",to_tier="A",reason="promoted"} 2\n'
        self.send_response(503 if self.path == "/health/ready" and mode == "no-ready" and counts else 200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, stop)
server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["ENGAGE_WEB_PORT"])), Web)
threading.Thread(target=server.serve_forever, daemon=True).start()
cause = {"type": "logins", "event_id": "e", "time": "2026-03-02T01:30:00.000Z"}
while running:
    if mode == "slow":
        time.sleep(0.04)
    if mode == "stuck" and counts.total() > 100:
        time.sleep(0.04)
        continue
    for record in consumer.consume(20 if mode == "slow" else 500, 0.02):
        outcome = decode(record.topic(), record.key(), record.value(), record.timestamp()[1], types)
        if isinstance(outcome, Rejected):
            counts["engage_rejected_total"] += 1
            producer.produce(
                "dead-letters", record.value(), record.key(), headers={"engage_reason": outcome.reason.value}
            )
            continue
        counts["engage_events_total"] += 1
        n = counts["engage_events_total"]
        if n % EACH == 0:
            kinds = [kind for kind in TOPIC_OF_KIND if not (kind == "survey" and mode == "no-survey")]
            kind = kinds[n // EACH % len(kinds)]
            action = {
                "kind": kind,
                "time": cause["time"],
                "client_id": outcome.event.client_id,
                "rule_id": f"rule-{kind}",
            }
            action |= {"why": {"client.tier": "A", "ratio": 0.3333}, "channel": "sms", "title": "t", "cause": cause}
            producer.produce(TOPIC_OF_KIND[kind], json.dumps(action))
            producer.produce("tier-changes", b"{}")
        if mode == "crash" and n == 500:
            sys.exit(9)
    producer.poll(0)
producer.flush()
while mode == "hang":
    time.sleep(1)
sys.exit(3 if mode == "exit-3" else 0)
