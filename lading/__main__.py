"""`python -m lading`."""

from lading.cli import main

main()
