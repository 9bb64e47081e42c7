"""The rim: Kafka, Redis, the Faust app, settings, metrics. Thin: what is decided is decided in `engine.core`."""
