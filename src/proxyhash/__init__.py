"""Short binary codes for images and texts, with proxy hash codes (DCHML)."""

__version__ = "0.1.0"
