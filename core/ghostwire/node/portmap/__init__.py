"""A port of the router's outside address that leads to this node, asked for by NAT-PMP, PCP or UPnP."""
