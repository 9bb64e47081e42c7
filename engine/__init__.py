"""Engage: an event-driven engagement engine for securities firms."""

__version__ = "0.1.0"
