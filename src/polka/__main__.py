"""`python -m polka`."""

from polka.command.main import main

main()
