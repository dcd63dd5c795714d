"""TOML with line numbers: what `spec` and `env` share to say exactly where something is wrong."""
