"""How the database's schema came about: Alembic's environment and one file a step."""
