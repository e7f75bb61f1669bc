"""The core of Retint: tables, jobs, stores, settings and the command. Knows neither Flask nor torch."""

__version__ = "0.1.0"
