"""What running workers show on their web pages.

Enters: workers' URLs. Leaves: what their metrics say, or why they cannot be read.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S: Final = 5.0
MAX_BYTES: Final = 50_000_000


class Unreadable(Exception):
    """A worker's page cannot be read; the text says why."""


def metrics_text(url: str) -> str:
    """A worker's metrics. Raises Unreadable."""
    if not url.startswith(("http://", "https://")):
        raise Unreadable(f"{url}: write it as http://HOST:PORT")
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/metrics", timeout=TIMEOUT_S) as page:
            return str(page.read(MAX_BYTES).decode())
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise Unreadable(f"{url}: its metrics cannot be read: {reason}") from error


def rule_set_of(url: str, head: str | None) -> tuple[str | None, str]:
    """The digest that a worker uses, and the same in words, compared with the head."""
    try:
        families = text_string_to_metric_families(metrics_text(url))
        found = [sample for family in families for sample in family.samples]
    except Unreadable as error:
        return None, str(error)
    digest = next((s.labels["digest"] for s in found if s.name == "engage_rule_set_info" and s.value), None)
    by_digest = {s.labels["digest"]: int(s.value) for s in found if s.name == "engage_rule_set_partitions"}
    said = "has none yet" if digest is None else "the active one" if digest == head else f"uses {digest}"
    if any(s.name == "engage_rule_set_stale" and s.value for s in found):
        said += "; it refused newer rules: its log and /health/ready say why"
    return digest, "; ".join((f"{url}: {said}", *_behind(by_digest, digest)))


def _behind(by_digest: dict[str, int], digest: str | None) -> Iterator[str]:
    for other, partitions in by_digest.items():
        if other != digest and partitions:
            yield f"{partitions} partitions still by {other}"
