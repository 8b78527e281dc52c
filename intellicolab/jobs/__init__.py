"""Jobs: what is to be done later, or elsewhere. A backend of Django Tasks on Redis Streams, and its workers."""
