"""Speech both ways: what was said, as text, and text, spoken."""
