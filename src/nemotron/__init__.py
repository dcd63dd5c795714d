"""The nemotron command and its model families."""
