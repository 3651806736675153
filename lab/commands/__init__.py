"""What the command line does, one noun a module: parse, call one function, print."""
