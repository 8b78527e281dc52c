"""What this app tells those above it, inside the caller's transaction: a receiver that fails undoes the whole."""

from django.dispatch import Signal

# The set-up page made the administrator. Argument: user.
installed = Signal()
# A person made an account, by sign-up or set-up. Argument: user.
joined = Signal()
# Somebody's name, picture or time zone changed. Argument: user.
profile_changed = Signal()
