"""Rule files: YAML that operations staff edit, to a checked RuleSet."""
