"""A delivery system in Python, on the generated contract: python client.py BROKER PREFIX CLIENT_ID.

It sends a low score, and prints what the engine makes of it; has its letter bounced twice, and prints what follows;
reports the work as done, complains, and prints the alert.
"""

import sys
from datetime import UTC, datetime

from confluent_kafka import Consumer, Producer
from contract import (  # generated: docs/contract.md
    ActionChannel,
    AlertAction,
    Complaint,
    ComplaintStatus,
    Feedback,
    Kind,
    Outcome,
    OutcomeStatus,
    Receipt,
    ReceiptStatus,
    Severity,
    TaskAction,
)

broker, prefix, client_id = sys.argv[1:]
producer = Producer({"bootstrap.servers": broker, "partitioner": "murmur2_random", "enable.idempotence": True})
consumer = Consumer(
    {
        "bootstrap.servers": broker,
        "group.id": "python-client",
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
    }
)
consumer.subscribe([f"{prefix}tasks", f"{prefix}alerts"])


def send(topic, record):
    value = record.model_dump_json(exclude_unset=True)
    producer.produce(f"{prefix}{topic}", key=client_id, value=value)
    producer.flush()


def event(number):
    return {"event_id": f"python-{number}", "client_id": client_id, "time": datetime.now(UTC)}


def action_of(rule_id):
    """The client's next action of this rule, read by the class of its topic."""
    while True:
        message = consumer.poll(1)
        if message is None or message.error():
            continue
        model = TaskAction if message.topic().endswith("tasks") else AlertAction
        action = model.model_validate_json(message.value())
        if (action.client_id, action.rule_id) == (client_id, rule_id):
            print(action.model_dump_json(by_alias=True), flush=True)  # `class` is a word of Python: class_ there
            return action


send(
    "feedback",
    Feedback(
        **event(1),
        action_id="branch-1",
        rule_id="half-year-survey/ask",
        kind=Kind.survey,
        nps=3,
        answers=["app_slow"],
        comment="Too dear.",
    ),
)
call = action_of("low-score-follow-up")
for number in (2, 3):
    send(
        "receipts",
        Receipt(
            **event(number), action_id=f"letter-{number}", channel=ActionChannel.email, status=ReceiptStatus.bounced
        ),
    )
action_of("contact-bounces")
send(
    "outcomes",
    Outcome(**event(4), action_id=call.id, rule_id=call.rule_id, kind=Kind(call.kind), status=OutcomeStatus.done),
)
send(
    "complaints",
    Complaint(
        **event(5), complaint_id="K-1", status=ComplaintStatus.opened, category="fees", severity=Severity.critical
    ),
)
action_of("complaint-grave")
consumer.close()
