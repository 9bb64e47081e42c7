"""The pure heart of the engine: no await, no clock, no randomness, no logging, no I/O.

Enters: decoded events, client states, a compiled rule set. Leaves: new states and outbound messages.
Holds: the same input always gives the same output.
"""

from engine.compiled import form as form  # before any module of the core is imported
