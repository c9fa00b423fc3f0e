"""The models of the documents, one file a kind."""

from sidecar.config.model.consumer import Consumer
from sidecar.config.model.gateway import Gateway
from sidecar.config.model.mesh import Mesh
from sidecar.config.model.service import Service

__all__ = ["Consumer", "Gateway", "Mesh", "Service"]
