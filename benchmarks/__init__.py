"""Speed on real Kafka and Redis: `make bench`, or `python -m benchmarks --help`."""
