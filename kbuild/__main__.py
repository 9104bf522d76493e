"""`python -m kbuild`."""

from kbuild.cli import main

main()
