"""The floor everything else stands on: clients, keys, scripts, codec and the embedded server."""
