"""Facts and signals: `emit` makes something a fact, which no crash loses; `signal` tells whoever listens now.

Facts lie in the outbox with the change that they are about, and go from there to streams; signals go by pub/sub.
"""
