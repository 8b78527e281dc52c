"""What this app tells those above it, inside the caller's transaction: a receiver that fails undoes the whole."""

from django.dispatch import Signal

# The set-up page made the administrator. Argument: user.
installed = Signal()
# A person made an account, by sign-up or set-up. Argument: user.
joined = Signal()
# Somebody's name, picture or time zone changed. Argument: user.
profile_changed = Signal()
# Sessions of a person are over, in Redis already and not in any transaction. Arguments: user_id; sessions, their
# hashes; renewed, whether their browser goes on with a session of a new key.
sessions_ended = Signal()
