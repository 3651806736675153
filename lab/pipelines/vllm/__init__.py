"""Chat models that vLLM runs, in processes which end with the lab. Imports no torch."""
