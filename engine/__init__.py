"""Engage: an event-driven engagement engine for securities firms."""

__version__ = "0.2.0.dev0"
