"""lamsearch: which λ? Regularisation strength for CNNs, by cross-validation, with honest error bars."""

__version__ = "0.1.0"
