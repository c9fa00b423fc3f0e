"""Our gateway beside nghttpx, HAProxy and Envoy: CPU per request, latency, memory. README.md tells how to read it."""
