"""Django's SQLite backend, with turns: writers of several threads and processes share the database fairly."""
