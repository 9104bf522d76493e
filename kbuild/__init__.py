"""kbuild: one line of YAML decides where normalization, activation and dropout stand."""

__version__ = "0.1.0"
