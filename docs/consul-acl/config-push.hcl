# Who writes the documents: sidecar config push ./mesh. For `config diff` and `config pull` "read" is enough.
key_prefix "sidecar/" {
  policy = "write"
}
