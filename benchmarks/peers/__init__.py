"""What a firm could use instead: the month's job on other frameworks, each a process of its own."""
