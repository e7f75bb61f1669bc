"""Networks loaded and run: the stages colorize and defade."""
