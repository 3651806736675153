"""What holds while a network is built."""

import threading
from typing import Final

BUILDING: Final = threading.Lock()
"""
Held while a network is built: transformers patches torch meanwhile, for all threads, and of two
networks at once one may be left without its weights.
"""
