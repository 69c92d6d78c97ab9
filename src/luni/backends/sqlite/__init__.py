"""Embedded storage: one SQLite file shared by threads and processes of a host, one transaction an operation."""
