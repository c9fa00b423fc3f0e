"""Our own service and proxy in Consul: registered by us and kept alive, or taken as somebody else registered them."""
