"""How models are loaded: a module a task. Importing these imports no torch; loading does."""
