package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"time"
)

// patience bounds each order.
const patience = 20 * time.Second

// order is what standard input says.
type order struct {
	URL      string            `json:"url"`
	Version  int               `json:"version"`
	Method   string            `json:"method"`
	Fields   map[string]string `json:"fields"`
	Trailers map[string]string `json:"trailers"`
	Body     string            `json:"body"`
	// The content waits for 100.
	Expect bool `json:"expect"`
	// Tell each piece of content as it comes.
	Stream bool `json:"stream"`
	// Not null: open a WebSocket, and do this.
	WebSocket    []action `json:"websocket"`
	Subprotocols []string `json:"subprotocols"`
	Compressed   bool     `json:"compressed"`
}

// interim is one interim response.
type interim struct {
	Status int               `json:"status"`
	Fields map[string]string `json:"fields"`
}

// answer is what came of an order.
type answer struct {
	Status   int               `json:"status"`
	Fields   map[string]string `json:"fields"`
	Body     string            `json:"body"`
	Trailers map[string]string `json:"trailers"`
	Interim  []interim         `json:"interim"`
	Error    string            `json:"error"`
}

type caller struct{ byVersion map[int]*http.Transport }

func newCaller() *caller {
	transports := map[int]*http.Transport{}
	for _, version := range []int{1, 2} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(version == 1)
		protocols.SetUnencryptedHTTP2(version == 2)
		transports[version] = &http.Transport{
			Protocols: protocols, DisableCompression: true, ExpectContinueTimeout: patience,
		}
	}
	return &caller{transports}
}

func (c *caller) ask(order order) answer {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	told := answer{Interim: []interim{}, Trailers: map[string]string{}}
	trace := &httptrace.ClientTrace{
		Got1xxResponse: func(status int, fields textproto.MIMEHeader) error {
			told.Interim = append(told.Interim, interim{status, lower(http.Header(fields))})
			return nil
		},
	}
	var content io.Reader
	if order.Body != "" || len(order.Trailers) > 0 {
		content = strings.NewReader(order.Body)
	}
	ctx = httptrace.WithClientTrace(ctx, trace)
	request, err := http.NewRequestWithContext(ctx, order.Method, order.URL, content)
	if err != nil {
		return answer{Error: err.Error()}
	}
	for name, value := range order.Fields {
		request.Header.Set(name, value)
	}
	if len(order.Trailers) > 0 {
		request.ContentLength = -1
		request.Trailer = http.Header{}
		for name, value := range order.Trailers {
			request.Trailer.Set(name, value)
		}
	}
	if order.Expect {
		request.Header.Set("Expect", "100-continue")
	}
	response, err := c.byVersion[order.Version].RoundTrip(request)
	if err != nil {
		told.Error = err.Error()
		return told
	}
	defer response.Body.Close()
	told.Status, told.Fields = response.StatusCode, lower(response.Header)
	body, err := read(response.Body, order.Stream)
	told.Body, told.Trailers = body, lower(response.Trailer)
	if err != nil {
		told.Error = err.Error()
	}
	return told
}

func read(body io.Reader, stream bool) (string, error) {
	var all strings.Builder
	space := make([]byte, 64<<10)
	for {
		n, err := body.Read(space)
		all.Write(space[:n])
		if n > 0 && stream {
			tell(map[string]string{"piece": string(space[:n])})
		}
		if err == io.EOF {
			return all.String(), nil
		}
		if err != nil {
			return all.String(), err
		}
	}
}

// digest stands for content that is too long to tell.
func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
