"""What is wrong with a rule file.

Enters: nothing. Leaves: Problem.
Holds: line and column count from 1, in characters, as editors show them; as text it is one printable line.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    file: str
    line: int
    column: int
    rule: str | None
    message: str
    remedy: str

    def __str__(self) -> str:
        rule = f'rule "{self.rule}": ' if self.rule else ""
        said = f"{self.file}:{self.line}:{self.column}: {rule}{self.message}; {self.remedy}"
        return "".join(character if character.isprintable() else "?" for character in said)
