"""Redis and Valkey: one Lua script an operation, over the ``redis`` client's own connections."""
