"""Kafka's own kafka-consumer-groups, as operators run it.

Enters: a broker's address, a group. Leaves: what it prints of the group, row by row.
"""

from __future__ import annotations

import subprocess

from tests.services.kafka import jars, java

HEAD = ["GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"]


def describe(bootstrap: str, group: str) -> dict[tuple[str, int], tuple[str, str, str]]:
    """By topic and partition: current offset, end, lag; `-` where there is none."""
    tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
    command = [java(), "-Xmx256m", "-cp", f"{jars()}/*", tool, "--bootstrap-server", bootstrap]
    done = subprocess.run([*command, "--describe", "--group", group], capture_output=True, text=True, check=False)
    rows = [line.split() for line in done.stdout.splitlines() if line.strip()]
    titles = [number for number, row in enumerate(rows) if row[: len(HEAD)] == HEAD]
    assert titles, done.stdout + done.stderr
    return {(row[1], int(row[2])): (row[3], row[4], row[5]) for row in rows[titles[0] + 1 :]}
