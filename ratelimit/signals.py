"""What others may turn into an event."""

from django.dispatch import Signal

# Sent once in ten minutes for each policy and identity that were refused together RATELIMIT_REPEATED times, by the
# process whose refusals reached that number, from its statistics thread. Arguments: policy_id, identity (`Identity`,
# in clear), refusals.
refused_repeatedly = Signal()
