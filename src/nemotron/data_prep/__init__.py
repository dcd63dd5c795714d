"""Text -> .bin/.idx, conversations -> packed parquet, prompts -> splits.

Nothing here imports torch: the stages start in about a second, and run where only the data is.
"""
