"""The day's job: trades of one trading day, beside a plain Faust agent."""
