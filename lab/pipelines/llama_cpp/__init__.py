"""llama.cpp, in a process of the lab's, for models in GGUF."""
