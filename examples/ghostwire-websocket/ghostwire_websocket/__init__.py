"""The transport `websocket`: sealed datagrams over WebSocket, through any HTTPS reverse proxy."""
