"""What the decisions of this engine mean, as a number.

Holds: raised with every change after which the same inputs, decided again, may come to other states or messages. The
ledger names it with every unit, so that a replay decides again only what this engine would have decided alike. 0.1.0
named none: its units count as 1.
"""

from __future__ import annotations

from typing import Final

SEMANTICS: Final = 13
