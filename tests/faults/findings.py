"""What a run under load found, and what a process used."""

from __future__ import annotations

from pathlib import Path


class Findings(list[str]):
    """What is wrong."""

    def check(self, right: bool, text: str) -> None:
        print(f"  {'well ' if right else 'WRONG'}  {text}", flush=True)
        if not right:
            self.append(text)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
