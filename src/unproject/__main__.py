"""`python -m unproject`."""

from .cli.main import entry

entry()
