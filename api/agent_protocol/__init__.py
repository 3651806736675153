"""The lab in the shapes of the Agent Protocol: threads, runs, agents."""
