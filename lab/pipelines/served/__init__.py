"""Engines whose server the lab starts, watches and ends."""
