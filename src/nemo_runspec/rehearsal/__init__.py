"""The loopback twins of the cloud platforms, and the sandboxed pods that they start on this machine."""
