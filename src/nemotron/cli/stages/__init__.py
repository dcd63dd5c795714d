"""Ways of running a recipe, each to be read from top to bottom."""
