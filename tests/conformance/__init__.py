"""The conformance suite over every backend, and the wire contract. A package, so files may be named after their subjects."""
