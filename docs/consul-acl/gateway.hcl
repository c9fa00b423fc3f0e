# The gateway `edge`: sidecar gateway --name edge

# Its certificate, its registration and its health.
service "edge" {
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

# What the gateways listen on, and where their routes lead.
key_prefix "sidecar/gateways/" {
  policy = "read"
}

# Who may call the gateways, and what they prove that with.
key_prefix "sidecar/consumers/" {
  policy = "read"
}

# What became of these documents at each instance.
key_prefix "sidecar-status/edge/" {
  policy = "write"
}
