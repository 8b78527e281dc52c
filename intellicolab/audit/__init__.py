"""The audit log: facts as sentences that say who did what, for administrators to read."""
