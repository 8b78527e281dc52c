"""What the processes of bench/events.py share."""
