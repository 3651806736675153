"""Measurements of the lab beside named peers."""
