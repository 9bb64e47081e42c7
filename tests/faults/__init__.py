"""The engine on real Kafka and Redis while its processes are killed, paused and cut off, and an auditor at the end."""
