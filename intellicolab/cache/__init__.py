"""Cached things: declared once, read and written through one interface, kept by one of four strategies."""
