"""Where every command begins. Loading the rest takes a second, in which a worker can already be ended.

Enters: the command line. Leaves: what `engine.cli.main` makes of it.
Holds: nothing that takes time is imported before the signals are handled, and until the worker handles them itself
nothing has begun that would have to be finished.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    if sys.argv[1:2] == ["run"]:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os._exit(0))
    import gc

    gc.set_threshold(100_000, 20, 100)  # what is loaded stays, and states have no cycles: few collections are needed
    from engine.cli.main import main as engage

    engage()


if __name__ == "__main__":
    main()
