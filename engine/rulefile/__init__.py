"""Rule files: YAML that operations staff edit, to a checked RuleSet."""

from engine.rulefile.load import DirectoryError, digest, load, read_directory
from engine.rulefile.problem import Problem
from engine.rulefile.report import check

__all__ = ["DirectoryError", "Problem", "check", "digest", "load", "read_directory"]
