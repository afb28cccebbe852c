"""gRPC and Connect: the control plane for nodes and the administration, on the one port."""
