"""How pictures are made: pipelines of diffusers. Importing this imports no torch."""
