"""Engage: an event-driven engagement engine for securities firms."""

from engine.compiled import form as form  # before any module of the core is imported

__version__ = "0.2.0.dev0"
