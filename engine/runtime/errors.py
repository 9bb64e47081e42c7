"""What can go wrong at the rim, in five meanings.

Unavailable: wait, then start again. Fenced: another worker has the partition, let go. Surprised: something is not as
this worker left it, start again. Refused: an operator has to act; the text says what to do. Newer, of these: a newer
engine wrote what was found; a worker waits for its upgrade.
"""

from __future__ import annotations


class Refused(Exception):
    """The engine will not start on what it found. The message says what is wrong and what to do."""


class Newer(Refused):
    """A newer engine wrote it. A command refuses; a worker waits until it is replaced by a newer one."""


class Fenced(Exception):
    """Another worker has taken this partition over. Never initialise again within the same assignment."""


class Surprised(Exception):
    """Something is not as this worker left it. The partition starts again from its position."""


class Unavailable(Exception):
    """Kafka or Redis cannot be reached or did not answer in time. `system` is "kafka" or "redis"."""

    def __init__(self, system: str, error: object) -> None:
        super().__init__(f"{system} is away: {error}")
        self.system = system
