"""`python -m nemotron`: the same as the `nemotron` command."""

from nemotron.cli.main import main

main()
