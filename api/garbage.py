"""What the collector of garbage need not look at again."""

import gc
import sys


class FrozenImports:
    """
    Call it after imports: what they brought stays, and is not looked through any more.

    A full collection, which happens every few dozen requests and whenever a model left, would spend
    a tenth of a second and more on the libraries that models bring.
    """

    def __init__(self) -> None:
        self._n_modules = 0

    def __call__(self) -> None:
        """Freeze what there is, where modules were imported since."""
        if len(sys.modules) != self._n_modules:
            self._n_modules = len(sys.modules)
            gc.collect()
            gc.freeze()
