"""`python -m polka`."""

from polka.commands import main

main()
