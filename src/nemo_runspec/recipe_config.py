"""The parsed command line of a recipe, under the name that users import."""

from nemo_runspec.context import RecipeConfig, parse_recipe_config

__all__ = ["RecipeConfig", "parse_recipe_config"]
