"""The one client of the lab, for notebooks, dashboards and programs."""

from lab.client.answer import Answer
from lab.client.connection import connect
from lab.client.lab import Lab
from lab.client.pictures import Picture
from lab.client.speech import Speech

__all__ = ["Answer", "Lab", "Picture", "Speech", "connect"]
