"""The old place of engine.runtime.record_file. Enters, leaves, holds: see there."""

from engine.runtime.record_file import parse_line

__all__ = ["parse_line"]
