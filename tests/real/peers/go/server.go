package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// app is the application; see ../process.py for what each path does.
type app struct {
	mutex sync.Mutex
	// By the id in the query: closed when another request says so.
	gates map[string]chan struct{}
	// Bytes of an upload, or what a WebSocket heard; sent once.
	outcomes map[string]chan any
}

func newApp() *app {
	return &app{gates: map[string]chan struct{}{}, outcomes: map[string]chan any{}}
}

func (a *app) gate(id string) chan struct{} {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.gates[id] == nil {
		a.gates[id] = make(chan struct{})
	}
	return a.gates[id]
}

func (a *app) outcome(id string) chan any {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.outcomes[id] == nil {
		a.outcomes[id] = make(chan any, 1)
	}
	return a.outcomes[id]
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("id")
	control := http.NewResponseController(w)
	switch path := r.URL.Path; {
	case path == "/echo":
		echo(w, r)
	case path == "/hints":
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.WriteHeader(http.StatusOK)
	case path == "/early":
		_ = control.EnableFullDuplex()
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "early")
		_ = control.Flush()
		size, _ := io.Copy(io.Discard, r.Body)
		a.outcome(id) <- size
	case path == "/cut":
		_, _ = io.WriteString(w, "half")
		_ = control.Flush()
		panic(http.ErrAbortHandler)
	case path == "/refused":
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	case strings.HasPrefix(path, "/status/"):
		status, _ := strconv.Atoi(path[len("/status/"):])
		w.Header().Set("X-Kept", "1")
		if status != http.StatusNoContent {
			w.Header().Set("Content-Length", "5")
		}
		w.WriteHeader(status)
		if r.Method != http.MethodHead && status != http.StatusNoContent && status != http.StatusNotModified {
			_, _ = io.WriteString(w, "hello")
		}
	case path == "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = control.Flush()
		<-a.gate(id)
		_, _ = io.WriteString(w, "data: 2\n\n")
	case path == "/poll":
		a.outcome(id) <- "waiting"
		<-a.gate(id)
		_, _ = io.WriteString(w, "news")
	case path == "/go":
		close(a.gate(id))
	case path == "/outcome":
		_ = json.NewEncoder(w).Encode(<-a.outcome(id))
	case path == "/call":
		unary(w, r)
	case path == "/ws":
		a.outcome(id) <- converse(w, r)
	default:
		// Read, for the server closes where a client waits for 100 and nobody reads.
		_, _ = io.Copy(io.Discard, r.Body)
		http.NotFound(w, r)
	}
}

// echo tells what came, and sends its trailers back as trailers.
func echo(w http.ResponseWriter, r *http.Request) {
	size, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	seen := map[string]any{"method": r.Method, "path": r.URL.RequestURI(), "length": size, "trailers": lower(r.Trailer)}
	for name, values := range r.Trailer {
		w.Header()[http.TrailerPrefix+name] = values
	}
	_ = json.NewEncoder(w).Encode(seen)
	// Without a flush a short response is sent with its length, which leaves no place for trailers.
	_ = http.NewResponseController(w).Flush()
}

// unary answers a call of gRPC: its message comes back, or with `only` a status and nothing else.
func unary(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	if r.URL.Query().Has("only") {
		w.Header().Set("Grpc-Status", "5")
		w.Header().Set("Grpc-Message", "nobody%20here")
		w.WriteHeader(http.StatusOK)
		return
	}
	message, _ := io.ReadAll(r.Body)
	_, _ = w.Write(message)
	_ = http.NewResponseController(w).Flush()
	if r.URL.Query().Has("cut") {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	w.Header().Set(http.TrailerPrefix+"Sum-Bin", "AAE")
}

// lower gives fields as they are told: names in lower case, values joined.
func lower(fields http.Header) map[string]string {
	told := map[string]string{}
	for name, values := range fields {
		told[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return told
}
