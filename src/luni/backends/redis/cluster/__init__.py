"""A Cluster of Redis or Valkey: an operation is one script in one slot, and what other slots have to know of it."""
