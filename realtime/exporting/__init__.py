"""The messages of a room as a file to take away: made by a job, kept for some days, for one person alone."""
