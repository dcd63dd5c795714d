"""Jobs in containers of the Docker engine on this machine."""
