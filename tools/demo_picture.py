"""The picture of the demo in the README, from a real run: .venv/bin/python tools/demo_picture.py [SECONDS]"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console

from engine.demo import board, demo

PICTURE = Path(__file__).parents[1] / "docs/pictures/demo.svg"
SIZE = 118, 36


class Show(board.Show):
    """Keeps what the screen shows while the demo runs."""

    shown: str | None = None

    def update(self) -> None:
        before_s, of = self._last_s, self._board
        super().update()
        if self._last_s != before_s and of.status in ("running", "simulated time waits for the worker"):
            console = Console(width=SIZE[0], height=SIZE[1], force_terminal=True, record=True, file=io.StringIO())
            console.print(board.screen(of))
            Show.shown = console.export_svg(title="engage demo")


def main() -> int:
    board.Show = Show  # type: ignore[misc]
    code = demo.run_demo(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
    if code == 0 and Show.shown:
        PICTURE.write_text(Show.shown, encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
