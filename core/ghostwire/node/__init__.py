"""The node daemon: control session, peers, paths and the local API."""
