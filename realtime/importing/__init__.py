"""Conversations from elsewhere: a parser a format (`formats.py` names them), people, and the writing of it all."""
