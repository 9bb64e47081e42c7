"""Deliver alerts, each once and none too late: python consumer.py BROKER TOPIC (needs confluent-kafka)."""

import json
import sys
from datetime import UTC, datetime

from confluent_kafka import Consumer

broker, topic = sys.argv[1:]
FOLLOWS = {b"engage.care.v1", b"engage.retraction.v1"}  # not actions: they remind of one, or take it back
settings = {"bootstrap.servers": broker, "group.id": "alerts-python", "auto.offset.reset": "earliest"}
# Only what was committed; and an action counts as read once it is delivered, not before.
consumer = Consumer(settings | {"isolation.level": "read_committed", "enable.auto.commit": False})
consumer.subscribe([topic])
delivered = set()  # keep the ids where they outlive this process, for as long as actions can come again
while True:
    message = consumer.poll(1)
    if message is None or message.error():
        continue
    if dict(message.headers() or ()).get("ce_type") not in FOLLOWS:
        action = json.loads(message.value())
        late = datetime.fromisoformat(action["expires_at"]) < datetime.now(UTC)
        if not late and action["id"] not in delivered:
            print(f"{action['client_id']}: {action['title']}", flush=True)
            delivered.add(action["id"])
    consumer.commit(message, asynchronous=False)
