"""Who we are in the mesh: SPIFFE ids, the authority that signs our leaf, and its rotation."""
