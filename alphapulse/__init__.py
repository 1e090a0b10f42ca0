"""AlphaPulse: market data in, trading signals out, and proof afterwards of what was known when."""

__version__ = "0.1.0"
