"""What tells one set of evaluation data from another."""

import hashlib
import json


def fingerprint(data: object) -> str:
    """
    Return a short text that is the same for the same JSON data, wherever it was made.

    >>> fingerprint(["Hi."]) == fingerprint(["Hi."]), len(fingerprint([]))
    (True, 12)
    """
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()[:12]
