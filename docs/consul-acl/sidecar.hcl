# The sidecar of the service `orders`, which registers it: sidecar run --service orders --port 8080

# Its certificate, its registration and its health.
service "orders" {
  policy = "write"
}

# The registration of its proxy.
service "orders-sidecar-proxy" {
  policy = "write"
}

# The instances and config entries of all services that it may call.
service_prefix "" {
  policy = "read"
}

# The addresses of their nodes, without which Consul hides the instances.
node_prefix "" {
  policy = "read"
}

# The defaults of the mesh.
key "sidecar/mesh" {
  policy = "read"
}

# How each service is reached and protected.
key_prefix "sidecar/services/" {
  policy = "read"
}

# What became of these documents at each instance.
key_prefix "sidecar-status/orders/" {
  policy = "write"
}
