// An HTTP and WebSocket client and server for tests, on Go's own net/http and on coder/websocket.
module peer

go 1.24

require github.com/coder/websocket v1.8.14
