"""A small shop: web, orders and inventory, ordinary gRPC services that know nothing of the mesh they run in."""
