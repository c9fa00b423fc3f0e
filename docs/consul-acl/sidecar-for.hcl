# The sidecar of an instance of `web` that somebody else registered: sidecar run --sidecar-for web-1

# Its certificate. The registration is not its own, so it writes nothing of the proxy.
service "web" {
  policy = "write"
}

# The registration that it stands beside, the instances and config entries of all services that it may call.
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
key_prefix "sidecar-status/web/" {
  policy = "write"
}
