"""What of the engine can run compiled to machine code."""
