// Command peer is one end of a test: a server of net/http, or a client that does what it reads on standard input.
//
//	peer serve   prints {"http1": PORT, "http2": PORT} and serves until standard input ends
//	peer call    reads one JSON order a line, and prints what came of it, one JSON a line
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: peer serve | peer call")
	}
	switch os.Args[1] {
	case "serve":
		serve()
	case "call":
		call()
	default:
		log.Fatalf("unknown verb %q: serve or call", os.Args[1])
	}
}

// serve listens on two ports of loopback, of which each speaks one version.
func serve() {
	app := newApp()
	ports := map[string]int{}
	for _, name := range []string{"http1", "http2"} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(name == "http1")
		protocols.SetUnencryptedHTTP2(name == "http2")
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		ports[name] = listener.Addr().(*net.TCPAddr).Port
		server := &http.Server{Handler: app, Protocols: protocols, ErrorLog: log.New(io.Discard, "", 0)}
		go func() { log.Fatal(server.Serve(listener)) }()
	}
	tell(ports)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// call carries out orders one after the other.
func call() {
	caller := newCaller()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var order order
		if err := json.Unmarshal(lines.Bytes(), &order); err != nil {
			log.Fatal(err)
		}
		if order.WebSocket != nil {
			tell(talk(order))
		} else {
			tell(caller.ask(order))
		}
	}
}

// tell prints one line.
func tell(what any) {
	line, err := json.Marshal(what)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
}
