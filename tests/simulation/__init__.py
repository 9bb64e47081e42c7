"""Deterministic simulation: the whole worker on a Kafka and a Redis in memory, one virtual clock, one seed."""
