"""The node's transport `derp`: sealed datagrams through relays."""
