"""How client APIs spell requests and answers. Pure."""
