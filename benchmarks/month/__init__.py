"""The month's job, beside what a firm could use instead."""
