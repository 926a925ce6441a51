"""Postgres as this project uses it: SQLAlchemy 2 on psycopg 3."""
