"""
The supervisor: one process that starts, watches and stops all others of the lab.

No kept process manager does this: supervisord and circus start by priority, not by readiness,
and leave their children behind when they are killed; honcho does not restart.
"""
