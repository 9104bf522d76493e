"""An example of a package that adds to kbuild; docs/plugins.md of kbuild walks through it."""
