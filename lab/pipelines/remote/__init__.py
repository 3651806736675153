"""Chat models that other servers run, over OpenAI's protocol. Imports no torch."""
