"""The core of Retint: what is known and what is kept. Knows neither Flask nor torch."""

__version__ = "0.1.0"
