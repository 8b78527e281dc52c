"""The parts of bench/chat.py: each measures one thing, with the servers of `places`."""
