"""What a user can observe, in Python; `tests/mesh.py` starts the programs under test."""
