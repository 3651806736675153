"""Run Python code that nobody trusts."""

from lab.sandbox.python import PythonSandbox

__all__ = ["PythonSandbox"]
